"""The tasks that vectors are about: the package's own, and some that differ in one thing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from trbert_deploy.core.specs import CLS, SEP, DecodingSpec, InputSpec, SegmentSpec, TaskSpec, TextSpec
from trbert_deploy.tasks import TASKS, Limits

#: Of a BERT and of an encoder without token types.
LIMITS = Limits(max_length=12, vocab_size=40, token_types=2)
NO_TYPES = Limits(max_length=12, vocab_size=40, token_types=0)


OWN = (
    "sequence-classification",
    "multiple-choice",
    "question-answering",
    "hotpot",
    "wikihop",
    "token-classification",
)


def _classes(name: str, **parameters: Any) -> TaskSpec:
    base = TASKS.get("sequence-classification").spec(LIMITS)
    decoding = DecodingSpec("classes", {**base.decoding.parameters, **parameters})
    return dataclasses.replace(base, name=name, decoding=decoding)


def _passages() -> TaskSpec:
    """Three parts, of which one may be missing; inputs of its own, one of them with a default."""
    base = TASKS.get("sequence-classification").spec(LIMITS)
    text = TextSpec(
        forms=(("query", "title", "body"), ("query", "body")),
        positional=("query", "body"),
        segments=(
            SegmentSpec(0, (CLS, "query", SEP)),
            SegmentSpec(1, ("title", SEP)),
            SegmentSpec(1, ("body", SEP)),
        ),
        truncation="only",
        cut="body",
        offsets="body",
        ends={"query_end": "query"},
    )
    own = (
        InputSpec("query_end", ("batch",), minimum=1, maximum_from_length=0),
        InputSpec("domain", ("batch",), minimum=-1, maximum=3, default=-1),
        InputSpec("boxes", ("batch", "shapes", 2), maximum=9, default=0, key="box"),
    )
    return dataclasses.replace(base, name="passages", text=text, inputs=(*base.inputs, *own))


def _doubled() -> TaskSpec:
    """Two separators between the texts, and one token type, as RoBERTa has it."""
    base = TASKS.get("sequence-classification").spec(NO_TYPES)
    assert base.text is not None
    segments = (SegmentSpec(0, (CLS, "text", SEP)), SegmentSpec(0, (SEP, "text_pair", SEP)))
    return dataclasses.replace(base, name="doubled", text=dataclasses.replace(base.text, segments=segments))


def _padded_choices() -> TaskSpec:
    """Shorter options are padded with something else than 0, as where the vocabulary's padding has another id."""
    base = TASKS.get("multiple-choice").spec(LIMITS)
    ids, *others = base.inputs
    return dataclasses.replace(base, name="padded-choices", inputs=(dataclasses.replace(ids, padding=39), *others))


def all_tasks() -> dict[str, TaskSpec]:
    """By name."""
    base = TASKS.get("sequence-classification").spec(NO_TYPES)
    return {
        **{name: TASKS.get(name).spec(LIMITS) for name in OWN},
        "without-types": dataclasses.replace(base, name="without-types"),
        "several-labels": _classes("several-labels", activation="sigmoid"),
        "numbers": _classes("numbers", activation="identity"),
        "passages": _passages(),
        "doubled": _doubled(),
        "padded-choices": _padded_choices(),
        "poetry": dataclasses.replace(base, name="poetry", decoding=DecodingSpec("poetry", {"output": "logits"})),
    }


def as_json(names: Iterable[str]) -> dict[str, Any]:
    """These tasks as a manifest has them."""
    tasks = all_tasks()
    return {name: dataclasses.asdict(tasks[name]) for name in dict.fromkeys(names)}
