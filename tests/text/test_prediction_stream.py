"""Predictions as a stream: what is read ahead, what comes before an error, and which items are no items."""

import numpy as np
import pytest

from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.core.errors import InputError, TRBertError
from trbert_deploy.text import prediction as prediction_module
from trbert_deploy.text.json_lines import read_json_lines
from trbert_deploy.text.prediction import predict, predict_rows

REVIEWS = [line["text"] for line in read_json_lines(evaluation_file())][:60]


# -- the stream


def test_items_are_read_a_window_at_a_time_and_answered_in_order(make_engine, monkeypatch):
    monkeypatch.setattr(prediction_module, "WINDOW_BATCHES", 2)
    engine = make_engine("sequence-classification")
    taken, done = [], []

    def source():
        for number in range(10):
            taken.append(number)
            yield {"text": "word " * (10 - number), "id": number}

    answers = predict(engine, source(), batch_size=2, on_progress=done.append)
    assert next(answers)["id"] == 0
    assert taken == [0, 1, 2, 3]
    assert [answer["id"] for answer in answers] == list(range(1, 10))
    assert sum(done) == 10
    assert max(done) == 2


@pytest.mark.parametrize("wrong", ["source", "item"])
def test_items_before_a_broken_one_are_answered(make_engine, monkeypatch, wrong):
    monkeypatch.setattr(prediction_module, "WINDOW_BATCHES", 1)
    engine = make_engine("sequence-classification")

    def source():
        yield from ({"text": "a", "id": number} for number in range(6))
        if wrong == "source":
            raise InputError("line 7 is broken")
        yield {"body": "b"}
        yield {"text": "never answered"}

    answers = predict(engine, source(), batch_size=4)
    assert [next(answers)["id"] for _ in range(6)] == list(range(6))
    with pytest.raises(InputError, match="line 7 is broken" if wrong == "source" else "item 6 has the keys body"):
        next(answers)


def test_batches_hold_rows_of_similar_lengths(make_engine, monkeypatch):
    engine = make_engine("sequence-classification")
    shapes, run = [], engine.run
    monkeypatch.setattr(engine, "run", lambda **inputs: shapes.append(inputs["input_ids"].shape) or run(**inputs))
    texts = ["a b c d e f g h", "a"] * 4
    engine.predict(texts, batch_size=4)
    assert shapes == [(4, 3), (4, 10)]


def test_predicted_rows_say_how_they_came_about(make_engine):
    engine = make_engine("sequence-classification")
    items = REVIEWS[:5]
    rows = list(predict_rows(engine, items, batch_size=2))
    assert [one.prediction for one in rows] == list(predict(engine, items, batch_size=2))
    for item, one in zip(items, rows, strict=True):
        assert one.row.texts == (item,)
        assert [len(positions) for positions in one.kept] == one.prediction["kept"]
        for positions in one.kept:
            assert positions.tolist() == sorted(set(positions.tolist()))
            assert positions[0] == 0
            assert positions[-1] < one.row.length


def test_no_items_and_a_wrong_batch_size(make_engine):
    engine = make_engine("sequence-classification")
    assert engine.predict([]) == []
    with pytest.raises(InputError, match="batch_size"):
        engine.predict(["a"], batch_size=0)


# -- texts that say nothing, numbers that are none


@pytest.mark.parametrize(
    ("task", "item", "empty"),
    [
        ("sequence-classification", "", True),
        ("sequence-classification", " \t\n\u00a0\u3000", True),
        ("sequence-classification", "\u200b\x00", True),  # the tokenizer takes them for nothing
        ("sequence-classification", ("a text", " "), True),
        ("sequence-classification", ("", "a pair"), True),
        ("sequence-classification", ("a text", "a pair"), False),
        ("sequence-classification", ".", False),
        ("sequence-classification", {"input_ids": [2, 3]}, False),
        ("question-answering", ("who?", ""), True),
        ("multiple-choice", {"context": "a", "question": "b", "choices": ["c", ""]}, True),
        ("multiple-choice", {"context": "a", "question": "b", "choices": ["c", "d"]}, False),
        ("token-classification", "   ", True),
    ],
)
def test_texts_that_say_nothing_are_answered_and_flagged(make_engine, task, item, empty):
    (answer,) = make_engine(task).predict([item])
    assert answer.get("empty", False) is empty
    assert answer["token_count"] >= 2


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_is_an_error_that_names_the_item(make_engine, number, monkeypatch):
    engine = make_engine("sequence-classification")
    run = engine.run

    def broken(**inputs):
        output = run(**inputs)
        if inputs["input_ids"].shape[1] > 3:
            output["logits"][0, 0] = number
        return output

    monkeypatch.setattr(engine, "run", broken)
    answers = predict(engine, ["a", "b", "a b", "a"], batch_size=1)
    assert len([next(answers), next(answers)]) == 2
    with pytest.raises(TRBertError, match="item 2: the model's output logits is not finite"):
        next(answers)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, {"a": -float("inf")}], {(1, 2): 3}])
def test_an_id_that_json_cannot_say(make_engine, value):
    with pytest.raises(InputError, match="item 1: its id cannot be written as JSON"):
        make_engine("sequence-classification").predict(["a", {"text": "b", "id": value}])


def test_ids_of_other_libraries_are_handed_through(make_engine):
    value = np.int64(3)
    (answer,) = make_engine("sequence-classification").predict([{"text": "b", "id": value}])
    assert answer["id"] is value
