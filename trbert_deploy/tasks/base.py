"""What a task is: the half of it that needs no tensor library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trbert_deploy.core.registry import load_object
from trbert_deploy.core.specs import Axes, DecodingSpec, InputSpec, OutputSpec, TaskSpec, TextSpec

if TYPE_CHECKING:
    from trbert_deploy.tasks.heads import Head


@dataclass(frozen=True)
class Limits:
    """What an encoder can be given.

    Attributes:
        max_length: tokens in a row.
        vocab_size: token ids are below it.
        token_types: token type ids are below it; 0 where the encoder takes none (DistilBERT).
    """

    max_length: int
    vocab_size: int
    token_types: int


@dataclass(frozen=True)
class Task:
    """A task: a file of this folder, or another package's.

    Attributes:
        name: stored in checkpoints and manifests.
        architecture: how its classes end: ``TRBert`` and transformers' ``Bert`` stand in front of it.
        outputs: in the order in which graphs give them.
        decoding: how they become a prediction.
        head: its torch half, a `trbert_deploy.tasks.heads.Head`: ``"package.module:Class"``.
        inputs: beside those over tokens.
        text: how an item of text becomes a row; None where a row is put together elsewhere.
        restores: whether the head needs every token, so that skipped ones are put back with the state they left with.
        sequences_axis: see `TaskSpec`.
        protected_from: see `TaskSpec`.
        labelled: whether a checkpoint's label names are those of its output.
        transformers: whether transformers has the class, whose checkpoints then load in dense form.
        head_keys: how keys of the head in checkpoints of other origin are named here, as regular expressions.
    """

    name: str
    architecture: str
    outputs: tuple[OutputSpec, ...]
    decoding: DecodingSpec
    head: str
    inputs: tuple[InputSpec, ...] = ()
    text: TextSpec | None = None
    restores: bool = False
    sequences_axis: str | None = None
    protected_from: str | None = None
    labelled: bool = False
    transformers: bool = True
    head_keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def row_axes(self) -> Axes:
        """Axes of the inputs over tokens."""
        return ("batch", self.sequences_axis, "length") if self.sequences_axis else ("batch", "length")

    def head_class(self) -> type[Head]:
        """The torch half, imported now."""
        found: type[Head] = load_object(self.head)
        return found

    def decoding_of(self, config: Any) -> DecodingSpec:
        """How the outputs of a model with this configuration become a prediction."""
        return self.decoding

    def spec(self, limits: Limits, decoding: DecodingSpec | None = None) -> TaskSpec:
        """What a model of this task takes and answers.

        Args:
            limits: of its encoder.
            decoding: see `decoding_of`; by default the task's own.
        """
        axes = self.row_axes
        rows = [
            InputSpec("input_ids", axes, maximum=limits.vocab_size - 1),
            InputSpec("attention_mask", axes, maximum=1, default=1),
        ]
        if limits.token_types:
            rows.append(InputSpec("token_type_ids", axes, maximum=limits.token_types - 1, default=0))
        return TaskSpec(
            name=self.name,
            inputs=(*rows, *self.inputs),
            outputs=self.outputs,
            max_length=limits.max_length,
            text=self.text,
            decoding=decoding or self.decoding,
            sequences_axis=self.sequences_axis,
            protected_from=self.protected_from,
        )
