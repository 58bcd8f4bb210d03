"""What a reduction is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn

from trbert_deploy.backbones import Backbone
from trbert_deploy.core.specs import Fate


class Reduction(ABC):
    """A way of dropping tokens; one object for all models, without a state.

    Attributes:
        name: stored in checkpoints and manifests.
        fate: what becomes of a token that leaves. ``"dropped"``: nothing sees it again, but where the task restores
            tokens the head sees the state that it left with. ``"attended"``: its state stays as it was when it left,
            and goes on giving keys and values.
        foreign_classes: classes of other code that have this reduction: backbone and task of each, by its name.
    """

    name: ClassVar[str]
    fate: ClassVar[Fate]
    foreign_classes: ClassVar[Mapping[str, tuple[str, str]]] = {}

    def __init_subclass__(cls) -> None:
        """See that the fate is one that there is."""
        if "fate" in vars(cls) and cls.fate not in get_args(Fate):
            raise TypeError(f"the fate {cls.fate!r} of {cls.__name__} is not one of {', '.join(get_args(Fate))}")

    @abstractmethod
    def default_layers(self, num_layers: int) -> list[int]:
        """The layers before which tokens leave where a configuration says none, ascending."""

    @abstractmethod
    def make_score(self, config: Any) -> nn.Module:
        """The score of one place: states [..., M, H] to float32 [..., M].

        New weights of torch's own layers are drawn as the encoder's are, whatever they are here; parameters of its own
        stay as they are here.

        Args:
            config: a `trbert_deploy.model.TRBertConfig`.
        """

    @abstractmethod
    def score_cost(self, config: Any) -> int:
        """Multiply-accumulates of the score of one token."""

    def protected(self, valid: Tensor) -> Tensor:
        """Which tokens go on whatever their score: [CLS], unless a reduction says otherwise.

        Args:
            valid: bool [B, M], real tokens still in the row, in order of position.

        Returns:
            bool, of a shape that broadcasts with `valid`.
        """
        return torch.arange(valid.shape[1], device=valid.device).unsqueeze(0) == 0

    def keys(self, backbone: Backbone) -> Mapping[str, str]:
        """How keys of its scores in `foreign_classes`' checkpoints are named here, as regular expressions."""
        return {}
