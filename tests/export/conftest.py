"""Stage graphs in fp16 and int8, each made once a session, and rows for them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import onnx
import pytest

from trbert_deploy.core.request import check_request
from trbert_deploy.core.specs import ReductionSpec


@pytest.fixture(scope="session")
def requests_of(random_rows) -> Callable[..., list[Any]]:
    """Single random rows of given lengths as checked requests."""

    def make(model, lengths, seed=0):
        names = {spec.name for spec in model.spec.inputs}
        rows = random_rows(model, lengths, seed=seed)
        return [
            check_request(model.spec, {name: array for name, array in row.items() if name in names}) for row in rows
        ]

    return make


@pytest.fixture(scope="session")
def reduction_of() -> Callable[..., ReductionSpec]:
    """How a model drops tokens under these budgets, none for policy mode."""
    from trbert_deploy.core.selection import Selection
    from trbert_deploy.export.facts import reduction_spec

    return lambda model, keep: reduction_spec(model, Selection(tuple(keep[: model.num_stages - 1])))


@pytest.fixture(scope="session")
def half_of(traced) -> Callable[..., list[onnx.ModelProto]]:
    """The stage graphs of a traced model in fp16."""
    from trbert_deploy.export.graphs import to_message
    from trbert_deploy.export.half import Half

    @functools.cache
    def make(name, by_budget):
        half = Half([output.name for output in traced(name).model.task.outputs])
        graphs = traced(name).graphs(by_budget).apply(lambda file: half)
        return [to_message(stage) for stage in graphs.stages]

    return make


@pytest.fixture(scope="session")
def ranges_of(traced, requests_of, reduction_of) -> Callable[..., list[Any]]:
    """Ranges of a traced model's stage graphs from 24 random rows."""
    from trbert_deploy.export.calibration import calibrate

    @functools.cache
    def make(name, keep):
        model = traced(name).model
        longest = min(60, model.config.backbone.max_position_embeddings)
        rows = requests_of(model, [2, 3, 5, 9, 17, *range(20, longest, (longest - 20) // 19 or 1)][:24], seed=5)
        return calibrate(traced(name).graphs(bool(keep)).stages, reduction_of(model, keep), rows)

    return make


@pytest.fixture(scope="session")
def products_of(traced) -> Callable[..., list[dict[int, list[str]]]]:
    """For each stage of a traced model the names of its layers' products, by the layer's number."""
    from trbert_deploy.export.quantize import layer_products

    def make(name, keep):
        graphs = traced(name).graphs(bool(keep))
        return [layer_products(stage.graph, graphs.layers) for stage in graphs.stages]

    return make


@pytest.fixture(scope="session")
def int8_of(traced, ranges_of, products_of) -> Callable[..., list[onnx.ModelProto]]:
    """The stage graphs of a traced model in int8, of a form."""
    from trbert_deploy.export.graphs import stage_file, to_message
    from trbert_deploy.export.quantize import Quantize

    @functools.cache
    def make(name, keep, form):
        names = [[product for own in one.values() for product in own] for one in products_of(name, keep)]
        passes = {
            stage_file(index): Quantize(ranges, form, names[index])
            for index, ranges in enumerate(ranges_of(name, keep))
        }
        return [to_message(stage) for stage in traced(name).graphs(bool(keep)).apply(passes.__getitem__).stages]

    return make
