"""The loop against a plain PyTorch one, and killed runs against whole ones."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import get_linear_schedule_with_warmup

from trbert_deploy.core.errors import DeviceError, TRBertError
from trbert_deploy.training.arguments import TrainingArguments
from trbert_deploy.training.batches import BatchSampler, TokenizedExamples
from trbert_deploy.training.data import Examples
from trbert_deploy.training.devices import make_accelerator
from trbert_deploy.training.initial import set_dropout
from trbert_deploy.training.loop import Phase, Schedule, run_phase
from trbert_deploy.training.metrics import Metrics, read_metrics
from trbert_deploy.training.phases import FineTuning, Joint, Selectors

ROWS = 22  # two are left over in each epoch of batches of 4
STEPS = 15


class KilledError(Exception):
    """The end of a process."""


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """accelerate keeps one state a process, which other tests may have made differently."""
    forget_accelerate()
    yield
    forget_accelerate()


def forget_accelerate():
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def examples(tokenizer):
    rng = np.random.default_rng(0)
    texts = [(" ".join(rng.choice(list("abcdefgh"), rng.integers(1, 9))),) for _ in range(ROWS)]
    return TokenizedExamples(Examples(texts, rng.integers(0, 3, ROWS), ("x", "y", "z")), tokenizer, 16)


def phase_of(kind, tiny_model, dropout=0.1):
    """A phase on a new model, always of the same weights."""
    model = tiny_model(layers=4)
    set_dropout(model, dropout, dropout)
    if kind == "fine-tuning":
        return FineTuning(model.without_reduction())
    if kind == "selectors":
        return Selectors(model, samples=3, alpha=1.0, imitation=0.5)
    teacher = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(0))
    return Joint(model, {"logits": teacher}, samples=3, alpha=1.0, temperature=1.0)


def train(phase, examples, folder, *, kill_at=None, epochs=3.0, learning_rate=1e-3, precision="no", **arguments):
    """Run a phase as a new process would, to the end or to the step at which the process is killed."""
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(random.SystemRandom().randrange(1000))
    told = []

    def progress(done, steps, latest):
        told.append((done, steps, dict(latest)))
        if done == kill_at:
            raise KilledError

    folder.mkdir(exist_ok=True)
    options = {"batch_size": 4, "save_every": 5, "log_every": 1, "seed": 7} | arguments
    run_phase(
        make_accelerator(precision, "cpu"),
        phase,
        Schedule(epochs, learning_rate),
        examples,
        TrainingArguments(**options),
        folder / "state",
        Metrics(folder / "metrics.jsonl"),
        progress,
    )
    return told


def assert_same_weights(phase, other):
    theirs = other.state_dict()
    for name, weight in phase.state_dict().items():
        assert torch.equal(weight, theirs[name]), name


# -- resuming ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fine-tuning", "selectors", "joint"])
def test_a_killed_run_that_goes_on_ends_with_the_weights_of_a_whole_one(kind, tiny_model, examples, tmp_path):
    start, whole = phase_of(kind, tiny_model), phase_of(kind, tiny_model)
    train(whole, examples, tmp_path / "whole")
    assert any(not torch.equal(a, b) for a, b in zip(start.parameters(), whole.parameters(), strict=True))
    for kill_at in (3, 8, 14, 12):  # before the first state; with steps lost; at the last one; nothing new is saved
        with pytest.raises(KilledError):
            train(phase_of(kind, tiny_model), examples, tmp_path / "killed", kill_at=kill_at)
    resumed = phase_of(kind, tiny_model)
    told = train(resumed, examples, tmp_path / "killed")
    assert [done for done, *_ in told] == [11, 12, 13, 14, 15]  # it did not begin anew
    assert_same_weights(resumed, whole)
    lines = [read_metrics(tmp_path / run / "metrics.jsonl") for run in ("whole", "killed")]
    assert [line["step"] for line in lines[1]] == list(range(1, STEPS + 1))
    assert lines[0] == lines[1]


@pytest.mark.parametrize("kind", ["fine-tuning", "joint"])
def test_dropout_and_sampling_make_the_random_state_matter(kind, tiny_model, examples, tmp_path):
    """Else the test above would see nothing of it."""
    phases = [phase_of(kind, tiny_model) for _ in range(2)]
    for seed, phase in enumerate(phases):
        original = torch.manual_seed
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "manual_seed", lambda _, seed=seed, original=original: original(seed))
            train(phase, examples, tmp_path / str(seed), epochs=0.4)
    assert any(not torch.equal(a, b) for a, b in zip(*(phase.parameters() for phase in phases), strict=True))


def test_a_kill_while_a_state_is_written_falls_back_to_the_one_before(tiny_model, examples, tmp_path, monkeypatch):
    whole, resumed = phase_of("joint", tiny_model), phase_of("joint", tiny_model)
    train(whole, examples, tmp_path / "whole")
    save = Accelerator.save_state
    saved = []

    def cut_short(self, folder, *args, **options):
        save(self, folder, *args, **options)
        saved.append(folder)
        if len(saved) == 2:
            for file in tmp_path.glob("killed/state/partial/*"):
                file.write_bytes(file.read_bytes()[:10])
            (tmp_path / "killed/state/partial/stale").touch()
            raise KilledError

    monkeypatch.setattr(Accelerator, "save_state", cut_short)
    with pytest.raises(KilledError):
        train(phase_of("joint", tiny_model), examples, tmp_path / "killed")
    told = train(resumed, examples, tmp_path / "killed")
    assert told[0][0] == 6
    assert [path.name for path in (tmp_path / "killed/state").iterdir()] == ["step-10"]
    assert not [*tmp_path.glob("killed/state/*/stale")]
    assert_same_weights(resumed, whole)


def test_only_the_latest_state_takes_up_space(tiny_model, examples, tmp_path):
    train(phase_of("fine-tuning", tiny_model), examples, tmp_path, save_every=2)
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["step-14"]


def test_lines_after_a_kill_average_over_as_many_steps_as_before(tiny_model, examples, tmp_path):
    options = {"save_every": 5, "log_every": 3}  # a state falls between two lines
    train(phase_of("fine-tuning", tiny_model), examples, tmp_path / "whole", **options)
    with pytest.raises(KilledError):
        train(phase_of("fine-tuning", tiny_model), examples, tmp_path / "killed", kill_at=7, **options)
    train(phase_of("fine-tuning", tiny_model), examples, tmp_path / "killed", **options)
    lines = [read_metrics(tmp_path / run / "metrics.jsonl") for run in ("whole", "killed")]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    assert lines[0] == lines[1]


# -- steps ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_norm", [0.5, 1e9])
def test_steps_are_those_of_a_plain_loop_with_transformers_schedule(tiny_model, examples, tmp_path, max_norm):
    ours = phase_of("fine-tuning", tiny_model, dropout=0.0)
    told = train(ours, examples, tmp_path, warmup=0.0, weight_decay=0.3, max_gradient_norm=max_norm, save_every=99)
    theirs = phase_of("fine-tuning", tiny_model, dropout=0.0)
    named = dict(theirs.named_parameters())
    decayed = {name for name in named if name.endswith("weight") and "LayerNorm" not in name}
    optimizer = torch.optim.AdamW(
        [
            {"params": [weight for name, weight in named.items() if name in decayed], "weight_decay": 0.3},
            {"params": [weight for name, weight in named.items() if name not in decayed], "weight_decay": 0.0},
        ],
        lr=1e-3,
    )
    schedule = get_linear_schedule_with_warmup(optimizer, 0, STEPS)
    sampler = BatchSampler(examples.lengths, 4, 3.0, 7)
    norms = []
    for step in range(STEPS):
        batch = examples.batch(sampler.rows(step))
        loss = nn.functional.cross_entropy(theirs.dense(**batch.inputs).outputs["logits"], batch.labels)
        assert told[step][:2] == (step + 1, STEPS)
        assert told[step][2]["loss"] == pytest.approx(loss.item(), abs=1e-4)
        optimizer.zero_grad()
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(theirs.parameters(), max_norm).item())
        optimizer.step()
        schedule.step()
    assert min(norms) > 0.6  # every step is clipped where any is
    wanted = theirs.state_dict()
    for name, weight in ours.state_dict().items():
        if not name.endswith("key.bias"):  # it changes no softmax: its gradient is rounding, which Adam magnifies
            np.testing.assert_allclose(weight, wanted[name], atol=1e-4, err_msg=name)


def learning_rates(examples, tiny_model, folder, **options):
    rates = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.append({group["lr"] for group in optimizer.param_groups})
    )
    try:
        train(phase_of("selectors", tiny_model), examples, folder, **options)
    finally:
        hook.remove()
    assert all(len(groups) == 1 for groups in rates)
    return [rate for groups in rates for rate in groups]


def transformers_rates(warmup, steps):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, steps)
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


def test_the_rate_falls_as_transformers_and_rises_without_a_step_at_zero(tiny_model, examples, tmp_path):
    rates = learning_rates(examples, tiny_model, tmp_path, warmup=1 / 3)
    assert len(rates) == STEPS
    np.testing.assert_allclose(rates[5:], transformers_rates(5, STEPS)[5:], rtol=1e-9)
    # one step of warm-up more, of which the first, at zero, is left out
    np.testing.assert_allclose(rates[:5], transformers_rates(6, STEPS)[1:6], rtol=1e-9)
    assert rates[5] == max(rates) == pytest.approx(1e-3)


def test_a_resumed_run_goes_on_at_the_rate_it_had(tiny_model, examples, tmp_path):
    whole = learning_rates(examples, tiny_model, tmp_path / "whole")
    with pytest.raises(KilledError):
        train(phase_of("selectors", tiny_model), examples, tmp_path / "killed", kill_at=7)
    assert learning_rates(examples, tiny_model, tmp_path / "killed") == whole[5:]


def test_gradients_are_scaled_down_to_the_norm(tiny_model, examples, tmp_path):
    """By what the optimizer remembers of the first one: a tenth of it."""
    phase = phase_of("fine-tuning", tiny_model)
    with pytest.raises(KilledError):
        train(phase, examples, tmp_path, kill_at=2, save_every=1, max_gradient_norm=0.01)
    (file,) = tmp_path.glob("state/step-1/optimizer*.bin")
    remembered = torch.load(file, weights_only=True)["state"]
    assert len(remembered) == len([*phase.parameters()])
    norm = sum((moments["exp_avg"] ** 2).sum() for moments in remembered.values()) ** 0.5
    assert norm.item() == pytest.approx(0.01 * 0.1, rel=1e-3)


def test_selector_training_leaves_backbone_and_head_as_they_are(tiny_model, examples, tmp_path):
    phase = phase_of("selectors", tiny_model)
    before = {name: weight.clone() for name, weight in phase.model.named_parameters()}
    train(phase, examples, tmp_path, weight_decay=0.5)
    for name, weight in phase.model.named_parameters():
        assert torch.equal(weight, before[name]) != name.startswith("selectors."), name


def test_training_is_told_how_far_it_is(examples, tmp_path):
    class Watched(Phase):
        name = "watched"

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))
            self.seen = []

        def forward(self, batch, progress):
            self.seen.append((progress, tuple(batch.rows.tolist())))
            assert self.training
            return ((self.weight - batch.labels.float().mean()) ** 2).sum(), {"rows": torch.tensor(float(len(batch)))}

    phase = Watched()
    told = train(phase, examples, tmp_path, log_every=4)
    assert [progress for progress, _ in phase.seen] == [step / STEPS for step in range(STEPS)]
    sampler = BatchSampler(examples.lengths, 4, 3.0, 7)
    assert [rows for _, rows in phase.seen] == [tuple(sampler.rows(step).tolist()) for step in range(STEPS)]
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [4, 5, 8, 10, 12, 15]  # and with every state, at 5 and 10
    assert all(line["phase"] == "watched" and line["rows"] == 4 for line in lines)
    assert told[0][2]["rows"] == 4  # there is something to show from the first step on


# -- divergence ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fine-tuning", "selectors", "joint"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_loss_that_is_no_number_ends_the_run_with_what_to_do(kind, value, tiny_model, examples, tmp_path):
    phase = phase_of(kind, tiny_model)
    poisoned = phase.dense if kind == "fine-tuning" else phase.model
    with torch.no_grad():
        poisoned.backbone.embeddings.word_embeddings.weight[5:, 0] = value
    with pytest.raises(TRBertError, match=rf"{kind}: the loss is nan at step 1\. lower the learning rate"):
        train(phase, examples, tmp_path)
    assert not (tmp_path / "state").exists()


def test_a_learning_rate_far_too_large_is_noticed(tiny_model, examples, tmp_path):
    with pytest.raises(TRBertError, match="joint: the loss is nan at step 2"):
        train(phase_of("joint", tiny_model), examples, tmp_path, learning_rate=1e30)


# -- precision -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fine-tuning", "selectors", "joint"])
def test_bf16_is_at_work_and_leaves_float32_weights(kind, tiny_model, examples, tmp_path):
    trained = {}
    for precision in ("no", "bf16"):
        forget_accelerate()
        phase = phase_of(kind, tiny_model, dropout=0.0)
        told = train(phase, examples, tmp_path / precision, epochs=0.4, precision=precision)
        trained[precision] = phase.state_dict(), told[0][2]["loss"]
    (exact, loss), (mixed, mixed_loss) = trained["no"], trained["bf16"]
    assert mixed_loss != loss
    if kind == "fine-tuning":  # else samples may differ
        assert mixed_loss == pytest.approx(loss, rel=0.02)
    assert any(not torch.equal(weight, mixed[name]) for name, weight in exact.items())
    for name, weight in mixed.items():
        assert weight.dtype == exact[name].dtype, name
        assert weight.isfinite().all(), name


def test_what_a_cpu_cannot_compute_in_is_refused():
    with pytest.raises(DeviceError, match=r"does not train in fp16 on cpu\. --precision bf16"):
        make_accelerator("fp16", "cpu")


# -- metrics -------------------------------------------------------------------------------------------------


def test_a_line_averages_the_steps_since_the_last(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl")
    metrics.begin("a", 0)
    for step, loss in enumerate([1.0, 2.0, 6.0, 5.0, 7.0], 1):
        metrics.add(step, {"loss": loss}, write=step in (3, 5))
    assert read_metrics(tmp_path / "metrics.jsonl") == [
        {"phase": "a", "step": 3, "loss": 3.0},
        {"phase": "a", "step": 5, "loss": 6.0},
    ]
    assert metrics.latest == {"loss": 6.0}


def test_going_on_drops_later_lines_of_the_phase_alone_and_what_a_kill_cut_short(tmp_path):
    file = tmp_path / "metrics.jsonl"
    lines = [{"phase": "a", "step": 9}, {"phase": "b", "step": 3}, {"phase": "b", "step": 6}]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"phase": "b", "st')
    metrics = Metrics(file)
    metrics.begin("b", 3)
    metrics.add(4, {"loss": 0.5}, write=True)
    assert read_metrics(file) == [*lines[:2], {"phase": "b", "step": 4, "loss": 0.5}]


def test_a_second_process_writes_nothing(tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"phase": "a", "step": 5}\n')
    metrics = Metrics(file, enabled=False)
    metrics.begin("a", 0)
    metrics.add(1, {"loss": 0.5}, write=True)
    assert read_metrics(file) == [{"phase": "a", "step": 5}]
