"""Fixtures: graphs of models, each traced when it is first asked for, and sessions on them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import tracing
from golden_models import GOLDEN_NAMES, load_golden
from small_models import make_tiny_model

BUDGET = (0.4, 0.15)
#: Models of `traced` and their budgets, none for policy mode: every task, both backbones, both modes.
SELECTING = [
    ("bert-sequence-classification", ()),
    ("bert-sequence-classification", BUDGET),
    ("bert-hotpot-question-answering", ()),
    ("distilbert-question-answering", BUDGET),
    ("distilbert-multiple-choice", ()),
    ("distilbert-multiple-choice", BUDGET),
    ("bert-wikihop", BUDGET),
    ("tokens", ()),
]


class Traced:
    """A model's graphs, each traced when it is first asked for."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._graphs: dict[Any, Any] = {}

    def stage(self, index: int, by_budget: bool) -> Any:
        """The ONNX graph of a stage; the last one is the same in both modes."""
        key = (index, by_budget and index < self.model.num_stages - 1)
        if key not in self._graphs:
            self._graphs[key] = tracing.stage(self.model, *key)
        return self._graphs[key]

    def stages(self, by_budget: bool) -> list[Any]:
        return [self.stage(index, by_budget) for index in range(self.model.num_stages)]

    def dense(self) -> Any:
        """The graph without reduction."""
        if "dense" not in self._graphs:
            self._graphs["dense"] = tracing.dense(self.model)
        return self._graphs["dense"]

    def fused(self, keep: Sequence[float]) -> Any:
        from trbert_deploy.export.fuse import fuse
        from trbert_deploy.export.graphs import to_message

        return to_message(fuse(self.graphs(bool(keep)).stages, keep, self.model.spec))

    def graphs(self, by_budget: bool) -> Any:
        """The stages as `trbert_deploy.export` has them in memory."""
        from trbert_deploy.export.graphs import Graphs, from_message
        from trbert_deploy.export.trace import layer_names

        stages = tuple(from_message(stage) for stage in self.stages(by_budget))
        return Graphs(stages, layer_names(self.model))


@functools.cache
def _traced(name: str) -> Traced:
    import torch

    if name in GOLDEN_NAMES:
        return Traced(load_golden(name).model)
    if name == "tokens":
        return Traced(make_tiny_model("token-classification", layers=3, reduction_layers=[1, 2]))
    if name == "all-equal":  # every logit is zero
        model = make_tiny_model("question-answering", "distilbert", layers=2, reduction_layers=[0, 1])
        with torch.no_grad():
            for selector in model.selectors:
                for parameter in selector.parameters():
                    parameter.zero_()
        return Traced(model)
    if name == "pairs":
        # Selects before the first layer, without positions: equal ids have equal logits to the last bit. The
        # factor takes GELU to where it is the identity or zero: no approximation of erf can part equals.
        model = make_tiny_model(layers=1, reduction_layers=[0])
        with torch.no_grad():
            model.backbone.embeddings.position_embeddings.weight.zero_()
            (selector,) = model.selectors
            for parameter in selector.parameters():
                parameter.zero_()
            selector.dense.weight[0, 0] = 1e4
            selector.score.weight[0, 0] = 1.0
        return Traced(model)
    raise KeyError(name)


@pytest.fixture(scope="session")
def traced() -> Callable[[str], Traced]:
    """Graphs of a golden case, of ``tokens`` (token classification), or of the ties ``all-equal``, ``pairs``."""
    return _traced


@pytest.fixture(
    params=SELECTING, ids=[f"{name}-{'budget' if keep else 'policy'}" for name, keep in SELECTING], scope="module"
)
def selecting(request: pytest.FixtureRequest) -> tuple[str, tuple[float, ...]]:
    """Name of a traced model, and its budget, none for policy mode; every task, both backbones, both modes."""
    case: tuple[str, tuple[float, ...]] = request.param
    return case


@pytest.fixture(scope="session")
def traced_model() -> Callable[[Any], Traced]:
    """Graphs of any model, each traced when it is first asked for."""
    return Traced


@pytest.fixture(scope="session", autouse=True)
def torchs_exporter_quick() -> Iterator[None]:
    """Measuring coverage, Python up to 3.11 looks at every call, and torch's exporter makes so many that it takes twice
    the time; what it runs of ours, the eager reference runs too."""
    import torch

    export, watch = torch.onnx.export, sys.gettrace()

    def unwatched(*arguments: Any, **options: Any) -> Any:
        sys.settrace(None)
        try:
            return export(*arguments, **options)
        finally:
            sys.settrace(watch)

    with pytest.MonkeyPatch.context() as patch, tracing.operators_read_once():
        patch.setattr(torch.onnx, "export", unwatched)
        yield


@pytest.fixture(scope="module")
def traced_once() -> Iterator[None]:
    """Exports in this process trace no graph that any test traced before; for tests of what comes after tracing."""
    with tracing.traced_once():
        yield


@pytest.fixture(scope="session")
def session_of() -> Callable[[Any], Any]:
    """Starts an ONNX Runtime session on a graph, on the pool that the process's engines share."""
    import onnxruntime

    from trbert_deploy.runtimes.onnxruntime.pool import share_threads

    def start(graph: Any) -> Any:
        share_threads(None)
        options = onnxruntime.SessionOptions()
        options.use_per_session_threads = False
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])

    return start
