import pytest

from trbert_deploy.bench.quality import Accuracy, Agreement, Flops, Quality
from trbert_deploy.bench.report import WorkloadResult
from trbert_deploy.bench.stats import latency, speed_up
from trbert_deploy.bench.summary import sentence

FLOPS = Flops(1, 2, 2, 1, 2, 2, [0.5])


def workload(name, own_ms, **others_ms):
    """One round, in which the bundle took so long and others so long."""
    times = {"ort staged": own_ms, **{name.replace("_", " "): ms for name, ms in others_ms.items()}}
    ratios = [speed_up(other, [ms], [own_ms]) for other, ms in times.items() if other != "ort staged"]
    return WorkloadResult(
        name, "rows", 1, 1, 5, 5, 5, {one: latency([ms], 1, 5) for one, ms in times.items()}, ratios, FLOPS
    )


def quality(accuracy=None, agreement=None):
    return Quality("rows", 8, accuracy, agreement, FLOPS)


ACCURATE = quality(Accuracy(8, {"ort staged": 92.43, "ort dense": 92.87, "torch": 92.43}, "ort dense", 0.44))


def test_as_in_the_readme():
    workloads = [workload("batch 1", 10, ort_dense=16, torch=20), workload("batch 32", 10, ort_dense=20, torch=40)]
    assert sentence(workloads, "ort dense", ACCURATE, reduces=True) == (
        "1.6 times faster than the same model without token reduction at batch 1, 2.0 times at batch 32; "
        "accuracy 92.4 % against 92.9 %."
    )


@pytest.mark.parametrize(
    ("dense_ms", "said"),
    [
        ((5, 4), "2.0 times slower than the same model without token reduction at batch 1, 2.5 times at batch 32."),
        ((10.3, 30), "As fast as the same model without token reduction at batch 1, 3.0 times faster at batch 32."),
        ((20, 9.8), "2.0 times faster than the same model without token reduction at batch 1, as fast at batch 32."),
        ((20, 5), "2.0 times faster than the same model without token reduction at batch 1, 2.0 times slower at b"),
        ((10, 10), "As fast as the same model without token reduction at batch 1, as fast at batch 32."),
    ],
)
def test_faster_slower_or_neither(dense_ms, said):
    workloads = [workload(name, 10, ort_dense=ms) for name, ms in zip(("batch 1", "batch 32"), dense_ms, strict=True)]
    assert sentence(workloads, "ort dense", quality(), reduces=True).startswith(said)


def test_other_baselines_and_none():
    workloads = [workload("batch 1", 10, torch=30)]
    against = "3.0 times faster than PyTorch with the same token reduction at batch 1."
    assert sentence(workloads, "torch", quality(), reduces=True) == against
    assert sentence(workloads, "torch", quality(), reduces=False) == "3.0 times faster than PyTorch at batch 1."
    alone = [workload("batch 1", 10), workload("batch 32", 123.456)]
    assert sentence(alone, None, quality(Accuracy(8, {"ort staged": 50.0}, None, None)), reduces=True) == (
        "10.0 ms at batch 1, 123.5 ms at batch 32, with nothing to compare it with; accuracy 50.0 %."
    )


def test_without_labels_the_predictions_are_pytorchs_or_not():
    workloads = [workload("batch 1", 10, torch=20)]
    text = sentence(workloads, "torch", quality(agreement=Agreement(64, 98.4375, 0.1, [])), reduces=True)
    assert text.endswith("; the predictions of 98.4 % of 64 rows are PyTorch's.")
    assert sentence(workloads, "torch", quality(agreement=Agreement(64, None, 0.1, [])), reduces=False) == (
        "2.0 times faster than PyTorch at batch 1."
    )
