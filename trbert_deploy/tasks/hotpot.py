"""HotpotQA: an answer, its type, and the sentences that support it, over several documents."""

from __future__ import annotations

from trbert_deploy.core.specs import DecodingSpec, InputSpec, OutputSpec
from trbert_deploy.tasks.base import Task
from trbert_deploy.tasks.question_answering import SPAN_OUTPUTS, SPAN_PARAMETERS

TASK = Task(
    name="hotpot",
    architecture="ForHotpot",
    inputs=(InputSpec("sentence_spans", ("batch", "sentences", 2), minimum=-1, maximum_from_length=-1, padding=-1),),
    outputs=(
        *SPAN_OUTPUTS,
        OutputSpec("switch_logits", ("batch", 3)),
        OutputSpec("sent_logits", ("batch", "sentences", 2)),
    ),
    # what upstream's `switch` means: run_hotpot.py, `write_predictions`
    decoding=DecodingSpec(
        "span_with_evidence",
        {
            **SPAN_PARAMETERS,
            "type": "switch_logits",
            "types": ["span", "yes", "no"],
            "evidence": "sent_logits",
            "evidence_spans": "sentence_spans",
        },
    ),
    head="trbert_deploy.tasks.heads.hotpot:HotpotHead",
    restores=True,
    transformers=False,
    head_keys={
        r"^qa_outputs\.": "head.span.qa_outputs.",
        r"^(qa_classifier|sent_linear|sent_classifier)\.": r"head.\1.",
    },
)
