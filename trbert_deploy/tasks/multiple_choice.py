"""One of several options, whose sequences share one selection."""

from __future__ import annotations

from trbert_deploy.core.specs import CLS, SEP, DecodingSpec, InputSpec, OutputSpec, SegmentSpec, TextSpec
from trbert_deploy.tasks.base import Task

# The options share one selection, so the question must end at one position: the context is cut alike for all of them.
# Source: upstream's run_mcrace.py, `convert_examples_to_features`.
TASK = Task(
    name="multiple-choice",
    architecture="ForMultipleChoice",
    inputs=(InputSpec("question_ends", ("batch",), minimum=1, maximum_from_length=0, key="question_end"),),
    outputs=(OutputSpec("logits", ("batch", "options")),),
    decoding=DecodingSpec("choices", {"output": "logits"}),
    head="trbert_deploy.tasks.heads.classification:ChoiceHead",
    text=TextSpec(
        forms=(("context", "question", "choices"),),
        positional=(),
        segments=(SegmentSpec(0, (CLS, "context", SEP)), SegmentSpec(1, ("question", "choices", SEP))),
        truncation="only",
        cut="context",
        each="choices",
        ends={"question_ends": "question"},
    ),
    sequences_axis="options",
    protected_from="question_ends",
    head_keys={r"^classifier\.": "head.classifier."},
)
