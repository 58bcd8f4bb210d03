"""A class, several labels, or a number for a text or a pair of texts."""

from __future__ import annotations

from typing import Any

from trbert_deploy.core.specs import CLS, SEP, DecodingSpec, OutputSpec, SegmentSpec, TextSpec
from trbert_deploy.tasks.base import Task

#: By transformers' `problem_type`, how logits become scores. A regressor's are the scores themselves.
_ACTIVATIONS = {
    "single_label_classification": "softmax",
    "multi_label_classification": "sigmoid",
    "regression": "identity",
}


class SequenceClassification(Task):
    """``logits`` [B, labels]."""

    def decoding_of(self, config: Any) -> DecodingSpec:
        """By the configuration's problem type; where it says none, a single logit is a number and several a choice."""
        problem = str(config.problem_type)
        default = "softmax" if config.num_labels > 1 else "identity"
        parameters = {**self.decoding.parameters, "activation": _ACTIVATIONS.get(problem, default)}
        return DecodingSpec(self.decoding.kind, parameters)


TASK = SequenceClassification(
    name="sequence-classification",
    architecture="ForSequenceClassification",
    outputs=(OutputSpec("logits", ("batch", "labels")),),
    decoding=DecodingSpec("classes", {"output": "logits", "activation": "softmax", "threshold": 0.5}),
    head="trbert_deploy.tasks.heads.classification:ClassificationHead",
    text=TextSpec(
        forms=(("text", "text_pair"), ("text",)),
        positional=("text", "text_pair"),
        segments=(SegmentSpec(0, (CLS, "text", SEP)), SegmentSpec(1, ("text_pair", SEP))),
    ),
    labelled=True,
    head_keys={r"^classifier\.": "head.classifier."},
)
