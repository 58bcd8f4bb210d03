"""The PyTorch reference: one stage loop over a backbone, a reduction and a task."""

from trbert_deploy.model.configuration import TRBertConfig
from trbert_deploy.model.decisions import Decide, Scores, by_budget, by_policy
from trbert_deploy.model.loop import run_stages
from trbert_deploy.model.modeling import TRBertOutput, TRBertPreTrainedModel, class_named, model_class
from trbert_deploy.model.stage import Decision, StageResult, run_stage

__all__ = [
    "Decide",
    "Decision",
    "Scores",
    "StageResult",
    "TRBertConfig",
    "TRBertOutput",
    "TRBertPreTrainedModel",
    "by_budget",
    "by_policy",
    "class_named",
    "model_class",
    "run_stage",
    "run_stages",
]
