import dataclasses
import json
import threading
import types

import numpy as np
import pytest
import torch
from tokenizers import BertWordPieceTokenizer

from trbert_deploy import Engine
from trbert_deploy.bundle import Bundle, GraphFile, Manifest
from trbert_deploy.bundle.manifest import SCHEMA_VERSION, ModelFacts, TokenizerFacts
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.core.errors import InputError, TRBertError
from trbert_deploy.core.specs import DecodingSpec, ReductionSpec, TensorSpec
from trbert_deploy.runtimes.torch.reference import ReferenceRuntime
from trbert_deploy.tasks import TASKS, Limits
from trbert_deploy.text import prediction as prediction_module
from trbert_deploy.text.decoding import DECODERS, decode
from trbert_deploy.text.json_lines import read_json_lines
from trbert_deploy.text.prediction import predict, predict_rows
from trbert_deploy.text.rows import Row
from trbert_deploy.text.spans import best_span

REVIEWS = [line["text"] for line in read_json_lines(evaluation_file())][:60]
MAX_LENGTH = 64
MAX_ANSWER_TOKENS = 30  # upstream's max_answer_length


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory, train_wordpiece):
    """A WordPiece tokenizer of the 120 pieces that the tiny models know."""
    folder = tmp_path_factory.mktemp("tokenizer")
    BertWordPieceTokenizer(str(train_wordpiece(folder, 120, limit_alphabet=36))).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="session")
def reference_tokenizer(tokenizer_folder):
    from transformers import BertTokenizerFast

    return BertTokenizerFast(vocab=str(tokenizer_folder / "vocab.txt"))


@pytest.fixture(scope="session")
def make_engine(tiny_model, tokenizer_folder):
    """A real engine on the PyTorch reference of a tiny random model."""

    def make_engine(task, *, labels=(), tokenizer=True, **sizes):
        model = tiny_model(task, **sizes)
        backbone = model.config.backbone
        answers = [TensorSpec(output.name, output.axes, "float32") for output in model.spec.outputs]
        reduced = [TensorSpec(name, ("batch",), "int64") for name in ("keep_count", "next_keep_mask")]
        facts = TokenizerFacts(folder=tokenizer_folder.name, onnx=None, max_length=MAX_LENGTH)
        layers = tuple(model.config.reduction_layers)
        masks = [TensorSpec(f"keep_mask_{number}", ("batch",), "int64") for number in range(1, len(layers) + 1)]
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            model=ModelFacts(
                source="tiny",
                source_class=type(model).__name__,
                model_class=type(model).__name__,
                backbone=backbone.model_type,
                num_layers=backbone.num_hidden_layers,
                hidden_size=backbone.hidden_size,
                num_attention_heads=backbone.num_attention_heads,
                intermediate_size=64,
                parameters=1,
                labels=list(labels),
            ),
            task=dataclasses.replace(model.spec, max_length=MAX_LENGTH),
            reduction=ReductionSpec(model.reduction.name, layers, full_length=model.full_length),
            costs=model.costs,
            precision="fp32",
            opset=20,
            stages=[
                *[GraphFile(file="none.onnx", inputs=[], outputs=reduced)] * len(layers),
                GraphFile(file="none.onnx", inputs=[], outputs=answers),
            ],
            fused=GraphFile(file="none.onnx", inputs=[], outputs=answers + masks),
            dense=None,
            tokenizer=facts if tokenizer else None,
            golden="none.json",
            reference=None,
            files={},
            created="2024-01-01T00:00:00+00:00",
            environment={},
        )
        return Engine(Bundle(tokenizer_folder.parent, manifest), ReferenceRuntime(model))

    return make_engine


def alone(engine, encoded):
    """The model's own outputs and kept masks for one row tokenized by transformers."""
    with torch.inference_mode():
        output = engine.runtime.model(**{name: torch.tensor([value]) for name, value in encoded.items()})
    return {name: value[0].double() for name, value in output.outputs.items()}, [
        int(mask.sum()) for mask in output.keep_masks
    ]


# -- whole way, on real text


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


# -- decoding alone


def row_of(length=5, **fields):
    return Row({"input_ids": np.zeros(length, dtype=np.int64), **fields.pop("arrays", {})}, length, **fields)


def span(start, end, answerable):
    return best_span(start, end, answerable, MAX_ANSWER_TOKENS)


def spec_of(task, **parameters):
    """A task's specification, some parameters of its decoding changed."""
    spec = TASKS.get(task).spec(Limits(max_length=64, vocab_size=120, token_types=2))
    decoding = DecodingSpec(spec.decoding.kind, {**spec.decoding.parameters, **parameters})
    return dataclasses.replace(spec, decoding=decoding)


def test_best_span_keeps_order_length_and_pieces():
    start, end = np.zeros(40), np.zeros(40)
    everywhere = np.ones(40, dtype=bool)
    assert span(start, end, everywhere) == (0, 0), "equal spans: the first start, then the first end"
    start[5], end[2] = 9, 9
    assert span(start, end, everywhere) in {(5, 5), (0, 2)}, "an end before its start is no span"
    end[2], end[5 + MAX_ANSWER_TOKENS - 1] = 0, 9
    assert span(start, end, everywhere) == (5, 34)
    end[34], end[35] = 0, 9
    assert span(start, end, everywhere) == (5, 5), "one token too long"
    end[35], end[12] = 0, 9
    assert span(start, end, everywhere) == (5, 12)
    everywhere[8] = False
    assert span(start, end, everywhere) == (5, 5), "a span does not cross what is no answer"
    everywhere[5] = False
    assert span(start, end, everywhere)[1] == 12


def test_a_single_logit_is_a_score():
    config = types.SimpleNamespace(num_labels=1, problem_type=None)
    decoding = TASKS.get("sequence-classification").decoding_of(config)
    spec = dataclasses.replace(spec_of("sequence-classification"), decoding=decoding)
    answer = decode(spec, ["x"], row_of(), {"logits": np.array([-1.5])})
    assert answer == {"score": -1.5}


def test_several_numbers_are_the_logits_themselves():
    spec = spec_of("sequence-classification", activation="identity")
    answer = decode(spec, ["valence", "arousal"], row_of(), {"logits": np.array([0.25, -3.0], np.float32)})
    assert answer == {"scores": {"valence": 0.25, "arousal": -3.0}}


def test_of_several_labels_those_above_the_threshold():
    labels, outputs = ["funny", "sad", "long"], {"logits": np.array([0.0, 2.0, -1.0], np.float32)}
    wanted = {"funny": 0.5, "sad": 1 / (1 + np.exp(-2)), "long": 1 / (1 + np.exp(1))}
    for threshold, names in ((0.5, ["funny", "sad"]), (0.6, ["sad"]), (0.95, [])):
        spec = spec_of("sequence-classification", activation="sigmoid", threshold=threshold)
        answer = decode(spec, labels, row_of(), outputs)
        assert answer["labels"] == names
        assert answer["scores"] == pytest.approx(wanted)
        assert json.loads(json.dumps(answer)) == answer


@pytest.mark.parametrize(
    ("problem_type", "num_labels", "activation"),
    [
        (None, 2, "softmax"),
        (None, 1, "identity"),
        ("single_label_classification", 1, "softmax"),
        ("multi_label_classification", 3, "sigmoid"),
        ("regression", 2, "identity"),
    ],
)
def test_a_configuration_says_how_logits_become_scores(problem_type, num_labels, activation):
    config = types.SimpleNamespace(num_labels=num_labels, problem_type=problem_type)
    assert TASKS.get("sequence-classification").decoding_of(config).parameters["activation"] == activation


def test_a_kind_of_decoding_that_is_not_known_is_named_with_those_that_are():
    spec = dataclasses.replace(spec_of("sequence-classification"), decoding=DecodingSpec("tree"))
    with pytest.raises(InputError, match="does not decode outputs of the kind 'tree'") as caught:
        decode(spec, [], row_of(), {"logits": np.array([1.0])})
    assert "Engine.run" in caught.value.hint
    assert all(kind in caught.value.hint for kind in DECODERS)


def test_labels_without_names_are_their_indices():
    answer = decode(spec_of("sequence-classification"), [], row_of(), {"logits": np.array([0.0, 2.0])})
    assert answer["label"] == "1"
    assert list(answer["scores"]) == ["0", "1"]


def test_large_logits_do_not_overflow():
    answer = decode(spec_of("sequence-classification"), [], row_of(), {"logits": np.array([1e4, -1e4], np.float32)})
    assert answer["scores"] == {"0": 1.0, "1": 0.0}
    spec = spec_of("sequence-classification", activation="sigmoid")
    with np.errstate(all="raise", under="ignore"):
        answer = decode(spec, [], row_of(), {"logits": np.array([1e4, -1e4, -40.0], np.float32)})
    assert answer["scores"] == pytest.approx({"0": 1.0, "1": 0.0, "2": np.exp(-40)}, rel=1e-6, abs=0)


@pytest.mark.parametrize(("switch", "kind"), [([3, 0, 0], "span"), ([0, 3, 0], "yes"), ([0, 0, 3], "no")])
def test_hotpot_answer_types(switch, kind):
    row = row_of(
        arrays={"sentence_spans": np.array([[1, 2], [-1, -1], [3, 3]])},
        text="ab cd",
        offsets=[None, (0, 2), (3, 5), None, None],
    )
    outputs = {
        "start_logits": np.array([9.0, 1, 0, 0, 0, 99]),  # one wider than the row: padding of the batch
        "end_logits": np.array([9.0, 0, 1, 0, 0, 99]),
        "switch_logits": np.array(switch, dtype=float),
        "sent_logits": np.array([[0.0, 1], [0, 1], [1, 0], [0, 1]]),
    }
    answer = decode(spec_of("hotpot"), [], row, outputs)
    assert answer["type"] == kind
    assert answer["supporting_sentences"] == [0]
    assert answer["answer"] == ("ab cd" if kind == "span" else kind)
    assert ("start_token" in answer) == (kind == "span")


def test_wikihop_without_candidates_and_with_absent_ones():
    row = row_of(arrays={"candidate_positions": np.array([-1, 2, 3])})
    answer = decode(spec_of("wikihop"), [], row, {"candidate_logits": np.array([50.0, 1, 1, -1e4])})
    assert answer == {"candidate": 1, "scores": [0.0, 0.5, 0.5]}
    row = row_of(arrays={"candidate_positions": np.array([-1])})
    answer = decode(spec_of("wikihop"), [], row, {"candidate_logits": np.array([-1e4, 3.0])})
    assert answer == {"candidate": None, "scores": [0.0]}


def test_tokens_of_ids_are_named_by_position():
    answer = decode(spec_of("token-classification"), [], row_of(2), {"logits": np.array([[0.0, 9], [9, 0], [9, 9]])})
    assert [(token["position"], token["label"]) for token in answer["tokens"]] == [(0, "1"), (1, "0")]


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
