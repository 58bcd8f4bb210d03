"""manifest.json: what a bundle is. The models here are the schema; `schema()` publishes it as JSON Schema.

It describes itself: what the model takes and answers, how text becomes ids and outputs become predictions, and what the
graphs hand to one another is all in it, so that no reader, in any language, needs a table of tasks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence, Set
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trbert_deploy.bundle.schema_1 import MOST_LAYERS
from trbert_deploy.core import costs, specs
from trbert_deploy.core.attributes import attribute_docs
from trbert_deploy.core.costs import Costs
from trbert_deploy.core.precision import Precision, QuantizationForm
from trbert_deploy.core.selection import BUDGET_SCALE, Selection
from trbert_deploy.core.spec_checks import check_task
from trbert_deploy.core.specs import ReductionSpec, TaskSpec, TensorSpec

#: Grows by its second number when something is added, by its first when older readers must refuse.
SCHEMA_VERSION = "2.0"

MANIFEST_FILE = "manifest.json"
SCHEMA_FILE = "manifest.schema.json"

#: A tensor that one stage hands to the next leaves it under this prefix and enters the next one without it.
NEXT = "next_"


#: Types of graphs' inputs and outputs.
DTYPES = ("bool", "float16", "float32", "float64", "int8", "int32", "int64", "uint8")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class ModelFacts(_Part):
    """The model that the graphs were made from."""

    source: str = Field(description="what was given to export: a folder's name or a Hub id")
    source_class: str = Field(description="the class that its config.json named")
    model_class: str = Field(description="the class here, TRBertFor...")
    backbone: str = Field(description="transformers' model_type of its encoder")
    num_layers: int = Field(ge=1, le=MOST_LAYERS, description="transformer layers of its encoder")
    hidden_size: int = Field(ge=1, description="width of a token's state")
    num_attention_heads: int = Field(ge=1, description="of a layer")
    intermediate_size: int = Field(ge=1, description="width of the feed-forward layers")
    parameters: int = Field(ge=1, description="weights of the whole model, its scores and head included")
    labels: list[str] = Field(description="names of the classes by index; empty where the task has none")


class GraphFile(_Part):
    """One ONNX file.

    What the caller gives has the caller's names; what a stage takes over from the stage before has a name that left it
    with `next_` in front. ``rows`` says which of that stage's rows to run, the shape of ``keep`` how many tokens to
    gather, ``budget`` how many tokens each row keeps.
    """

    file: str = Field(description="its name in the bundle")
    inputs: list[TensorSpec] = Field(description="in the graph's order")
    outputs: list[TensorSpec] = Field(description="in the graph's order")

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
    family: str = Field(default="wordpiece", description="how it cuts words: wordpiece, bpe, unigram or wordlevel")
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
    calibration_rows: int = Field(ge=1, description="how many rows of it set the ranges")
    fp32_layers: list[int] = Field(description="encoder layers that were left in float32, because they suffer most")
    sensitivity: str = Field(description="JSON file: what quantizing each layer alone does to the answers")


class FileFacts(_Part):
    """One file of the bundle."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of its bytes, in hexadecimal")
    bytes: int = Field(ge=0, description="its size")


class Manifest(_Part):
    """A bundle's manifest."""

    schema_version: str = Field(
        pattern=r"^[0-9]{1,6}\.[0-9]{1,6}$",
        description="of this schema; readers refuse a larger first number than theirs",
    )
    model: ModelFacts = Field(description="what the graphs were made from")
    task: TaskSpec = Field(description="what the model takes and answers")
    reduction: ReductionSpec = Field(description="how it drops tokens")
    costs: Costs = Field(description="what its floating-point operations follow from")
    precision: Precision = Field(
        description="what the matrix products of the encoder layers compute in; readers hold it against the graphs"
    )
    quantization: QuantizationFacts | None = Field(default=None, description="of int8 graphs")
    opset: int = Field(description="the version of ONNX's operators that every graph is of")
    stages: list[GraphFile] = Field(min_length=1, description="run one after the other")
    fused: GraphFile = Field(description="all stages in one graph")
    dense: GraphFile | None = Field(description="the same weights without reduction, to compare with")
    tokenizer: TokenizerFacts | None = Field(description="null where rows are token ids only")
    golden: str = Field(description="inputs with the PyTorch reference's answers, to replay on any runtime")
    reference: str | None = Field(description="folder of the PyTorch checkpoint")
    files: dict[str, FileFacts] = Field(description="every file of the bundle but the manifest itself")
    created: str = Field(description="UTC, ISO 8601")
    environment: dict[str, str] = Field(description="where it was exported")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        _check_reduction(self)
        if (self.precision == "int8") is (self.quantization is None):
            raise ValueError("quantization is said of int8 bundles, and of those only")
        check_task(self.task)
        _check_graphs(self)
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


def _check_reduction(manifest: Manifest) -> None:
    """See that the reductions fit the stages, and a budget the reductions.

    Raises:
        ValueError: they do not.
    """
    reduction, stages = manifest.reduction, len(manifest.stages)
    layers, fractions = list(reduction.layers), list(reduction.fractions)
    if stages != len(layers) + 1:
        raise ValueError(f"{stages} stages do not fit {len(layers)} reductions")
    if layers != sorted(set(layers)) or any(not 0 <= layer < manifest.model.num_layers for layer in layers):
        raise ValueError(f"reduction: layers must ascend and be the model's, not {layers}")
    if layers != list(manifest.costs.reduction_layers):
        raise ValueError(f"costs: reduction_layers {list(manifest.costs.reduction_layers)} are not the reduction's")
    if len(fractions) != (len(layers) if reduction.mode == "budget" else 0):
        raise ValueError(f"reduction: {len(fractions)} fractions do not fit the reductions")
    if any(not 1 / BUDGET_SCALE <= fraction <= 1 for fraction in fractions):
        raise ValueError(f"reduction: fractions must lie in {1 / BUDGET_SCALE:g} to 1, not {fractions}")
    if fractions != sorted(fractions, reverse=True):
        raise ValueError(f"reduction: fractions count from the original length and cannot grow, but are {fractions}")


def _check_graphs(manifest: Manifest) -> None:
    """See that each graph is given what it takes, by the caller or by the stage before it, and gives what is read.

    Raises:
        ValueError: one is not, or does not.
    """
    rows = {spec.name for spec in manifest.task.inputs}
    answers = [spec.name for spec in manifest.task.outputs]
    last = len(manifest.stages) - 1
    given = set(rows)
    for place, stage in enumerate(manifest.stages):
        _check_names(stage, given | ({"budget"} if manifest.reduction.fractions and place < last else set()))
        if place == last:
            _require_outputs(stage, answers, others=False)
        else:
            _require_outputs(stage, ["keep_count", f"{NEXT}keep_mask"])
            carried = {name.removeprefix(NEXT) for name in stage.output_names if name.startswith(NEXT)}
            given = rows | carried | {"rows", "keep"}
    _check_names(manifest.fused, rows)
    _require_outputs(manifest.fused, [*answers, *(f"keep_mask_{number}" for number in range(1, last + 1))])
    if manifest.dense is not None:
        _check_names(manifest.dense, rows)
        _require_outputs(manifest.dense, answers, others=False)


def _check_names(graph: GraphFile, given: Set[str]) -> None:
    for names in (graph.input_names, graph.output_names):
        if len(set(names)) < len(names):
            raise ValueError(f"{graph.file} has two tensors of one name: {', '.join(names)}")
    if unknown := [tensor.dtype for tensor in (*graph.inputs, *graph.outputs) if tensor.dtype not in DTYPES]:
        raise ValueError(f"{graph.file} has tensors of the unknown type {unknown[0]}")
    if unknown := [name for name in graph.input_names if name not in given]:
        raise ValueError(f"{graph.file} takes {', '.join(unknown)}, which nothing gives it")


def _require_outputs(graph: GraphFile, wanted: Sequence[str], *, others: bool = True) -> None:
    names = graph.output_names
    if missing := [name for name in wanted if name not in names]:
        raise ValueError(f"{graph.file} gives no {', '.join(missing)}")
    if not others and len(names) > len(wanted):
        raise ValueError(f"{graph.file} gives {', '.join(names)}, the task has {', '.join(wanted)} alone")


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
