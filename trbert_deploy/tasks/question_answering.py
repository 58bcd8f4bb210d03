"""A span of a context that answers a question."""

from __future__ import annotations

from trbert_deploy.core.specs import CLS, NO_LOGIT, SEP, DecodingSpec, OutputSpec, SegmentSpec, TextSpec
from trbert_deploy.tasks.base import Task

#: Where an answer starts and ends; HotpotQA has the same.
SPAN_OUTPUTS = (
    OutputSpec("start_logits", ("batch", "length"), padding=NO_LOGIT),
    OutputSpec("end_logits", ("batch", "length"), padding=NO_LOGIT),
)

#: Tokens of the longest span: upstream's ``max_answer_length`` (run_squad.py, run_hotpot.py).
SPAN_PARAMETERS = {"start": "start_logits", "end": "end_logits", "max_tokens": 30}

TASK = Task(
    name="question-answering",
    architecture="ForQuestionAnswering",
    outputs=SPAN_OUTPUTS,
    decoding=DecodingSpec("span", SPAN_PARAMETERS),
    head="trbert_deploy.tasks.heads.span:SpanHead",
    text=TextSpec(
        forms=(("question", "context"),),
        positional=("question", "context"),
        segments=(SegmentSpec(0, (CLS, "question", SEP)), SegmentSpec(1, ("context", SEP))),
        truncation="only",
        cut="context",
        offsets="context",
    ),
    restores=True,
    head_keys={r"^qa_outputs\.": "head.qa_outputs."},
)
