"""A task of another package: classes by the mean of all tokens' states, as sentence encoders pool them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from trbert_deploy.core.specs import CLS, SEP, DecodingSpec, OutputSpec, SegmentSpec, TextSpec
from trbert_deploy.tasks import Task
from trbert_deploy.tasks.heads.classification import ClassificationHead


class MeanPoolingHead(ClassificationHead):
    """``logits`` [B, labels] of the mean over real tokens."""

    reads = ("attention_mask",)

    def forward(self, states: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Logits of each row."""
        real = inputs["attention_mask"].to(states.dtype).unsqueeze(-1)
        mean = torch.where(real > 0, states, 0.0).sum(dim=1) / real.sum(dim=1)
        return (self.score(mean),)


TASK = Task(
    name="mean-pooled-classification",
    architecture="ForMeanPooledClassification",
    outputs=(OutputSpec("logits", ("batch", "labels")),),
    decoding=DecodingSpec("classes", {"output": "logits", "activation": "softmax", "threshold": 0.5}),
    head="trbert_mean_pooling:MeanPoolingHead",
    text=TextSpec(forms=(("text",),), positional=("text",), segments=(SegmentSpec(0, (CLS, "text", SEP)),)),
    restores=True,
    labelled=True,
    transformers=False,
)
