"""Specifications that contradict themselves: each is refused by a message that names the field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from trbert_deploy.core.spec_checks import check_task
from trbert_deploy.core.specs import DecodingSpec, InputSpec, OutputSpec, SegmentSpec, TaskSpec
from trbert_deploy.tasks import TASKS, Limits

LIMITS = Limits(max_length=128, vocab_size=120, token_types=2)


def spec(name: str = "sequence-classification") -> TaskSpec:
    return TASKS.get(name).spec(LIMITS)


def with_input(task: TaskSpec, place: int, **changes: Any) -> TaskSpec:
    inputs = list(task.inputs)
    inputs[place] = replace(inputs[place], **changes)
    return replace(task, inputs=tuple(inputs))


def with_text(task: TaskSpec, **changes: Any) -> TaskSpec:
    assert task.text is not None
    return replace(task, text=replace(task.text, **changes))


def decoded(task: TaskSpec, **parameters: Any) -> TaskSpec:
    """With parameters of its decoding changed, or left out where the value is ..."""
    merged = {**task.decoding.parameters, **parameters}
    return replace(
        task,
        decoding=DecodingSpec(task.decoding.kind, {name: one for name, one in merged.items() if one is not ...}),
    )


CLASSES, CHOICES, SPAN, HOTPOT, WIKIHOP = map(
    spec, ("sequence-classification", "multiple-choice", "question-answering", "hotpot", "wikihop")
)
TAGS = spec("token-classification")
EXTRA = InputSpec("question_ends", ("batch",))


@pytest.mark.parametrize("task", list(TASKS), ids=lambda task: task.name)
@pytest.mark.parametrize("token_types", [0, 2])
def test_every_task_agrees_with_itself(task, token_types):
    check_task(task.spec(Limits(128, 120, token_types)))


@pytest.mark.parametrize(
    ("task", "what"),
    [
        (replace(CLASSES, max_length=0), "max_length must lie in 1"),
        (replace(CLASSES, max_length=2**40), "max_length must lie in 1"),
        (replace(CLASSES, inputs=CLASSES.inputs[1:]), "inputs must begin with input_ids"),
        (replace(CLASSES, inputs=(*CLASSES.inputs, CLASSES.inputs[2])), "each once"),
        (replace(CLASSES, sequences_axis="options"), "do not fit sequences_axis"),
        (with_input(CLASSES, 0, axes=("batch", "words")), "axes .* of input_ids do not fit"),
        (with_input(CLASSES, 1, axes=("batch", "options", "length")), "attention_mask is over tokens"),
        (with_input(CLASSES, 2, axes=("batch",)), "token_type_ids: inputs over tokens are"),
        (replace(CLASSES, inputs=(*CLASSES.inputs, InputSpec("boxes", ("batch", "length")))), "boxes: inputs over"),
        (with_input(CLASSES, 0, maximum=None), "input_ids is over tokens: it needs a maximum"),
        (with_input(CLASSES, 0, maximum=-1), "input_ids: its maximum -1 is below"),
        (with_input(CLASSES, 0, maximum=2**63), "input_ids must lie in"),
        (with_input(CLASSES, 1, default=None), "attention_mask needs a default"),
        (with_input(CLASSES, 1, default=2), "attention_mask: its default 2 is not among 0 to 1"),
        (with_input(HOTPOT, 3, default=-2), "sentence_spans: its default -2 is not among -1 to 2147483647"),
        (with_input(HOTPOT, 3, axes=("batch", 2, "sentences")), "axes of a fixed size come last"),
        (with_input(HOTPOT, 3, axes=("batch", "sentences", 0)), "axes of a fixed size"),
        (with_input(HOTPOT, 3, axes=("batch", 2**31)), "axes of a fixed size"),
        (with_input(HOTPOT, 3, axes=("batch", 2**15, 2**15)), "axes of a fixed size"),
        (with_input(HOTPOT, 3, axes=("rows",)), "first axis of sentence_spans must be batch"),
        (replace(CLASSES, protected_from="ends"), "protected_from names ends"),
        (replace(CLASSES, protected_from="input_ids"), "protected_from names input_ids"),
        (replace(CLASSES, outputs=()), "a task needs outputs"),
        (replace(CLASSES, outputs=CLASSES.outputs * 2), "a task needs outputs, each once"),
        (replace(CLASSES, outputs=(OutputSpec("logits", ("batch", "labels", "length")),)), "logits: length can be the"),
        (replace(CLASSES, outputs=(OutputSpec("logits", ("batch", 2), 1e300),)), "its padding 1e.300 is larger"),
        (replace(CLASSES, outputs=(OutputSpec("logits", ()),)), "first axis of logits must be batch"),
    ],
)
def test_inputs_and_outputs(task, what):
    with pytest.raises(ValueError, match=what):
        check_task(task)


@pytest.mark.parametrize(
    ("task", "what"),
    [
        (with_text(CLASSES, forms=()), "forms must name the keys"),
        (with_text(CLASSES, forms=(("text",), ())), "forms must name the keys"),
        (with_text(CLASSES, forms=(("text", "text"),)), "is no form"),
        (with_text(CLASSES, forms=(("text", "<sep>"),)), "is no form"),
        (with_text(CLASSES, forms=(("text", "title"),)), r"segments place \['text'\] of an item"),
        (with_text(CLASSES, segments=()), "segments place"),
        (with_text(CLASSES, segments=(SegmentSpec(0, ("text", "text")),)), "segments place"),
        (with_text(CLASSES, segments=(SegmentSpec(2**40, ("text",)),), forms=(("text",),)), "token_type must lie in"),
        (with_text(CLASSES, truncation="only"), "truncation only needs cut"),
        (with_text(CHOICES, truncation="longest_first"), "longest_first cuts one part or two"),
        (with_text(SPAN, cut="title"), "has no title"),
        (with_text(SPAN, offsets="title"), "has no title"),
        (with_text(SPAN, each="context"), "but the rows are one sequence"),
        (with_text(CHOICES, offsets="choices"), "offsets cannot count in the members"),
        (with_text(CHOICES, ends={}), "nothing of an item says question_ends"),
        (with_text(CHOICES, ends={"question_ends": "title"}), "has no title"),
        (with_text(CHOICES, ends={"question_ends": "question", "input_ids": "question"}), "text: ends names input_ids"),
        (replace(CLASSES, inputs=(*CLASSES.inputs, EXTRA)), "nothing of an item says question_ends"),
    ],
)
def test_texts(task, what):
    with pytest.raises(ValueError, match=what):
        check_task(task)


@pytest.mark.parametrize(
    ("task", "what"),
    [
        (decoded(CLASSES, output=...), "parameter output of kind classes is missing"),
        (decoded(CLASSES, output="scores"), r"parameter output .* must name an output with axes \[batch, \*\]"),
        (decoded(CLASSES, output=["logits"]), "must name an output"),
        (decoded(TAGS, output="nothing"), r"axes \[batch, length, \*\]"),
        (decoded(CLASSES, activation="tanh"), "must be one of softmax, sigmoid, identity"),
        (decoded(CLASSES, activation="sigmoid", threshold=...), "needs the parameter threshold"),
        (decoded(CLASSES, activation="sigmoid", threshold=1.5), "needs the parameter threshold"),
        (decoded(CLASSES, activation="sigmoid", threshold=True), "needs the parameter threshold"),
        (decoded(SPAN, start="logits"), "parameter start of kind span"),
        (decoded(SPAN, max_tokens=0), "parameter max_tokens of kind span must be an integer"),
        (decoded(SPAN, max_tokens=3.5), "must be an integer"),
        (decoded(HOTPOT, types=["span", "yes"]), "a name for each logit of switch_logits"),
        (decoded(HOTPOT, types="yes"), "must be a list of names"),
        (decoded(HOTPOT, type="sent_logits"), "parameter type of kind"),
        (decoded(HOTPOT, evidence_spans="input_ids"), "must name an input with axes"),
        (decoded(WIKIHOP, positions=...), "parameter positions of kind candidates is missing"),
    ],
)
def test_decodings(task, what):
    with pytest.raises(ValueError, match=what):
        check_task(task)


def test_a_decoding_of_a_later_release_is_let_through():
    check_task(replace(CLASSES, decoding=DecodingSpec("of tomorrow", {"anything": [1]})))


def test_a_threshold_is_wanted_where_it_is_read():
    check_task(decoded(CLASSES, threshold=...))
    check_task(decoded(CLASSES, activation="sigmoid", threshold=0))
