"""Decoding alone: a row's outputs as its answer."""

import dataclasses
import json
import types

import numpy as np
import pytest

from trbert_deploy.core.errors import InputError
from trbert_deploy.core.specs import DecodingSpec
from trbert_deploy.tasks import TASKS, Limits
from trbert_deploy.text.decoding import DECODERS, decode
from trbert_deploy.text.rows import Row
from trbert_deploy.text.spans import best_span

MAX_ANSWER_TOKENS = 30  # upstream's max_answer_length


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
