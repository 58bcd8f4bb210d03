"""Checkpoints of other origin: upstream TR-BERT's classes and plain transformers ones, and how their keys map to ours.

Upstream is github.com/thunlp/TR-BERT; its selectors are `linear_1` and `linear_2` of the encoder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from transformers import AutoConfig

from trbert_deploy.model import TRBertConfig
from trbert_deploy.tasks import (
    HOTPOT,
    MULTIPLE_CHOICE,
    QUESTION_ANSWERING,
    SEQUENCE_CLASSIFICATION,
    TOKEN_CLASSIFICATION,
    WIKIHOP,
    Task,
)

_CLASSIFIER = {r"^classifier\.": "head.classifier."}
_SPAN = {r"^qa_outputs\.": "head.qa_outputs."}
_HOTPOT = {
    r"^qa_outputs\.": "head.span.qa_outputs.",
    r"^(qa_classifier|sent_linear|sent_classifier)\.": r"head.\1.",
}


@dataclass(frozen=True)
class ForeignClass:
    """A class of another code base that a checkpoint may name in `architectures`.

    Attributes:
        backbone: ``"bert"`` or ``"distilbert"``.
        task: its task here.
        head: how its head's keys are named here, as regular expressions.
        has_selectors: whether it is upstream's, with selectors.
    """

    backbone: str
    task: Task
    head: Mapping[str, str] = field(default_factory=dict)
    has_selectors: bool = False


UPSTREAM_CLASSES = {
    "AUTOBertForSequenceClassification": ForeignClass("bert", SEQUENCE_CLASSIFICATION, _CLASSIFIER, True),
    "AUTODistilBertForSequenceClassification": ForeignClass("distilbert", SEQUENCE_CLASSIFICATION, _CLASSIFIER, True),
    "AUTOMCBertForMultipleChoice": ForeignClass("bert", MULTIPLE_CHOICE, _CLASSIFIER, True),
    "AUTOMCDistilBertForMultipleChoice": ForeignClass("distilbert", MULTIPLE_CHOICE, _CLASSIFIER, True),
    "AUTOQABertForQuestionAnswering": ForeignClass("bert", QUESTION_ANSWERING, _SPAN, True),
    "AUTOQABertForTriviaQuestionAnswering": ForeignClass("bert", QUESTION_ANSWERING, _SPAN, True),
    "AUTOQADistilBertForQuestionAnswering": ForeignClass("distilbert", QUESTION_ANSWERING, _SPAN, True),
    "AUTOQABertForQuestionAnsweringHotpot": ForeignClass("bert", HOTPOT, _HOTPOT, True),
    "AUTOQABertForWikihopMulti": ForeignClass("bert", WIKIHOP, _SPAN, True),
}

PLAIN_CLASSES = {
    f"{prefix}{suffix}": ForeignClass(backbone, task, head)
    for prefix, backbone in (("Bert", "bert"), ("DistilBert", "distilbert"))
    for suffix, task, head in (
        ("ForSequenceClassification", SEQUENCE_CLASSIFICATION, _CLASSIFIER),
        ("ForMultipleChoice", MULTIPLE_CHOICE, _CLASSIFIER),
        ("ForQuestionAnswering", QUESTION_ANSWERING, _SPAN),
        ("ForTokenClassification", TOKEN_CLASSIFICATION, _CLASSIFIER),
    )
}

#: Encoders without a task head, and the classifier that each becomes.
ENCODER_CLASSES = {
    f"{prefix}{suffix}": f"{prefix}ForSequenceClassification"
    for prefix in ("Bert", "DistilBert")
    for suffix in ("Model", "ForMaskedLM", "ForPreTraining")
}

FOREIGN_CLASSES = UPSTREAM_CLASSES | PLAIN_CLASSES


def foreign_config(raw: Mapping[str, Any], foreign: ForeignClass) -> TRBertConfig:
    """Our configuration for a foreign config.json."""
    known = AutoConfig.for_model(foreign.backbone).to_dict()
    labels = {"id2label", "label2id", "num_labels"}
    skipped = labels | {"architectures", "transformers_version", "dtype", "torch_dtype", "_name_or_path"}
    backbone = {key: raw[key] for key in known.keys() & raw.keys() - skipped}
    # old configurations list both num_labels and id2label; the names decide, as in transformers
    ours = {key: raw[key] for key in ("id2label", "label2id") if key in raw}
    if not ours and "num_labels" in raw:
        ours = {"num_labels": raw["num_labels"]}
    return TRBertConfig(
        backbone={**backbone, "model_type": foreign.backbone},
        reduction_layers=None if foreign.has_selectors else [],
        **ours,
    )


def foreign_weights(weights: Mapping[str, Tensor], foreign: ForeignClass, num_selectors: int) -> dict[str, Tensor]:
    """Rename a foreign checkpoint's keys to ours.

    Left out, because the class never reads them: the pooler where the task has no use for it, buffers of positions,
    and the second selector where a shallow model has one reduction. Whatever else is unknown keeps its name, so that
    loading reports it.
    """
    stack = "encoder" if foreign.backbone == "bert" else "transformer"
    pools = foreign.task in (SEQUENCE_CLASSIFICATION, MULTIPLE_CHOICE)
    renames = {
        r"\.gamma$": ".weight",  # the oldest BERT checkpoints
        r"\.beta$": ".bias",
        rf"^{foreign.backbone}\.{stack}\.linear_1\.(\d+)\.": r"selectors.\1.dense.",
        rf"^{foreign.backbone}\.{stack}\.linear_2\.(\d+)\.": r"selectors.\1.score.",
        r"^bert\.pooler\.dense\.": "head.dense.",
        r"^pre_classifier\.": "head.dense.",
        rf"^{foreign.backbone}\.(embeddings|{stack})\.": r"backbone.\1.",
        **foreign.head,
    }
    renamed = {}
    for key, tensor in weights.items():
        for pattern, replacement in renames.items():
            key = re.sub(pattern, replacement, key)
        selector = re.match(r"selectors\.(\d+)\.", key)
        unused = (
            key.endswith(("embeddings.position_ids", "embeddings.token_type_ids"))
            or (key.startswith("head.dense.") and not pools)
            or (selector is not None and int(selector[1]) >= num_selectors)
        )
        if not unused:
            renamed[key] = tensor
    return renamed
