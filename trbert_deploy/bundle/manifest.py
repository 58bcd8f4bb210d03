"""manifest.json: what a bundle is. The models here are the schema; `schema()` publishes it as JSON Schema."""

from __future__ import annotations

from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trbert_deploy.core.request import Limits
from trbert_deploy.tasks import TASKS, Task, task_named

#: Grows by its second number when something is added, by its first when older readers must refuse.
SCHEMA_VERSION = "1.1"

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
    backbone: Literal["bert", "distilbert"]
    num_layers: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    selector_size: int = Field(ge=1)
    parameters: int = Field(ge=1)
    labels: list[str] = Field(description="names of the classes by index; empty where the task has none")


class SelectionFacts(_Part):
    """How the graphs select."""

    mode: Literal["policy", "budget"]
    keep: list[float] = Field(
        description="budget mode: fraction of the original length kept at each reduction. A row of n tokens keeps "
        "ceil(round(1e6 * fraction) * n / 1e6) of them, in integers"
    )


class LimitFacts(_Part):
    """What the model can be given."""

    max_length: int = Field(ge=1, description="tokens in a row")
    vocab_size: int = Field(ge=1)
    token_types: int = Field(ge=0, description="0 where the model takes no token_type_ids")


class Graph(_Part):
    """One ONNX file."""

    file: str
    inputs: list[str]
    outputs: list[str]


class TokenizerFacts(_Part):
    """How text becomes token ids."""

    folder: str = Field(description="tokenizer.json and its companions")
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

    schema_version: str = Field(pattern=r"^[0-9]+\.[0-9]+$")
    task: str
    model: ModelFacts
    reduction_layers: list[int] = Field(description="layers before which tokens are dropped; empty: dense")
    selection: SelectionFacts
    precision: Precision = Field(
        description="what the matrix products of the encoder layers compute in; readers hold it against the graphs"
    )
    quantization: QuantizationFacts | None = Field(default=None, description="of int8 graphs")
    opset: int
    outputs: list[str] = Field(description="of the last stage, in order")
    limits: LimitFacts
    stages: list[Graph] = Field(min_length=1, description="run one after the other")
    fused: Graph = Field(description="all stages in one graph")
    dense: Graph | None = Field(description="the same weights without reduction, to compare with")
    tokenizer: TokenizerFacts | None
    golden: str = Field(description="inputs with the PyTorch reference's answers, to replay on any runtime")
    reference: str | None = Field(description="folder of the PyTorch checkpoint")
    files: dict[str, FileFacts] = Field(description="every file of the bundle but the manifest itself")
    created: str = Field(description="UTC, ISO 8601")
    environment: dict[str, str] = Field(description="where it was exported")

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.task not in TASKS:
            raise ValueError(f"unknown task {self.task!r}")
        if len(self.stages) != len(self.reduction_layers) + 1:
            raise ValueError(f"{len(self.stages)} stages do not fit {len(self.reduction_layers)} reductions")
        wanted = len(self.reduction_layers) if self.selection.mode == "budget" else 0
        if len(self.selection.keep) != wanted:
            raise ValueError(f"{len(self.selection.keep)} keep fractions do not fit the reductions")
        if (self.precision == "int8") is (self.quantization is None):
            raise ValueError("quantization is said of int8 bundles, and of those only")
        return self

    @property
    def task_facts(self) -> Task:
        """What the task takes and answers."""
        return task_named(self.task)

    @property
    def limit_facts(self) -> Limits:
        """Limits in the form that requests are checked against."""
        return Limits(self.limits.max_length, self.limits.vocab_size, self.limits.token_types)


def layer_range(first: int, end: int) -> str:
    """The layers of a stage, for people."""
    if first == end:
        return "no layers"
    return f"layer {first}" if end == first + 1 else f"layers {first} to {end - 1}"


def schema() -> dict[str, Any]:
    """The JSON Schema that manifests are validated against."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "trbert-deploy bundle manifest",
        **Manifest.model_json_schema(),
    }
