"""The PyTorch reference: TR-BERT on transformers' own BERT and DistilBERT layers."""

from trbert_deploy.model.configuration import TRBertConfig
from trbert_deploy.model.modeling import (
    MODEL_CLASSES,
    Decision,
    TRBertForHotpot,
    TRBertForMultipleChoice,
    TRBertForQuestionAnswering,
    TRBertForSequenceClassification,
    TRBertForTokenClassification,
    TRBertForWikihop,
    TRBertOutput,
    TRBertPreTrainedModel,
)

__all__ = [
    "MODEL_CLASSES",
    "Decision",
    "TRBertConfig",
    "TRBertForHotpot",
    "TRBertForMultipleChoice",
    "TRBertForQuestionAnswering",
    "TRBertForSequenceClassification",
    "TRBertForTokenClassification",
    "TRBertForWikihop",
    "TRBertOutput",
    "TRBertPreTrainedModel",
]
