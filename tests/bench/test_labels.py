"""Which labels are counted, and what is said of others: of models that choose no single class they are left unread."""

import dataclasses
import json

import numpy as np
import pytest

from trbert_deploy.bench.backends import open_backends
from trbert_deploy.bench.comparison import measure_quality
from trbert_deploy.bench.labels import chooses_a_class
from trbert_deploy.bench.options import BenchOptions
from trbert_deploy.bench.outputs import run_all
from trbert_deploy.bench.predictions import predictions
from trbert_deploy.bench.runner import run_bench
from trbert_deploy.bench.workload import random_dataset, read_dataset
from trbert_deploy.bundle import open_bundle
from trbert_deploy.core.errors import InputError, TRBertError
from trbert_deploy.tasks import TASKS, Limits

QUICK = BenchOptions(iterations=1, warmup=0, batch_sizes=(2,))


@pytest.fixture(scope="module")
def bundle(golden_bundle):
    return open_bundle(golden_bundle("bert-sequence-classification"))


@pytest.fixture(scope="module")
def answering(bundle):
    """The bundle of another activation; its graphs are the same."""

    def change(activation, threshold=0.5):
        task = bundle.manifest.task
        parameters = {**task.decoding.parameters, "activation": activation, "threshold": threshold}
        task = dataclasses.replace(task, decoding=dataclasses.replace(task.decoding, parameters=parameters))
        return dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"task": task}))

    return change


@pytest.fixture
def rows(tmp_path):
    """A file of rows with these labels."""

    def write(*labels):
        lines = [{"input_ids": [2, *range(5, 5 + row), 3], "label": label} for row, label in enumerate(labels)]
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return write


@pytest.mark.parametrize("label", [0.5, [0, 1], ["LABEL_0"], "good"])
def test_a_model_of_classes_says_which_labels_it_takes(bundle, rows, label):
    with pytest.raises(InputError, match=r"rows\.jsonl, line 2: label .* is none of the model's") as caught:
        read_dataset(bundle, rows(0, label))
    assert caught.value.hint == "a label is a class name, one of LABEL_0, LABEL_1, LABEL_2, or its index from 0"


@pytest.mark.parametrize(
    ("activation", "labels", "what"),
    [
        ("identity", (0.5, 3.25, 1), "with bare scores"),
        ("sigmoid", (["LABEL_0", "LABEL_2"], [], [1]), "with several labels a row"),
    ],
)
def test_other_models_are_measured_without_their_labels_and_it_is_said_which_would_count(
    answering, rows, activation, labels, what
):
    other, data = answering(activation), rows(*labels)
    report = run_bench(other, dataclasses.replace(QUICK, data=data))
    assert report.quality.accuracy is None
    assert (
        "no accuracy: accuracy is counted for models that choose one class a row, by labels that are a class name or "
        f"its index, not for sequence-classification {what}" in report.notes
    )
    with pytest.raises(TRBertError, match=f"--max-accuracy-drop cannot be checked: accuracy is counted .* {what}"):
        run_bench(other, dataclasses.replace(QUICK, data=data, max_accuracy_drop=1.0))


def test_several_labels_are_compared_one_by_one_and_scores_not_at_all(answering):
    def compared(other):
        with open_backends(other, QUICK) as backends:
            quality, _ = measure_quality(backends, random_dataset(other, [5, 9, 30, 12], seed=2), lambda *_: None)
        return quality.agreement

    assert compared(answering("sigmoid")).predictions_percent == 100
    assert compared(answering("identity")).predictions_percent is None
    task = answering("sigmoid", threshold=0.9).manifest.task
    logits = {"logits": np.array([2.1, 2.3, -800.0], dtype=np.float32)}  # 2.197 is 0.9
    assert predictions(task, logits) == [0, 1, 0]
    assert predictions(answering("softmax").manifest.task, logits) == [1]
    assert predictions(answering("identity").manifest.task, logits) == []


def test_what_accuracy_is_counted_of_is_asked_of_the_task_and_not_of_its_name():
    limits = Limits(max_length=8, vocab_size=9, token_types=0)
    choosing = {task.name for task in TASKS if chooses_a_class(task.spec(limits))}
    assert "sequence-classification" in choosing
    assert choosing & {"multiple-choice", "question-answering", "hotpot", "wikihop", "token-classification"} == set()


def test_an_output_that_is_no_number_is_an_error_that_names_the_row(bundle):
    rows = random_dataset(bundle, [5, 9, 30, 12], seed=2)
    with open_backends(bundle, QUICK) as backends:
        engine = backends.engines["ort staged"]
        run = engine.run

        def broken(**inputs):
            output = run(**inputs)
            output["logits"][inputs["attention_mask"].sum(-1) == 30] = np.inf
            return output

        engine.run = broken
        with pytest.raises(
            TRBertError, match="row 2 of random tokens, runtime 'ort': the model's output logits is not"
        ):
            run_all(engine, rows)
