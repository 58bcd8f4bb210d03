import pytest

from trbert_deploy.bench.gates import accuracy_gate, speed_up_gate
from trbert_deploy.bench.quality import Accuracy, Flops
from trbert_deploy.bench.report import WorkloadResult
from trbert_deploy.bench.stats import SpeedUp
from trbert_deploy.core.errors import TRBertError

FLOPS = Flops(1, 2, 2, 1, 2, 2, [0.5])


def accuracy(drop, baseline="ort dense"):
    return Accuracy(200, {}, baseline, drop)


def workload(name, speed_up):
    ratios = [SpeedUp("ort dense", speed_up, speed_up, 1, 9), SpeedUp("torch", 100, 100, 99, 101)]
    return WorkloadResult(name, "data", 1, 1, 5, 5, 5, {}, ratios, FLOPS)


@pytest.mark.parametrize(("drop", "passed"), [(0.4, True), (0.5, True), (0.6, False), (-3, True)])
def test_accuracy_may_drop_so_far(drop, passed):
    gate = accuracy_gate(accuracy(drop), 0.5)
    assert gate.passed is passed


def test_a_failed_accuracy_gate_says_by_how_much():
    assert "0.25 too many" in accuracy_gate(accuracy(0.75), 0.5).text


def test_rounding_of_percentages_does_not_fail_a_gate():
    assert accuracy_gate(accuracy(90.3 - 90.0), 0.3).passed  # 0.2999999999999972
    assert accuracy_gate(accuracy(0.1 + 0.2), 0.3).passed  # 0.30000000000000004


@pytest.mark.parametrize("missing", [None, accuracy(None, None)])
def test_accuracy_that_was_not_measured_is_an_error(missing):
    with pytest.raises(TRBertError, match="--max-accuracy-drop cannot be checked"):
        accuracy_gate(missing, 0.5)


def test_every_workload_must_be_fast_enough():
    workloads = [workload("batch 1", 2.5), workload("batch 32", 1.9)]
    assert speed_up_gate(workloads, "ort dense", 1.9).passed
    failed = speed_up_gate(workloads, "ort dense", 2.0)
    assert not failed.passed
    assert "batch 32" in failed.text
    assert "batch 1)" not in failed.text
    assert "0.10 too little" in failed.text


def test_no_number_is_no_pass():
    assert not speed_up_gate([workload("batch 1", 3)], "ort dense", float("nan")).passed


def test_a_speed_up_without_baseline_is_an_error():
    with pytest.raises(TRBertError, match="--min-speedup cannot be checked"):
        speed_up_gate([workload("batch 1", 3)], None, 2)
