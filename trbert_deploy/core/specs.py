"""What a model takes and answers, as data: in a bundle's manifest it needs no code to be read, in any language.

An axis is a name where its size varies, such as ``"batch"`` or ``"length"``, and a number where it does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

#: What stands in a logit where there is nothing to score (padding, an absent candidate): upstream's value, finite
#: in half precision too.
NO_LOGIT = -10000.0

Axes = tuple[str | int, ...]

#: Special tokens in a segment; anything else there names a part of an item.
CLS, SEP = "<cls>", "<sep>"

#: What becomes of a token that leaves: see `ReductionSpec.fate`.
Fate = Literal["dropped", "attended"]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor that a graph takes or gives.

    Attributes:
        name: as the graph has it.
        axes: names of axes that vary, sizes of those that do not.
        dtype: numpy's name of its type, such as ``"int64"``.
    """

    name: str
    axes: Axes
    dtype: str


@dataclass(frozen=True)
class InputSpec:
    """An int64 array that a caller gives.

    Attributes:
        name: of the array.
        axes: the first is ``"batch"``; ``"length"`` is the tokens of a row.
        minimum: smallest value of a real token, or of the array where it is not over tokens.
        maximum: largest value; null where only the row's length bounds it.
        maximum_from_length: largest value, counted from the row's number of tokens: -1 for a position in the row; null
            where the length does not bound it.
        padding: what stands at padded places.
        default: what the array is filled with where it is not given; null where it has to be.
        key: how an item of a JSON-lines file spells it.
    """

    name: str
    axes: Axes
    minimum: int = 0
    maximum: int | None = None
    maximum_from_length: int | None = None
    padding: int = 0
    default: int | None = None
    key: str = ""

    def __post_init__(self) -> None:
        """An item spells it like the array where nothing else is said."""
        if not self.key:
            object.__setattr__(self, "key", self.name)

    @property
    def per_token(self) -> bool:
        """Whether its last axis is the row's tokens."""
        return self.axes[-1] == "length"


@dataclass(frozen=True)
class OutputSpec:
    """A float32 array that a model answers.

    Attributes:
        name: of the array.
        axes: the first is ``"batch"``; ``"length"``, where there is one, the second.
        padding: what stands at padded tokens.
    """

    name: str
    axes: Axes
    padding: float = 0.0

    @property
    def per_token(self) -> bool:
        """Whether its second axis is the row's tokens."""
        return self.axes[1:2] == ("length",)


@dataclass(frozen=True)
class SegmentSpec:
    """A run of tokens of one token type.

    Attributes:
        token_type: of its tokens.
        tokens: ``"<cls>"`` and ``"<sep>"``, and keys of the item's parts, in order. A segment whose part an item
            lacks is left out.
    """

    token_type: int
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class TextSpec:
    """How an item of text becomes a row of token ids.

    Attributes:
        forms: the sets of keys that make an item, the larger first.
        positional: the keys that a plain text, or the members of a pair, stand for; empty where neither is an item.
        segments: the row, in order.
        truncation: what is cut where a row is too long. ``"longest_first"``: of two parts the longer, in the end both
            to a half; ``"only"``: the part `cut` alone.
        cut: see `truncation`.
        each: key of a part that is a list of texts, each of which makes a sequence of its own: the options of a row.
        ends: inputs that say where a part ends: by the input's name the part's key, the position behind its last token.
        offsets: the part that answers count characters in; null where answers name no characters.
    """

    forms: tuple[tuple[str, ...], ...]
    positional: tuple[str, ...]
    segments: tuple[SegmentSpec, ...]
    truncation: Literal["longest_first", "only"] = "longest_first"
    cut: str | None = None
    each: str | None = None
    ends: dict[str, str] = field(default_factory=dict)
    offsets: str | None = None


@dataclass(frozen=True)
class DecodingSpec:
    """How output arrays become a prediction.

    Attributes:
        kind: which of the decoders of `trbert_deploy.text.decoding`; the C++ library has the same ones.
        parameters: of the kind, as its decoder lists them.
    """

    kind: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskSpec:
    """What one model takes and answers.

    Attributes:
        name: of the task.
        inputs: all arrays, input_ids first.
        outputs: in the order in which graphs give them.
        max_length: tokens of a row at most.
        text: null where items are token ids only.
        decoding: see `DecodingSpec`.
        sequences_axis: name of the axis of input_ids along which a row holds several sequences that share one
            selection; null where a row is one sequence.
        protected_from: the input that says from which token on a row keeps everything; null where there is none.
    """

    name: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    max_length: int
    text: TextSpec | None
    decoding: DecodingSpec
    sequences_axis: str | None = None
    protected_from: str | None = None

    def input(self, name: str) -> InputSpec | None:
        """The input of that name, or None."""
        return next((one for one in self.inputs if one.name == name), None)

    def output(self, name: str) -> OutputSpec:
        """The output of that name."""
        return next(one for one in self.outputs if one.name == name)

    @property
    def own_inputs(self) -> tuple[InputSpec, ...]:
        """The inputs beside those over tokens."""
        return tuple(one for one in self.inputs if not one.per_token)


@dataclass(frozen=True)
class ReductionSpec:
    """How a model drops tokens on its way up.

    Attributes:
        kind: name of the reduction.
        layers: before which tokens leave; empty for a dense model.
        fate: what becomes of a token that leaves: ``"dropped"``, or ``"attended"``: its keys and values stay.
        mode: ``"policy"``: a token goes on where its score is not negative; ``"budget"``: each row keeps as many as
            `fractions` say, the highest scores first, of equals the lower position.
        fractions: budget mode: of a row's original length, one for each reduction. A row of n tokens keeps
            ceil(round(1e6 * fraction) * n / 1e6) of them, in integers.
        full_length: whether states and masks between stages are over all tokens of the row; else they are over those
            that the reduction before kept.
    """

    kind: str
    layers: tuple[int, ...] = ()
    fate: Fate = "dropped"
    mode: Literal["policy", "budget"] = "policy"
    fractions: tuple[float, ...] = ()
    full_length: bool = False

    @property
    def dense(self) -> ReductionSpec:
        """The same without reductions: of the dense graph."""
        return ReductionSpec(self.kind, full_length=self.full_length)
