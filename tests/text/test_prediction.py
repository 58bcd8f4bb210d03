"""Items in, answers out: the model's own, on real text and on token ids."""

import json
import threading

import numpy as np
import pytest
import torch

from trbert_deploy import Engine
from trbert_deploy.bundle import Bundle
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.runtimes.torch.reference import ReferenceRuntime
from trbert_deploy.text.json_lines import read_json_lines

REVIEWS = [line["text"] for line in read_json_lines(evaluation_file())][:60]
MAX_LENGTH = 64
MAX_ANSWER_TOKENS = 30  # upstream's max_answer_length


def alone(engine, encoded):
    """The model's own outputs and kept masks for one row tokenized by transformers."""
    with torch.inference_mode():
        output = engine.runtime.model(**{name: torch.tensor([value]) for name, value in encoded.items()})
    return {name: value[0].double() for name, value in output.outputs.items()}, [
        int(mask.sum()) for mask in output.keep_masks
    ]


@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_sequence_classification_is_the_models_own_answer_whatever_the_batch(
    make_engine, reference_tokenizer, backbone
):
    engine = make_engine("sequence-classification", labels=["bad", "good", "mixed"], backbone=backbone)
    items = [{"text": text, "id": number} for number, text in enumerate(REVIEWS[:10])]
    items += [
        "ok",
        ("a pair", "of texts"),
        {"text": REVIEWS[0][:90], "text_pair": REVIEWS[1][:40], "id": None},
    ]
    answers = engine.predict(items, batch_size=4)
    assert _close(answers, engine.predict(items, batch_size=1))
    for item, answer in zip(items, answers, strict=True):
        first, second = item if isinstance(item, tuple) else (item, None)
        if isinstance(item, dict):
            first, second = item["text"], item.get("text_pair")
        encoded = reference_tokenizer(first, second, truncation=True, max_length=MAX_LENGTH)
        if backbone == "distilbert":
            encoded.pop("token_type_ids")
        outputs, kept = alone(engine, encoded)
        scores = torch.softmax(outputs["logits"], -1)
        assert answer["label"] == ["bad", "good", "mixed"][int(scores.argmax())]
        assert list(answer["scores"]) == ["bad", "good", "mixed"]
        assert list(answer["scores"].values()) == pytest.approx(scores.tolist(), abs=1e-5)
        assert answer["score"] == max(answer["scores"].values())
        assert answer["token_count"] == len(encoded["input_ids"])
        assert answer["kept"] == kept
        assert ("truncated" in answer) == (len(reference_tokenizer(first, second)["input_ids"]) > MAX_LENGTH)
    assert [answer.get("id") for answer in answers] == [*range(10), None, None, None]
    assert json.loads(json.dumps(answers)) == answers


def _close(first, second):
    return all(
        one["label"] == other["label"]
        and one["kept"] == other["kept"]
        and one["scores"] == pytest.approx(other["scores"], abs=1e-5)
        for one, other in zip(first, second, strict=True)
    )


def test_question_answering_takes_the_best_span_of_the_context(make_engine, reference_tokenizer):
    engine = make_engine("question-answering")
    items = [(f"Who is {b[:9]}?", a[:120]) for a, b in zip(REVIEWS[:8], REVIEWS[8:16], strict=True)]
    items.append(("Who?", ""))
    answers = engine.predict(items, batch_size=3)
    for (question, context), answer in zip(items[:-1], answers, strict=False):
        encoded = reference_tokenizer(
            question, context, truncation="only_second", max_length=MAX_LENGTH, return_offsets_mapping=True
        )
        offsets, sequences = encoded.pop("offset_mapping"), encoded.sequence_ids(0)
        outputs, _ = alone(engine, encoded)
        start_logits, end_logits = outputs["start_logits"], outputs["end_logits"]
        inside = [place for place, sequence in enumerate(sequences) if sequence == 1]
        start, end = max(
            ((s, e) for s in inside for e in inside if s <= e < s + 30),
            key=lambda span: float(start_logits[span[0]] + end_logits[span[1]]),
        )
        assert (answer["start"], answer["end"]) == (offsets[start][0], offsets[end][1])
        assert answer["answer"] == context[answer["start"] : answer["end"]]
        assert (answer["start_token"], answer["end_token"]) == (start, end)
        score = (
            torch.softmax(start_logits[inside], -1)[inside.index(start)]
            * torch.softmax(end_logits[inside], -1)[inside.index(end)]
        )
        assert answer["score"] == pytest.approx(float(score), abs=1e-5)
    assert answers[-1]["answer"] == ""
    assert answers[-1]["start_token"] is None


def test_multiple_choice_with_different_numbers_of_options(make_engine):
    engine = make_engine("multiple-choice")
    items = [
        {"context": REVIEWS[n][: 40 + n], "question": "Good?", "choices": list("abcde")[: 2 + n % 3], "id": n}
        for n in range(9)
    ]
    answers = engine.predict(items, batch_size=4)
    assert [answer["id"] for answer in answers] == list(range(9))
    for item, answer in zip(items, answers, strict=True):
        assert len(answer["scores"]) == len(item["choices"])
        assert sum(answer["scores"]) == pytest.approx(1)
        assert answer["choice"] == int(np.argmax(answer["scores"]))
        assert answer["text"] == item["choices"][answer["choice"]]
        (single,) = engine.predict([item])
        assert single["scores"] == pytest.approx(answer["scores"], abs=1e-5)


def test_token_classification_labels_every_piece_of_the_text(make_engine, reference_tokenizer):
    engine = make_engine("token-classification", labels=["O", "PER", "LOC"])
    text = "The café is bad."
    (answer,) = engine.predict([text])
    outputs, kept = alone(engine, reference_tokenizer(text))
    wanted = outputs["logits"].argmax(-1).tolist()[1:-1]
    assert answer["token_count"] == len(wanted) + 2
    assert [["O", "PER", "LOC"].index(token["label"]) for token in answer["tokens"]] == wanted
    assert "".join(token["text"] for token in answer["tokens"]) == text.replace(" ", "")
    assert all(text[token["start"] : token["end"]] == token["text"] for token in answer["tokens"])
    assert answer["kept"] == kept


@pytest.mark.parametrize(
    "golden_task",
    ["bert-hotpot-question-answering", "bert-wikihop", "bert-multiple-choice", "bert-question-answering"],
)
def test_token_ids_give_upstreams_answer(golden, make_engine, golden_task):
    case = golden(golden_task)
    task = case.model.task
    engine = make_engine(task.name, tokenizer=False)
    manifest = engine.manifest.model_copy(update={"task": case.model.spec})
    engine = Engine(Bundle(engine.bundle.folder, manifest), ReferenceRuntime(case.model))
    items = [{name: array[0].tolist() for name, array in row.inputs.items()} for row in case.rows]
    answers = engine.predict(items, batch_size=3)
    for row, answer in zip(case.rows, answers, strict=True):
        outputs = {name: array[0] for name, array in row.outputs.items()}
        if task.name == "wikihop":
            present = np.flatnonzero(row.inputs["candidate_positions"][0] >= 0)
            assert answer["candidate"] == present[np.argmax(outputs["candidate_logits"][present])]
        elif task.name == "multiple-choice":
            assert answer["choice"] == np.argmax(outputs["logits"])
        elif task.name == "hotpot":
            assert answer["type"] == ("span", "yes", "no")[int(np.argmax(outputs["switch_logits"]))]
            sentences = row.inputs["sentence_spans"][0]
            logits = outputs["sent_logits"]
            assert answer["supporting_sentences"] == [
                n for n in range(len(sentences)) if sentences[n][0] >= 0 and logits[n][1] > logits[n][0]
            ]
        if "start_token" in answer and answer["start_token"] is not None:
            length = int(row.inputs["attention_mask"].sum())
            kinds = row.inputs["token_type_ids"][0]
            inside = [n for n in range(1, length - 1) if kinds[n] == 1 or not kinds[:length].any()]
            sums = {
                (s, e): outputs["start_logits"][s] + outputs["end_logits"][e]
                for s in inside
                for e in inside
                if s <= e < s + MAX_ANSWER_TOKENS and all(n in inside for n in range(s, e))
            }
            found = (answer["start_token"], answer["end_token"])
            assert sums[found] == pytest.approx(max(sums.values()), abs=1e-4)
        if row.kept is not None:
            # upstream runs no further reduction once a single token is left
            assert answer["kept"][: len(row.kept)] == [len(step) for step in row.kept]


def test_several_threads_get_their_own_answers(make_engine):
    engine = make_engine("sequence-classification")
    wanted = {n: engine.predict(REVIEWS[n : n + 5]) for n in range(0, 20, 5)}
    got = {}
    threads = [threading.Thread(target=lambda n=n: got.update({n: engine.predict(REVIEWS[n : n + 5])})) for n in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got.keys() == wanted.keys()
    assert all(_close(got[n], wanted[n]) for n in wanted)
