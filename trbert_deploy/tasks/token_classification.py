"""A label for every token."""

from __future__ import annotations

from trbert_deploy.core.specs import CLS, SEP, DecodingSpec, OutputSpec, SegmentSpec, TextSpec
from trbert_deploy.tasks.base import Task

TASK = Task(
    name="token-classification",
    architecture="ForTokenClassification",
    outputs=(OutputSpec("logits", ("batch", "length", "labels")),),
    decoding=DecodingSpec("tokens", {"output": "logits"}),
    head="trbert_deploy.tasks.heads.tokens:TokenHead",
    text=TextSpec(
        forms=(("text",),),
        positional=("text",),
        segments=(SegmentSpec(0, (CLS, "text", SEP)),),
        truncation="only",
        cut="text",
        offsets="text",
    ),
    restores=True,
    labelled=True,
    head_keys={r"^classifier\.": "head.classifier."},
)
