"""The loop against a plain PyTorch one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loop_runs import STEPS, forget_accelerate, phase_of, train
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from training_told import KilledError
from transformers import get_linear_schedule_with_warmup

from trbert_deploy.core.errors import DeviceError, TRBertError
from trbert_deploy.training.batches import BatchSampler
from trbert_deploy.training.devices import make_accelerator
from trbert_deploy.training.loop import Phase
from trbert_deploy.training.metrics import read_metrics

pytestmark = pytest.mark.usefixtures("fresh_accelerate")


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
