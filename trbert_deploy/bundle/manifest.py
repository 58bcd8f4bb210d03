"""manifest.json: what a bundle is. The models here are the schema; `schema()` publishes it as JSON Schema.

It describes itself: what the model takes and answers, how text becomes ids and outputs become predictions, and what the
graphs hand to one another is all in it, so that no reader, in any language, needs a table of tasks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trbert_deploy.core import costs, specs
from trbert_deploy.core.attributes import attribute_docs
from trbert_deploy.core.costs import Costs
from trbert_deploy.core.selection import Selection
from trbert_deploy.core.specs import ReductionSpec, TaskSpec, TensorSpec, TextSpec

#: Grows by its second number when something is added, by its first when older readers must refuse.
SCHEMA_VERSION = "2.0"

#: What matrix products compute in, the highest first.
Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

#: How int8 is written, see `trbert_deploy.export.quantize`.
QuantizationForm = Literal["cpu", "tensorrt"]

MANIFEST_FILE = "manifest.json"
SCHEMA_FILE = "manifest.schema.json"

#: A tensor that one stage hands to the next leaves it under this prefix and enters the next one without it.
NEXT = "next_"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class ModelFacts(_Part):
    """The model that the graphs were made from."""

    source: str = Field(description="what was given to export: a folder's name or a Hub id")
    source_class: str = Field(description="the class that its config.json named")
    model_class: str = Field(description="the class here, TRBertFor...")
    backbone: str = Field(description="transformers' model_type of its encoder")
    num_layers: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    parameters: int = Field(ge=1)
    labels: list[str] = Field(description="names of the classes by index; empty where the task has none")


class GraphFile(_Part):
    """One ONNX file.

    What the caller gives has the caller's names; what a stage takes over from the stage before has a name that left it
    with `next_` in front. ``rows`` says which of that stage's rows to run, the shape of ``keep`` how many tokens to
    gather, ``budget`` how many tokens each row keeps.
    """

    file: str
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]

    @property
    def input_names(self) -> list[str]:
        """In order."""
        return [tensor.name for tensor in self.inputs]

    @property
    def output_names(self) -> list[str]:
        """In order."""
        return [tensor.name for tensor in self.outputs]


class TokenizerFacts(_Part):
    """The tokenizer's files; how its tokens make a row stands in the task's `text`."""

    folder: str = Field(description="tokenizer.json and its companions")
    family: str = Field(default="wordpiece", description="how it cuts words, such as wordpiece")
    onnx: str | None = Field(
        description="the same for hosts without Python: an ONNX graph of onnxruntime-extensions' operators"
    )
    onnx_differs_on: list[str] = Field(
        default_factory=list,
        description="kinds of text on which the graph was seen to give other ids than tokenizer.json",
    )
    max_length: int = Field(ge=1, description="text is truncated to so many tokens")


class QuantizationFacts(_Part):
    """How an int8 bundle was made."""

    form: QuantizationForm = Field(
        description="cpu: uint8 activations and int32 biases, for ONNX Runtime on CPUs; tensorrt: int8 activations "
        "around zero and float32 biases"
    )
    calibration: str = Field(description="name of the data that the ranges of activations were taken from")
    calibration_rows: int = Field(ge=1)
    fp32_layers: list[int] = Field(description="encoder layers that were left in float32, because they suffer most")
    sensitivity: str = Field(description="JSON file: what quantizing each layer alone does to the answers")


class FileFacts(_Part):
    """One file of the bundle."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class Manifest(_Part):
    """A bundle's manifest."""

    schema_version: str = Field(pattern=r"^[0-9]{1,6}\.[0-9]{1,6}$")
    model: ModelFacts
    task: TaskSpec = Field(description="what the model takes and answers")
    reduction: ReductionSpec = Field(description="how it drops tokens")
    costs: Costs = Field(description="what its floating-point operations follow from")
    precision: Precision = Field(
        description="what the matrix products of the encoder layers compute in; readers hold it against the graphs"
    )
    quantization: QuantizationFacts | None = Field(default=None, description="of int8 graphs")
    opset: int
    stages: list[GraphFile] = Field(min_length=1, description="run one after the other")
    fused: GraphFile = Field(description="all stages in one graph")
    dense: GraphFile | None = Field(description="the same weights without reduction, to compare with")
    tokenizer: TokenizerFacts | None
    golden: str = Field(description="inputs with the PyTorch reference's answers, to replay on any runtime")
    reference: str | None = Field(description="folder of the PyTorch checkpoint")
    files: dict[str, FileFacts] = Field(description="every file of the bundle but the manifest itself")
    created: str = Field(description="UTC, ISO 8601")
    environment: dict[str, str] = Field(description="where it was exported")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        reduction = self.reduction
        if len(self.stages) != len(reduction.layers) + 1:
            raise ValueError(f"{len(self.stages)} stages do not fit {len(reduction.layers)} reductions")
        if len(reduction.fractions) != (len(reduction.layers) if reduction.mode == "budget" else 0):
            raise ValueError(f"{len(reduction.fractions)} fractions do not fit the reductions")
        if any(not 0 < fraction <= 1 for fraction in reduction.fractions):
            raise ValueError(f"fractions must lie in (0, 1], not {list(reduction.fractions)}")
        if (self.precision == "int8") is (self.quantization is None):
            raise ValueError("quantization is said of int8 bundles, and of those only")
        for stage in self.stages[:-1]:
            if "keep_count" not in stage.output_names:
                raise ValueError(f"{stage.file} gives no keep_count")
        _check_task(self.task)
        return self

    @property
    def selection(self) -> Selection:
        """How tokens are chosen."""
        return Selection(self.reduction.fractions)

    @property
    def graphs(self) -> Iterator[GraphFile]:
        """Every graph: the stages, the fused one and the dense one, where there is one."""
        yield from self.stages
        yield self.fused
        if self.dense is not None:
            yield self.dense


def _check_task(task: TaskSpec) -> None:
    """See that what the parts of a task refer to is there.

    Raises:
        ValueError: it is not.
    """
    names = [spec.name for spec in task.inputs]
    if names[:2] != ["input_ids", "attention_mask"] or len(set(names)) < len(names):
        raise ValueError(f"inputs must begin with input_ids and attention_mask, each once, not {names}")
    if task.max_length < 1:
        raise ValueError("max_length must be at least 1")
    for spec in task.inputs:
        if not spec.axes or spec.axes[0] != "batch":
            raise ValueError(f"the first axis of {spec.name} must be batch")
        if spec.per_token and (spec.maximum is None or spec.axes != task.inputs[0].axes):
            raise ValueError(f"{spec.name} is over tokens: it needs a maximum, and the axes of input_ids")
        if spec.maximum is not None and spec.maximum < spec.minimum:
            raise ValueError(f"the maximum of {spec.name} is below its minimum")
    if task.protected_from is not None and task.protected_from not in names:
        raise ValueError(f"protected_from names {task.protected_from}, which is no input")
    if (task.sequences_axis is None) is not (len(task.inputs[0].axes) == 2):
        raise ValueError("sequences_axis does not fit the axes of input_ids")
    if not task.outputs:
        raise ValueError("a task needs an output")
    if task.text is not None:
        _check_text(task, task.text)


def _check_text(task: TaskSpec, text: TextSpec) -> None:
    """See that every form of an item has what its layout names.

    Raises:
        ValueError: one has not.
    """
    if (text.each is None) is not (task.sequences_axis is None):
        raise ValueError("the text's `each` and the task's `sequences_axis` go together")
    if text.truncation == "only" and text.cut is None:
        raise ValueError("truncation 'only' names no part to cut")
    for name in text.ends:
        spec = task.input(name)
        if spec is None or len(spec.axes) != 1:
            raise ValueError(f"ends names {name}, which is no number of a row")
    named = {part for part in (text.cut, text.each, text.offsets, *text.ends.values()) if part is not None}
    for form in text.forms:
        segments = [set(segment.tokens) - {specs.CLS, specs.SEP} for segment in text.segments]
        placed = {part for parts in segments if parts <= set(form) for part in parts}
        if missing := sorted((named | set(form)) - (placed & set(form))):
            raise ValueError(f"an item of {', '.join(form)} has no place for {', '.join(missing)}")
        if text.truncation == "longest_first" and len(form) > 2:
            raise ValueError(f"of {len(form)} parts none is the longer: truncation 'longest_first' is for two")


def layer_range(first: int, end: int) -> str:
    """The layers of a stage, for people."""
    if first == end:
        return "no layers"
    return f"layer {first}" if end == first + 1 else f"layers {first} to {end - 1}"


def schema() -> dict[str, Any]:
    """The JSON Schema that manifests are validated against."""
    whole = Manifest.model_json_schema()
    for module in (specs, costs):
        for name, part in whole["$defs"].items():
            owner = getattr(module, name, None)
            if dataclasses.is_dataclass(owner) and isinstance(owner, type):
                for attribute, text in attribute_docs(owner).items():
                    part["properties"].get(attribute, {})["description"] = text
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "trbert-deploy bundle manifest",
        **whole,
    }
