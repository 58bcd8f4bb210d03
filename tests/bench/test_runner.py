import dataclasses
import json
import sys

import numpy as np
import pytest
import torch

import trbert_deploy
from trbert_deploy.bench import render
from trbert_deploy.bench.backends import open_backends
from trbert_deploy.bench.comparison import measure_quality
from trbert_deploy.bench.options import BenchOptions
from trbert_deploy.bench.outputs import run_all
from trbert_deploy.bench.runner import _disturbed, run_bench
from trbert_deploy.bench.sheets import sheets
from trbert_deploy.bench.workload import Dataset, random_dataset
from trbert_deploy.bundle import open_bundle
from trbert_deploy.core.costs import RowTokens, exact_flops, upstream_flops
from trbert_deploy.core.errors import TRBertError

QUICK = BenchOptions(iterations=2, warmup=1, batch_sizes=(1, 4))
BACKENDS = ["ort staged", "ort dense", "torch", "torch dense"]


def no_progress(phase, done):
    pass


@pytest.fixture(scope="module")
def bundle(golden_bundle):
    return open_bundle(golden_bundle("bert-sequence-classification"))


@pytest.fixture(scope="module")
def labelled(bundle, tmp_path_factory):
    """Rows labelled with what the bundle itself says, but for the first two."""
    rows = random_dataset(bundle, [5, 64, 33, 12, 40, 40, 8, 21], seed=3)
    with trbert_deploy.load(bundle) as engine:
        said = engine.run(**rows.inputs)["logits"].argmax(-1)
    lines = [
        {
            "input_ids": ids[:length].tolist(),
            "token_type_ids": types[:length].tolist(),
            "label": int(answer + (row < 2)) % 3,
        }
        for row, (ids, types, length, answer) in enumerate(
            zip(rows.inputs["input_ids"], rows.inputs["token_type_ids"], rows.lengths, said, strict=True)
        )
    ]
    path = tmp_path_factory.mktemp("data") / "labelled.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def report(bundle, labelled):
    return run_bench(bundle, dataclasses.replace(QUICK, data=labelled, min_speedup=0.0001, max_accuracy_drop=100))


def test_all_backends_are_timed_and_compared(report):
    assert list(report.backends) == BACKENDS
    for workload in report.workloads:
        assert list(workload.latencies) == BACKENDS
        assert [speed_up.against for speed_up in workload.speed_ups] == BACKENDS[1:]
        for latency in workload.latencies.values():
            assert len(latency.samples_ms) == 2
            assert 0 < latency.p50_ms <= latency.p90_ms <= latency.p99_ms
    assert [workload.batch_size for workload in report.workloads] == [1, 4]


def test_accuracy_counts_right_answers(report):
    accuracy = report.quality.accuracy
    assert accuracy.rows == 8
    assert accuracy.percent["ort staged"] == 75  # the first two labels are wrong on purpose
    assert accuracy.percent["torch"] == 75
    assert accuracy.baseline == "ort dense"
    assert accuracy.drop_points == accuracy.percent["ort dense"] - 75


def test_every_class_is_measured_beside_the_accuracy(report, labelled):
    accuracy = report.quality.accuracy
    labels = [json.loads(line)["label"] for line in labelled.read_text().splitlines()]
    assert accuracy.majority.rate == 100 * max(map(labels.count, labels)) / 8
    assert [one.rows for one in accuracy.classes] == [labels.count(place) for place in range(len(accuracy.classes))]
    right = sum(one.recall / 100 * one.rows for one in accuracy.classes)
    assert right == pytest.approx(6)
    assert set(accuracy.macro_f1) == set(accuracy.percent)
    occurring = [one.f1 for one in accuracy.classes if one.rows or one.precision or one.recall]
    assert accuracy.macro_f1["ort staged"] <= np.mean(occurring) + 1e-9
    tables = {sheet.title.partition(":")[0]: sheet for sheet in sheets(report)}
    assert tables["accuracy"].rows[0][1] == "75.00"
    assert [row[0] for row in tables["the bundle, class by class"].rows] == [one.label for one in accuracy.classes]


def test_without_scikit_learn_the_accuracy_is_counted_all_the_same(bundle, labelled, monkeypatch):
    monkeypatch.delitem(sys.modules, "trbert_deploy.class_metrics", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    report = run_bench(bundle, dataclasses.replace(QUICK, data=labelled))
    assert report.quality.accuracy.percent["ort staged"] == 75
    assert report.quality.accuracy.macro_f1 == {}
    assert "no macro F1: scikit-learn is not installed" in report.notes


def test_the_bundle_agrees_with_its_reference(report):
    agreement = report.quality.agreement
    assert agreement.predictions_percent == 100
    assert 0 < agreement.max_logit_difference < 1e-4
    assert len(agreement.reductions) == 2
    for reduction in agreement.reductions:
        assert reduction.mean_jaccard == 1
        assert reduction.flipped_tokens == reduction.flipped_rows == 0
        assert reduction.nearest_margin > 0


def test_flops_are_those_of_the_kept_counts(report, bundle, labelled):
    costs = bundle.manifest.costs
    rows, fractions = [], []
    with trbert_deploy.load(bundle, runtime="torch") as engine:
        for line in map(json.loads, labelled.read_text().splitlines()):
            ids = np.array([line["input_ids"]])
            types = np.array([line["token_type_ids"]])
            kept = engine.run(input_ids=ids, token_type_ids=types, return_selection=True).selection
            counts = tuple(len(reduction[0]) for reduction in kept)
            rows.append(RowTokens(ids.shape[1], counts))
            fractions.append([count / ids.shape[1] for count in counts])
    flops = report.quality.flops
    assert flops.kept_fractions == pytest.approx(np.mean(fractions, axis=0))
    for ratio, of in ((flops.exact_ratio, exact_flops), (flops.upstream_ratio, upstream_flops)):
        assert ratio == pytest.approx(sum(of(costs, row.dense) for row in rows) / sum(of(costs, row) for row in rows))


def test_the_report_is_json_and_says_its_method(report):
    values = json.loads(json.dumps(report.as_json()))
    assert list(values)[:2] == ["schema_version", "command"]
    assert values["command"] == "bench"
    assert values["environment"]["python"]
    assert values["config"]["iterations"] == 2
    assert values["config"]["threads"] >= 1
    assert {"rounds", "clock", "counted", "threads", "device", "lengths"} <= values["method"].keys()
    assert len(values["workloads"][0]["latencies"]["torch"]["samples_ms"]) == 2


def test_speed_and_accuracy_stand_in_the_same_row(report):
    sheet = sheets(report)[0]
    headers = [header.replace("\n", " ") for header in sheet.headers]
    dense = dict(zip(headers, sheet.rows[1], strict=True))
    assert dense["backend"] == "ort dense"
    assert float(dense["bundle is faster, x"]) > 0
    assert float(dense["bundle's change, points"]) == pytest.approx(-report.quality.accuracy.drop_points, abs=0.01)


def test_markdown_is_tables_with_method_and_environment(report):
    text = render.markdown(report)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    assert "| backend | p50 ms |" in text
    assert "Method: " in text
    assert "- python: " in text


def test_without_dense_and_reference_the_backends_are_left_out_with_a_note(bundle, labelled):
    bare = dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"dense": None, "reference": None}))
    found = run_bench(bare, dataclasses.replace(QUICK, data=labelled))
    assert list(found.backends) == ["ort staged"]
    assert found.quality.agreement is None
    assert found.quality.accuracy.drop_points is None
    notes = " ".join(found.notes)
    assert "--with-dense" in notes
    assert "--no-reference" in notes
    for gate in ("min_speedup", "max_accuracy_drop"):
        with pytest.raises(TRBertError, match="no dense model"):
            run_bench(bare, dataclasses.replace(QUICK, data=labelled, **{gate: 1.0}))


def test_an_accuracy_gate_without_labels_is_an_error(bundle):
    with pytest.raises(TRBertError, match="no row of the data has a label"):
        run_bench(bundle, dataclasses.replace(QUICK, lengths=(16,), max_accuracy_drop=0.5))


def test_torch_itself_is_measured_against_torch_dense(bundle, labelled):
    found = run_bench(bundle, dataclasses.replace(QUICK, runtime="torch", data=labelled, batch_sizes=(2,)))
    assert list(found.backends) == ["torch", "torch dense"]
    assert found.quality.accuracy.baseline == "torch dense"
    assert any("reference itself" in note for note in found.notes)


@pytest.mark.parametrize(
    "wrong", [{"batch_sizes": (0,)}, {"iterations": 0}, {"warmup": -1}, {"mode": "dense"}, {"lengths": (0,)}]
)
def test_options_out_of_range_are_refused(bundle, wrong):
    with pytest.raises(TRBertError):
        run_bench(bundle, dataclasses.replace(QUICK, **wrong))


def test_another_kept_set_is_seen(bundle):
    """A runtime that drops a token that PyTorch keeps, and answers accordingly."""
    rows = random_dataset(bundle, [30, 30, 20], seed=1)
    with open_backends(bundle, BenchOptions()) as backends:
        engine = backends.engines["ort staged"]
        run = engine.run

        def drop_one(**inputs):
            answer = run(**inputs)
            first = answer.selection[0]
            place = next(place for place, kept in enumerate(first) if len(kept) == max(map(len, first)))
            first[place] = first[place][:-1]
            answer["logits"][place] += 0.5
            return answer

        engine.run = drop_one
        quality, _ = measure_quality(backends, rows, no_progress)
    first, second = quality.agreement.reductions
    assert (first.flipped_tokens, first.flipped_rows) == (1, 1)
    assert first.mean_jaccard < 1
    assert second.flipped_tokens == 0
    assert quality.agreement.max_logit_difference == pytest.approx(0.5, abs=1e-4)


def test_the_nearest_logit_is_sought_in_every_batch(bundle):
    rows = random_dataset(bundle, list(range(5, 45)), seed=3)  # more than one batch
    nearest = [np.inf, np.inf]
    with open_backends(bundle, BenchOptions()) as backends:
        quality, _ = measure_quality(backends, rows, no_progress)
        for row in range(len(rows)):
            inputs = {name: torch.from_numpy(array) for name, array in rows.batch(np.array([row])).items()}
            with torch.inference_mode():
                decisions = backends.reference.model(**inputs).decisions
            for reduction, decision in enumerate(decisions):
                nearest[reduction] = min(nearest[reduction], *decision.scores[decision.free].abs().tolist())
    assert [one.nearest_margin for one in quality.agreement.reductions] == pytest.approx(nearest, rel=1e-3, abs=1e-6)


def test_a_speed_up_that_its_rounds_contradict_is_noted(report):
    def notes(**facts):
        workload = report.workloads[0]
        one = dataclasses.replace(workload.speed_ups[0], **facts)
        return _disturbed([dataclasses.replace(workload, speed_ups=[one])])

    assert notes(of_medians=2.0, of_rounds_low=1.9, of_rounds_high=2.0) == []
    (found,) = notes(of_medians=1.29, of_rounds_low=1.35, of_rounds_high=2.06)
    assert "batch 1" in found
    assert "1.29, lies outside the middle half of the single rounds' ratios, 1.35 to 2.06" in found


def test_outputs_come_back_in_the_order_of_the_rows(bundle):
    rows = random_dataset(bundle, [40, 3, 25, 9] * 10, seed=2)  # more than one batch
    with trbert_deploy.load(bundle) as engine:
        found = run_all(engine, rows)
        for row in (0, 1, 38, 39):
            alone = engine.run(**rows.batch(np.array([row])), return_selection=True)
            assert found.rows[row]["logits"] == pytest.approx(alone["logits"][0], abs=1e-5)
            assert found.kept[1][row].tolist() == alone.selection[1][0].tolist()


def test_a_task_with_outputs_for_every_token(golden_bundle):
    bundle = open_bundle(golden_bundle("bert-question-answering"))
    found = run_bench(bundle, dataclasses.replace(QUICK, lengths=(24,), batch_sizes=(2,), limit=6))
    assert found.quality.accuracy is None
    assert found.quality.agreement.predictions_percent == 100
    assert any("not for question-answering" in note for note in found.notes)
    assert isinstance(random_dataset(bundle, [5], 0), Dataset)


def test_replayed_selections_leave_the_numeric_error(bundle, labelled):
    report = run_bench(bundle, dataclasses.replace(QUICK, data=labelled, replay_selection=True))
    agreement = report.quality.agreement
    assert agreement.replayed.predictions_percent == 100
    assert 0 < agreement.replayed.max_logit_difference < 1e-4
    sheet = next(sheet for sheet in sheets(report) if sheet.title.startswith("agreement"))
    assert [row[0] for row in sheet.rows] == ["its own", "the reference's"]


def test_an_engine_keeps_what_it_is_told(bundle):
    rows = random_dataset(bundle, [20, 9], seed=5).inputs
    kept = [[np.arange(20), np.arange(0, 9, 2)], [np.array([0, 7]), np.array([0])]]
    with trbert_deploy.load(bundle) as engine, trbert_deploy.load(bundle, runtime="torch") as reference:
        out = engine.replay(kept, **rows)
        assert [[row.tolist() for row in step] for step in out.selection] == [[r.tolist() for r in s] for s in kept]
        assert np.abs(out["logits"] - engine.run(**rows)["logits"]).max() > 1e-3
        with pytest.raises(TRBertError, match="cannot be told which tokens to keep"):
            reference.replay(kept, **rows)


@pytest.mark.parametrize("wrong", [{"mode": "fused"}, {"runtime": "torch"}])
def test_only_stages_can_be_told_what_to_keep(bundle, wrong):
    with pytest.raises(TRBertError, match="--replay-selection"):
        run_bench(bundle, dataclasses.replace(QUICK, replay_selection=True, **wrong))


def test_other_runtimes_are_measured_in_the_same_rounds_or_left_out_with_a_note(bundle, labelled):
    options = dataclasses.replace(
        QUICK, runtime="torch", data=labelled, beside=("ort-cpu", "trt", "ort-tensorrt"), batch_sizes=(2,)
    )
    report = run_bench(bundle, options)
    assert list(report.backends) == ["torch", "torch dense", "ort-cpu staged", "ort-cpu dense"]
    (workload,) = report.workloads
    assert {len(latency.samples_ms) for latency in workload.latencies.values()} == {2}
    assert report.quality.accuracy.percent["ort-cpu staged"] == 75
    other = report.quality.beside["ort-cpu staged"]
    assert other.predictions_percent == 100
    assert [reduction.flipped_tokens for reduction in other.reductions] == [0, 0]
    tables = {sheet.title.partition(":")[0]: sheet for sheet in sheets(report)}
    assert [row[0] for row in tables["selection"].rows] == ["1", "1, ort-cpu staged", "2", "2, ort-cpu staged"]
    assert [row[0] for row in tables["agreement with the PyTorch reference"].rows] == ["its own, ort-cpu staged"]
    assert all(len(row) == len(sheet.headers) for sheet in tables.values() for row in sheet.rows)
    notes = " ".join(report.notes)
    assert "no backend 'trt': " in notes
    assert "no backend 'ort-tensorrt': " in notes


def test_the_own_runtime_is_not_measured_beside_itself(bundle, labelled):
    options = dataclasses.replace(QUICK, data=labelled, beside=("ort-cpu",), batch_sizes=(2,), replay_selection=True)
    assert list(run_bench(bundle, options).backends) == BACKENDS


def test_a_runtime_that_nobody_knows_cannot_stand_beside(bundle):
    with pytest.raises(TRBertError, match="unknown runtime 'openvino'") as caught:
        run_bench(bundle, dataclasses.replace(QUICK, beside=("openvino",)))
    assert "ort-cuda" in caught.value.hint
