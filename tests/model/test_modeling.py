"""The model against transformers' own dense models and a reading of the paper with loops and lists."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.core.errors import InputError
from trbert_deploy.core.selection import kept_positions
from trbert_deploy.model import TRBertConfig, model_class
from trbert_deploy.tasks import TASKS

NAMES = sorted(TASKS.names())
RESTORING = [name for name in NAMES if TASKS.get(name).restores]
SINGLE = [name for name in NAMES if TASKS.get(name).sequences_axis is None]


# -- a naive reading: one row, no padding, Python lists ------------------------------------------------------


def naive_states(model, row, keep=None):
    """Final states of every original position of a row, and the kept positions, by loops.

    A token that left has the state it had when it left. Layers are transformers' own, nothing is `stage`'s.
    """
    token_ids = torch.from_numpy(row["input_ids"])
    arguments = {"input_ids": token_ids}
    if model.config.backbone.model_type == "bert":
        arguments["token_type_ids"] = torch.from_numpy(row["token_type_ids"])
    states = model.backbone.embeddings(**arguments)
    original = states.shape[1]
    alive, final, kept, reduction = list(range(original)), {}, [], 0
    for number, layer in enumerate(model.encoder_layers):
        if number in model.config.reduction_layers:
            selector = model.selectors[reduction]
            logits = selector.score(nn.functional.gelu(selector.dense(states)))[0, :, 0].tolist()
            if keep is None:
                stay = [place for place, logit in enumerate(logits) if logit >= 0 or alive[place] == 0]
            else:
                count = -(-round(keep[reduction] * 1000) * original // 1000)
                ranked = sorted(range(len(alive)), key=lambda place: (alive[place] != 0, -logits[place], place))
                stay = sorted(ranked[:count])
            for place, position in enumerate(alive):
                final[position] = states[0, place]
            states = states[:, stay]
            alive = [alive[place] for place in stay]
            kept.append(alive)
            reduction += 1
        states = layer(states, attention_mask=None)
        states = states[0] if isinstance(states, tuple) else states
    for place, position in enumerate(alive):
        final[position] = states[0, place]
    return torch.stack([final[position] for position in range(original)]).unsqueeze(0), kept


@pytest.mark.parametrize("keep", [None, (0.5, 0.25), (0.9, 0.9)], ids=["policy", "budget", "mild-budget"])
@pytest.mark.parametrize("task", SINGLE)
@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_each_row_is_the_naive_reading(tiny_model, random_rows, answer, task, backbone, keep):
    model = tiny_model(task, backbone)
    dropped = 0
    for row in random_rows(model, [1, 2, 3, 7, 20, 41]):
        outputs, kept = answer(model, row, keep)
        with torch.inference_mode():
            states, wanted_kept = naive_states(model, row, keep)
            inputs = {name: torch.from_numpy(array) for name, array in row.items()}
            wanted = model.apply_head(states, inputs)
        assert [step[0] for step in kept] == wanted_kept
        assert outputs.keys() == wanted.keys()
        for name, tensor in wanted.items():
            np.testing.assert_allclose(outputs[name], tensor.numpy(), rtol=0, atol=1e-5)
        dropped += row["input_ids"].shape[1] - len(wanted_kept[-1])
    assert dropped > 5


@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_a_dropped_token_keeps_the_state_it_left_with(tiny_model, random_rows, backbone):
    model = tiny_model("token-classification", backbone)
    (row,) = random_rows(model, [30])
    inputs = {name: torch.from_numpy(array) for name, array in row.items()}
    with torch.inference_mode():
        output = model(**inputs)
        arguments = {name: inputs[name] for name in (["input_ids", "token_type_ids"][: len(model.token_inputs) - 1])}
        before_first = model.encoder_layers[0](model.backbone.embeddings(**arguments), attention_mask=None)
    before_first = before_first[0] if isinstance(before_first, tuple) else before_first
    left_first = (output.keep_masks[0][0] == 0).nonzero().flatten()
    assert len(left_first) >= 2
    logits = model.head.classifier(before_first[0, left_first])
    torch.testing.assert_close(output.outputs["logits"][0, left_first], logits, rtol=0, atol=1e-5)
    stayed = (output.keep_masks[0][0] == 1).nonzero().flatten()
    early = model.head.classifier(before_first[0, stayed])
    assert not torch.allclose(output.outputs["logits"][0, stayed], early, atol=1e-2)


# -- a batch is rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [None, (0.4, 0.15)], ids=["policy", "budget"])
@pytest.mark.parametrize("task", NAMES)
@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_a_row_answers_as_alone_in_every_batch(tiny_model, random_rows, batch_of, answer, task, backbone, keep):
    model = tiny_model(task, backbone, seed=1)
    rows = random_rows(model, [5, 1, 33, 2, 12])
    alone = [answer(model, row, keep) for row in rows]
    orders = [*list(itertools.permutations(range(len(rows))))[::37], (2, 1), (0, 3), (1, 1, 3)]
    for order in orders:
        outputs, kept = answer(model, batch_of([rows[i] for i in order]), keep)
        for place, i in enumerate(order):
            assert [step[place] for step in kept] == [step[0] for step in alone[i][1]]
            for name, wanted in alone[i][0].items():
                own = outputs[name][place][tuple(slice(size) for size in wanted[0].shape)]
                np.testing.assert_allclose(own, wanted[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("task", RESTORING)
def test_outputs_over_padding_are_the_tasks_filler(tiny_model, random_rows, batch_of, answer, task):
    model = tiny_model(task)
    rows = random_rows(model, [4, 9])
    outputs, _ = answer(model, batch_of(rows, width=15))
    for output in model.task.outputs:
        if output.per_token:
            assert (outputs[output.name][0, 4:] == output.padding).all()
            assert (outputs[output.name][1, 9:] == output.padding).all()
            assert (outputs[output.name][1, :9] != output.padding).all()


@pytest.mark.parametrize("task", SINGLE)
def test_what_stands_in_padding_does_not_matter(tiny_model, random_rows, batch_of, answer, task):
    model = tiny_model(task)
    batch = batch_of(random_rows(model, [4, 9]))
    other = dict(batch)
    hidden = batch["attention_mask"] == 0
    other["input_ids"] = np.where(hidden, 77, batch["input_ids"])
    other["token_type_ids"] = np.where(hidden, 1, batch["token_type_ids"])
    wanted, wanted_kept = answer(model, batch)
    outputs, kept = answer(model, other)
    assert kept == wanted_kept
    for name in wanted:
        np.testing.assert_allclose(outputs[name], wanted[name], rtol=0, atol=1e-6)


# -- multiple choice -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_protected_tokens_stay_and_may_exceed_the_budget(tiny_model, random_rows, answer, backbone):
    model = tiny_model("multiple-choice", backbone)
    (row,) = random_rows(model, [20])
    row["question_ends"] = np.array([8])
    for keep, counts in (((0.1, 0.1), [13, 13]), ((0.7, 0.5), [14, 13]), (None, None)):
        _, kept = answer(model, row, keep)
        for step in kept:
            assert {0, *range(8, 20)} <= set(step[0])
        if counts:
            assert [len(step[0]) for step in kept] == counts


@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_options_share_one_selection_by_the_mean_of_their_logits(tiny_model, random_rows, backbone):
    model = tiny_model("multiple-choice", backbone)
    (row,) = random_rows(model, [24])
    row["attention_mask"][:] = 1
    row["question_ends"] = np.array([24])  # nothing but [CLS] is protected
    inputs = {name: torch.from_numpy(array) for name, array in row.items()}
    with torch.inference_mode():
        output = model(**inputs)
        logits = []
        for option in range(3):
            arguments = {"input_ids": inputs["input_ids"][:, option]}
            if "token_type_ids" in model.token_inputs:
                arguments["token_type_ids"] = inputs["token_type_ids"][:, option]
            states = model.encoder_layers[0](model.backbone.embeddings(**arguments), attention_mask=None)
            states = states[0] if isinstance(states, tuple) else states
            logits.append(model.selectors[0](states))
    mean = sum(logits) / 3
    torch.testing.assert_close(output.decisions[0].scores, mean, rtol=0, atol=1e-5)
    wanted = (mean >= 0).long()
    wanted[:, 0] = 1
    assert output.keep_masks[0].equal(wanted)
    assert any(not ((one >= 0) == (mean >= 0)).all() for one in logits)  # the mean decides, not one option


# -- transformers' own models --------------------------------------------------------------------------------

_BERT = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
}
_DISTILBERT = {
    "vocab_size": 120,
    "dim": 32,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
}


@pytest.mark.parametrize("prefix", ["Bert", "DistilBert"])
@pytest.mark.parametrize(
    "suffix",
    ["ForSequenceClassification", "ForQuestionAnswering", "ForTokenClassification", "ForMultipleChoice"],
)
def test_dense_form_is_transformers_own_model(tmp_path, prefix, suffix):
    torch.manual_seed(3)
    sizes = _BERT if prefix == "Bert" else _DISTILBERT
    config_class = getattr(transformers, f"{prefix}Config")
    config = config_class(**sizes, num_labels={"ForMultipleChoice": 1, "ForQuestionAnswering": 2}.get(suffix, 5))
    theirs = getattr(transformers, f"{prefix}{suffix}")(config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1)  # initialised to zero, where a bias left out would go unseen
    theirs.save_pretrained(tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    assert not checkpoint.has_selectors
    assert checkpoint.source_class == f"{prefix}{suffix}"
    ours = checkpoint.model
    assert ours.config.reduction_layers == []
    assert ours.num_stages == 1

    shape = (4, 3, 17) if "Choice" in suffix else (4, 17)
    mask = torch.ones(shape, dtype=torch.int64)
    for row, length in enumerate((17, 1, 9, 2)):
        mask[row, ..., length:] = 0
    inputs = {"input_ids": torch.randint(0, 120, shape), "attention_mask": mask}
    if prefix == "Bert":
        inputs["token_type_ids"] = torch.randint(0, 2, shape)
    with torch.inference_mode():
        wanted, outputs = theirs(**inputs), ours(**inputs).outputs
    for name, tensor in outputs.items():
        real = torch.ones_like(tensor, dtype=torch.bool)
        if tensor.shape[:2] == mask.shape:
            real = (mask > 0).reshape(*mask.shape, *[1] * (tensor.dim() - 2)).expand_as(tensor)
        torch.testing.assert_close(tensor[real], wanted[name][real], rtol=0, atol=1e-5)
        assert tensor.std() > 0.01


@pytest.mark.parametrize("task", NAMES)
@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_a_budget_of_everything_is_dense(tiny_model, random_rows, batch_of, answer, task, backbone):
    model = tiny_model(task, backbone)
    dense = tiny_model(task, backbone, reduction_layers=[])
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("selectors.")}
    dense.load_state_dict(state)
    batch = batch_of(random_rows(model, [11, 1, 30]))
    wanted, none_kept = answer(dense, batch)
    outputs, kept = answer(model, batch, (1.0, 1.0))
    assert none_kept == []
    assert kept == [[list(range(11)), [0], list(range(30))]] * 2
    for name in wanted:
        np.testing.assert_allclose(outputs[name], wanted[name], rtol=0, atol=1e-5)


# -- configurations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "reductions"), [(1, [0]), (2, [1]), (3, [1]), (4, [1, 2]), (6, [1, 3]), (12, [1, 6])]
)
@pytest.mark.parametrize("keep", [False, True], ids=["policy", "budget"])
def test_depths(tiny_model, random_rows, answer, layers, reductions, keep):
    model = tiny_model(layers=layers)
    assert model.config.reduction_layers == reductions
    assert model.num_stages == len(reductions) + 1
    fractions = (0.5, 0.2)[: len(reductions)] if keep else None
    for row in random_rows(model, [1, 2, 19]):
        outputs, kept = answer(model, row, fractions)
        with torch.inference_mode():
            states, wanted_kept = naive_states(model, row, fractions)
            (wanted,) = model.head(states, {})
        assert [step[0] for step in kept] == wanted_kept
        np.testing.assert_allclose(outputs["logits"], wanted.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("reductions", [[0], [0, 1, 2, 3], [3], [2, 3]])
@pytest.mark.parametrize("task", ["sequence-classification", "question-answering"])
def test_reductions_anywhere(tiny_model, random_rows, answer, task, reductions):
    model = tiny_model(task, reduction_layers=reductions)
    keep = (0.8, 0.6, 0.4, 0.2)[: len(reductions)]
    for row, fractions in itertools.product(random_rows(model, [1, 25]), (None, keep)):
        outputs, kept = answer(model, row, fractions)
        with torch.inference_mode():
            states, wanted_kept = naive_states(model, row, fractions)
            wanted = model.apply_head(states, {"attention_mask": torch.from_numpy(row["attention_mask"])})
        assert [step[0] for step in kept] == wanted_kept
        assert outputs.keys() == wanted.keys()
        for name, tensor in wanted.items():
            np.testing.assert_allclose(outputs[name], tensor.numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("task", NAMES)
def test_a_row_of_one_token(tiny_model, random_rows, answer, task):
    model = tiny_model(task)
    (row,) = random_rows(model, [1])
    for keep in (None, (0.4, 0.15)):
        outputs, kept = answer(model, row, keep)
        assert kept == [[[0]], [[0]]]
        assert all(np.isfinite(array).all() for array in outputs.values())


def test_default_selection_comes_from_the_configuration(tiny_model, random_rows, answer):
    model = tiny_model()
    (row,) = random_rows(model, [20])
    model.config.keep = [0.5, 0.25]
    _, kept = answer(model, row)
    assert [len(step[0]) for step in kept] == [10, 5]
    _, kept = answer(model, row, [])  # policy, asked for explicitly
    with torch.inference_mode():
        assert [step[0] for step in kept] == naive_states(model, row)[1]
    with pytest.raises(InputError, match="2 reductions, but 1 keep"):
        answer(model, row, (0.5,))


def test_missing_mask_and_types_mean_all_real_and_zero(tiny_model, random_rows, answer):
    model = tiny_model()
    (row,) = random_rows(model, [9])
    row["token_type_ids"][:] = 0
    wanted, _ = answer(model, row)
    outputs, _ = answer(model, {"input_ids": row["input_ids"]})
    np.testing.assert_array_equal(outputs["logits"], wanted["logits"])


@pytest.mark.parametrize("task", NAMES)
@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_saved_and_loaded_again(tmp_path, tiny_model, random_rows, batch_of, answer, task, backbone):
    model = tiny_model(task, backbone, layers=3, reduction_layers=[0, 2])
    model.config.keep = [0.6, 0.3]
    model.config.id2label = {0: "a", 1: "b", 2: "c"}
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    batch = batch_of(random_rows(model, [3, 14]))
    wanted, wanted_kept = answer(model, batch)
    for again in (model_class(TASKS.get(task)).from_pretrained(tmp_path), load_checkpoint(tmp_path).model):
        assert again.config.reduction_layers == [0, 2]
        assert again.config.keep == [0.6, 0.3]
        assert again.config.id2label == {0: "a", 1: "b", 2: "c"}
        assert again.config.backbone.model_type == backbone
        assert not again.training
        outputs, kept = answer(again, batch)
        assert kept == wanted_kept
        for name in wanted:
            np.testing.assert_allclose(outputs[name], wanted[name], rtol=0, atol=2e-6)


def test_budgets_and_logits_are_reported(tiny_model, random_rows, batch_of):
    model = tiny_model()
    batch = batch_of(random_rows(model, [20, 5]))
    with torch.inference_mode():
        output = model(**{name: torch.from_numpy(array) for name, array in batch.items()}, keep=(0.4, 0.15))
    assert [budget.tolist() for budget in output.budgets] == [[8, 2], [3, 1]]
    chain = kept_positions([mask[0].numpy() for mask in output.keep_masks], full_length=False)
    # the selector's own ranking of the first reduction, by hand
    ranked = np.argsort(-output.decisions[0].scores[0, 1:20].numpy(), kind="stable") + 1
    assert sorted([0, *ranked[:7]]) == chain[0].tolist()


# -- ties ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", NAMES)
def test_equal_logits_keep_the_lower_positions(tiny_model, random_rows, batch_of, answer, task):
    model = tiny_model(task)
    with torch.no_grad():
        for selector in model.selectors:
            for parameter in selector.parameters():
                parameter.zero_()
    rows = random_rows(model, [20, 7, 1])
    for row in rows:
        if "question_ends" in row:
            row["question_ends"][:] = row["input_ids"].shape[-1]
    _, kept = answer(model, batch_of(rows), (0.4, 0.15))
    assert kept == [[list(range(8)), [0, 1, 2], [0]], [[0, 1, 2], [0, 1], [0]]]
    _, kept = answer(model, batch_of(rows))  # a logit of exactly zero is kept
    assert kept == [[list(range(20)), list(range(7)), [0]]] * 2


def test_dense_config_takes_no_keep():
    config = TRBertConfig(backbone={"model_type": "bert"}, reduction_layers=[], keep=[0.5])
    with pytest.raises(InputError, match="no selectors"):
        _ = config.selection
