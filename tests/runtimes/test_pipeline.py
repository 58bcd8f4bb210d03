"""The pipeline over PyTorch's own stages and over ONNX Runtime: the same answers as the model's forward."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trbert_deploy.bundle.manifest import NEXT
from trbert_deploy.core import grouping
from trbert_deploy.core.request import check_request
from trbert_deploy.core.specs import ReductionSpec
from trbert_deploy.export.trace import stage_spec
from trbert_deploy.model import by_budget, by_policy, run_stage
from trbert_deploy.runtimes.pipeline import StagePipeline, group_by_count
from trbert_deploy.tasks import TASKS

BUDGET = (0.4, 0.15)
LENGTHS = [60, 3, 57, 1, 2, 60, 31, 5]


class TorchStages:
    """Runs the reference's stages; handles are tensors."""

    def __init__(self, model, budgeted):
        self.model, self.decide = model, by_budget if budgeted else by_policy
        self.fed = []

    def run(self, stage, feeds):
        tensors = {k: v if isinstance(v, torch.Tensor) else torch.from_numpy(v) for k, v in feeds.items()}
        self.fed.append((stage, {name: tuple(tensor.shape) for name, tensor in tensors.items()}))
        with torch.inference_mode():
            outputs = run_stage(self.model, stage, tensors, self.decide).tensors
        return {NEXT + name if name in self.model.carried else name: value for name, value in outputs.items()}

    def fetch(self, handle):
        return handle.numpy()


class OnnxStages:
    """Runs traced stages; handles are arrays."""

    def __init__(self, sessions):
        self.sessions = sessions

    def run(self, stage, feeds):
        session = self.sessions[stage]
        names = [value.name for value in session.get_outputs()]
        wanted = {value.name for value in session.get_inputs()}
        return dict(zip(names, session.run(names, {k: v for k, v in feeds.items() if k in wanted}), strict=True))

    def fetch(self, handle):
        return handle


def pipeline_of(model, runner, keep, regroup):
    specs = [stage_spec(model, index, bool(keep)) for index in range(model.num_stages)]
    inputs = [[tensor.name for tensor in spec.inputs] for spec in specs]
    reduction = ReductionSpec(
        model.reduction.name,
        tuple(model.config.reduction_layers),
        mode="budget" if keep else "policy",
        fractions=tuple(keep),
        full_length=model.full_length,
    )
    group = group_by_count if regroup else lambda stage, counts, sequences: [np.arange(len(counts))]
    return StagePipeline(runner, inputs, reduction, group=group)


def request_of(model, batch):
    return check_request(model.spec, batch)


def assert_answers(given, wanted, wanted_kept, within=1e-5):
    assert [[row.tolist() for row in step] for step in given.kept] == wanted_kept
    assert given.outputs.keys() == wanted.keys()
    for name, array in wanted.items():
        assert given.outputs[name].shape == array.shape
        assert given.outputs[name].dtype == np.float32
        np.testing.assert_allclose(given.outputs[name], array, rtol=0, atol=within)


@pytest.fixture
def many_groups(monkeypatch):
    """Groups cost nothing, so that rows part wherever their counts differ."""
    monkeypatch.setattr(grouping, "GROUP_OVERHEAD_TOKENS", 0)


@pytest.mark.parametrize("keep", [(), BUDGET], ids=["policy", "budget"])
@pytest.mark.parametrize("regroup", [True, False])
@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
@pytest.mark.parametrize("task", sorted(TASKS.names()))
def test_every_task_answers_as_forward(
    tiny_model, random_rows, batch_of, answer, task, backbone, regroup, keep, many_groups
):
    model = tiny_model(task, backbone)
    batch = batch_of(random_rows(model, LENGTHS), width=63)
    wanted, wanted_kept = answer(model, batch, keep)
    runner = TorchStages(model, bool(keep))
    given = pipeline_of(model, runner, keep, regroup).run(request_of(model, batch), want_kept=True)
    assert_answers(given, wanted, wanted_kept)
    assert [sum(sizes) for sizes in given.group_sizes] == [len(LENGTHS)] * 3
    if regroup:
        assert len(given.group_sizes[0]) > 3
    else:
        assert given.group_sizes == [[len(LENGTHS)]] * 3


@pytest.mark.parametrize("task", sorted(TASKS.names()))
def test_kept_sets_are_not_fetched_unless_wanted(tiny_model, random_rows, batch_of, answer, task):
    model = tiny_model(task)
    batch = batch_of(random_rows(model, [9, 4]))

    class Watched(TorchStages):
        def fetch(self, handle):
            assert handle.shape[-1] != model.config.backbone.hidden_size, "states were brought to the host"
            fetched.append(tuple(handle.shape))
            return handle.numpy()

    fetched = []
    given = pipeline_of(model, Watched(model, False), (), True).run(request_of(model, batch), want_kept=False)
    assert given.kept is None
    wanted, _ = answer(model, batch)
    for name, array in wanted.items():
        np.testing.assert_allclose(given.outputs[name], array, rtol=0, atol=1e-5)


def test_rows_part_between_stages_when_their_counts_do(tiny_model, random_rows, batch_of, many_groups):
    model = tiny_model()
    runner = TorchStages(model, False)
    batch = batch_of(random_rows(model, [40] * 8))
    given = pipeline_of(model, runner, (), True).run(request_of(model, batch), want_kept=True)
    assert given.group_sizes[0] == [8]  # of one length
    assert len(given.group_sizes[1]) > 1
    # no group gathers more tokens than its widest row kept
    widths = {shapes["keep"][0] for stage, shapes in runner.fed if stage == 1}
    assert widths == {len(row) for row in given.kept[0]}


def test_only_as_wide_as_the_widest_row_of_the_group(tiny_model, random_rows, batch_of):
    model = tiny_model()
    runner = TorchStages(model, False)
    batch = batch_of(random_rows(model, [60, 2, 60, 3]), width=64)
    pipeline_of(model, runner, (), True).run(request_of(model, batch), want_kept=False)
    assert [shapes["input_ids"] for stage, shapes in runner.fed if stage == 0] == [(2, 60), (2, 3)]


@pytest.mark.parametrize("keep", [(), (0.5,)], ids=["policy", "budget"])
@pytest.mark.parametrize("layers", [[], [0], [1, 2, 3]])
def test_any_number_of_stages(tiny_model, random_rows, batch_of, answer, layers, keep):
    model = tiny_model("question-answering", reduction_layers=layers)
    keep = keep and (0.5, 0.3, 0.1)[: len(layers)]
    batch = batch_of(random_rows(model, [30, 1, 12]))
    wanted, wanted_kept = answer(model, batch, keep)
    given = pipeline_of(model, TorchStages(model, bool(keep)), keep, True).run(request_of(model, batch), want_kept=True)
    assert_answers(given, wanted, wanted_kept)


# -- ONNX Runtime --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_onnx(selecting, traced, session_of):
    name, keep = selecting
    sessions = [session_of(graph) for graph in traced(name).stages(bool(keep))]
    return traced(name).model, keep, OnnxStages(sessions)


@pytest.mark.parametrize("regroup", [True, False])
@pytest.mark.parametrize("seed", [0, 1])
def test_onnx_runtime_answers_as_forward(on_onnx, random_rows, batch_of, answer, regroup, seed, many_groups):
    model, keep, runner = on_onnx
    lengths = np.random.default_rng(seed).permutation(LENGTHS)
    batch = batch_of(random_rows(model, lengths, seed=seed))
    wanted, wanted_kept = answer(model, batch, keep)
    given = pipeline_of(model, runner, keep, regroup).run(request_of(model, batch), want_kept=True)
    assert_answers(given, wanted, wanted_kept, within=2e-5)


@pytest.mark.parametrize(
    "name", ["bert-sequence-classification", "bert-hotpot-question-answering", "distilbert-multiple-choice"]
)
def test_onnx_runtime_answers_as_upstream(traced, session_of, golden, batch_of, name):
    model = traced(name).model
    runner = OnnxStages([session_of(graph) for graph in traced(name).stages(False)])
    rows = golden(name).rows[::-1]
    together = batch_of([row.inputs for row in rows])
    given = pipeline_of(model, runner, (), True).run(request_of(model, together), want_kept=True)
    for place, row in enumerate(rows):
        for output, wanted in row.outputs.items():
            own = given.outputs[output][place][tuple(slice(size) for size in wanted[0].shape)]
            np.testing.assert_allclose(own, wanted[0], rtol=0, atol=1e-4)
        if row.kept is not None:
            assert [step[place].tolist() for step in given.kept[: len(row.kept)]] == row.kept


# -- kept sets from outside ----------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [(), BUDGET], ids=["policy", "budget"])
@pytest.mark.parametrize("task", sorted(TASKS.names()))
def test_replayed_kept_sets_are_kept_whatever_the_selectors_say(
    tiny_model, random_rows, batch_of, answer, task, keep, many_groups
):
    """A model whose selectors say something else answers as the one whose kept sets it is given."""
    model, other = tiny_model(task), tiny_model(task)
    with torch.no_grad():
        for selector in other.selectors:
            for parameter in selector.parameters():
                parameter.neg_()
    batch = batch_of(random_rows(model, LENGTHS), width=63)
    wanted, wanted_kept = answer(model, batch, keep)
    assert answer(other, batch, keep)[1] != wanted_kept
    kept = [[np.array(row) for row in reduction] for reduction in wanted_kept]
    pipeline = pipeline_of(other, TorchStages(other, bool(keep)), keep, True)
    given = pipeline.run(request_of(other, batch), want_kept=True, replay=kept)
    assert_answers(given, wanted, wanted_kept)


# -- ties, end to end ----------------------------------------------------------------------------------------


def test_all_logits_equal(traced, session_of, random_rows, batch_of, answer):
    model = traced("all-equal").model
    batch = batch_of(random_rows(model, [20, 7, 1]))
    wanted = [[list(range(8)), [0, 1, 2], [0]], [[0, 1, 2], [0, 1], [0]]]
    assert answer(model, batch, BUDGET)[1] == wanted
    sessions = [session_of(graph) for graph in traced("all-equal").stages(True)]
    for runner in (TorchStages(model, True), OnnxStages(sessions)):
        given = pipeline_of(model, runner, BUDGET, True).run(request_of(model, batch), want_kept=True)
        assert [[row.tolist() for row in step] for step in given.kept] == wanted


def test_logits_equal_in_pairs_across_the_budget(traced, session_of, answer):
    model = traced("pairs").model
    with torch.inference_mode():
        every = model(torch.arange(120)[:, None], torch.ones(120, 1, dtype=torch.int64)).decisions[0].scores[:, 0]
    ranked = [int(i) for i in every.argsort(descending=True)]
    high, middle, low = ranked[0], ranked[15], ranked[30]
    assert every[high] > every[middle] + 1 > every[low] + 2 > 2
    rows = {
        # [CLS] is first and always kept, whatever its logit; three more are kept of nine or ten
        (low, low, middle, high, middle, high, low, low, low, low): [0, 2, 3, 5],
        (low, middle, low, high, high, middle, low, low, low): [0, 1, 3, 4],
        (low, low, low, low, middle, middle, middle, middle, high, high): [0, 4, 8, 9],
        (high, middle, low, middle, low, middle, middle, low, low, low): [0, 1, 3, 5],
    }
    width = max(len(row) for row in rows)
    ids = np.array([[*row, *[high] * (width - len(row))] for row in rows])  # padding has the highest logit
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    batch = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    with torch.inference_mode():
        logits = model(**{name: torch.from_numpy(array) for name, array in batch.items()}).decisions[0].scores
    for token in (high, middle, low):
        assert len(set(logits[torch.from_numpy(ids) == token].tolist())) == 1  # equal to the last bit
    keep = (0.4,)  # of 10 tokens 4, of 9 also 4
    assert answer(model, batch, keep)[1] == [list(rows.values())]
    for runner in (
        TorchStages(model, True),
        OnnxStages([session_of(graph) for graph in traced("pairs").stages(True)]),
    ):
        for regroup in (True, False):
            given = pipeline_of(model, runner, keep, regroup).run(request_of(model, batch), want_kept=True)
            assert [[row.tolist() for row in step] for step in given.kept] == [list(rows.values())]
