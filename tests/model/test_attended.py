"""A reduction whose tokens stay attended when they leave: by loops over the whole row, in batches, and traced."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from trbert_deploy.core.request import check_request
from trbert_deploy.core.selection import Selection, kept_positions
from trbert_deploy.export.facts import reduction_spec
from trbert_deploy.export.fuse import KEEP_MASK_OUTPUT
from trbert_deploy.export.sessions import GraphRunner
from trbert_deploy.model import TRBertConfig, model_class
from trbert_deploy.reductions import REDUCTIONS, Reduction
from trbert_deploy.runtimes.pipeline import StagePipeline
from trbert_deploy.tasks import TASKS

NAME = "attended-in-tests"
BUDGET = (0.6, 0.3)
MODES = pytest.mark.parametrize("keep", [None, BUDGET], ids=["policy", "budget"])


class LinearScore(nn.Linear):
    def forward(self, states):
        return super().forward(states.float()).squeeze(-1)


class Attended(Reduction):
    """A linear score before layers 1 and 2."""

    name = NAME
    fate = "attended"

    def default_layers(self, num_layers):
        return [1, 2]

    def make_score(self, config):
        return LinearScore(config.backbone.hidden_size, 1)

    def score_cost(self, config):
        return config.backbone.hidden_size


@pytest.fixture(scope="module", autouse=True)
def registered():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REDUCTIONS._own, NAME, "nowhere: it is imported already")
        patch.setitem(REDUCTIONS._loaded, NAME, Attended())
        yield


def make(task, backbone):
    sizes = {
        "bert": {"num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64},
        "distilbert": {"n_layers": 3, "dim": 32, "n_heads": 4, "hidden_dim": 64},
    }[backbone]
    config = TRBertConfig(
        backbone={"model_type": backbone, "vocab_size": 120, "max_position_embeddings": 64, **sizes},
        reduction=NAME,
        num_labels=3,
    )
    model = model_class(TASKS.get(task))(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm" not in name and "layer_norm" not in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def by_hand(model, row, keep):
    """Outputs and kept positions of one row: every layer runs on the whole row, and only who goes on is changed."""
    inputs = {name: torch.from_numpy(array) for name, array in row.items()}
    embedded = {name: inputs[name] for name in model.token_inputs if name != "attention_mask"}
    states = model.backbone.embeddings(**embedded)
    length = states.shape[1]
    going, kept = list(range(length)), []
    for number, layer in enumerate(model.encoder_layers):
        if number in model.config.reduction_layers:
            place = model.config.reduction_layers.index(number)
            scores = model.selectors[place](states)[0].tolist()
            if keep is None:
                going = [position for position in going if scores[position] >= 0 or position == 0]
            else:
                count = -(-round(keep[place] * 1000) * length // 1000)
                ranked = sorted(going, key=lambda position: (position != 0, -scores[position], position))
                going = sorted(ranked[:count])
            kept.append(going)
        ran = layer(states, attention_mask=None)
        ran = ran[0] if isinstance(ran, tuple) else ran
        states = states.clone()
        states[:, going] = ran[:, going]
    return model.apply_head(states, inputs), kept


@MODES
@pytest.mark.parametrize("task", ["sequence-classification", "question-answering", "token-classification", "hotpot"])
@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_each_row_is_the_reading_by_hand(random_rows, answer, task, backbone, keep):
    model = make(task, backbone)
    assert model.full_length
    left = 0
    for row in random_rows(model, [1, 2, 7, 20, 41]):
        outputs, kept = answer(model, row, keep)
        with torch.inference_mode():
            wanted, wanted_kept = by_hand(model, row, keep)
        assert [step[0] for step in kept] == wanted_kept
        for name, tensor in wanted.items():
            np.testing.assert_allclose(outputs[name], tensor.numpy(), rtol=0, atol=1e-5)
        left += row["input_ids"].shape[1] - len(wanted_kept[-1])
    assert left > 5


def test_what_left_is_still_attended_to(random_rows, answer):
    """The same weights that drop their tokens answer otherwise, from the same kept sets of the first reduction."""
    model = make("sequence-classification", "bert")
    (row,) = random_rows(model, [30])
    outputs, kept = answer(model, row)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Attended, "fate", "dropped")
        others, others_kept = answer(model, row)
    assert kept[0] == others_kept[0]
    assert len(kept[0][0]) < 25
    assert np.abs(outputs["logits"] - others["logits"]).max() > 1e-2


@MODES
def test_a_row_answers_as_alone_in_a_batch(random_rows, batch_of, answer, keep):
    model = make("token-classification", "bert")
    rows = random_rows(model, [5, 1, 33, 2, 12])
    outputs, kept = answer(model, batch_of(rows, width=40), keep)
    for place, row in enumerate(rows):
        alone, kept_alone = answer(model, row, keep)
        assert [step[place] for step in kept] == [step[0] for step in kept_alone]
        length = row["input_ids"].shape[1]
        np.testing.assert_allclose(outputs["logits"][place, :length], alone["logits"][0], rtol=0, atol=1e-5)
        assert (outputs["logits"][place, length:] == 0).all()


@pytest.fixture(scope="module")
def graphs_of(traced_model):
    return traced_model(make("sequence-classification", "bert"))


@MODES
@pytest.mark.parametrize("lengths", [[1], [3, 40, 1, 17]], ids=str)
def test_traced_stages_and_the_fused_graph_are_the_model(
    graphs_of, session_of, random_rows, batch_of, answer, keep, lengths
):
    model = graphs_of.model
    batch = batch_of(random_rows(model, lengths))
    wanted, wanted_kept = answer(model, batch, keep)

    request = check_request(model.spec, batch)
    runner = GraphRunner(graphs_of.graphs(keep is not None).stages)
    assert all("attention_mask" in inputs for inputs in runner.inputs)
    reduction = reduction_spec(model, Selection(keep or ()))
    staged = StagePipeline(runner, runner.inputs, reduction).run(request, want_kept=True)
    assert [[row.tolist() for row in rows] for rows in staged.kept] == wanted_kept
    np.testing.assert_allclose(staged.outputs["logits"], wanted["logits"], rtol=0, atol=2e-5)

    session = session_of(graphs_of.fused(keep or ()))
    names = [value.name for value in session.get_outputs()]
    fused = dict(zip(names, session.run(names, batch), strict=True))
    masks = [fused[KEEP_MASK_OUTPUT.format(number)] for number in (1, 2)]
    chains = [kept_positions([mask[row] for mask in masks], full_length=True) for row in range(len(lengths))]
    assert [[chain[step].tolist() for chain in chains] for step in range(2)] == wanted_kept
    np.testing.assert_allclose(fused["logits"], wanted["logits"], rtol=0, atol=2e-5)


def test_a_fate_that_there_is_not_is_refused():
    with pytest.raises(TypeError, match="the fate 'drop' of Typo is not one of dropped, attended"):
        type("Typo", (Reduction,), {"fate": "drop"})
