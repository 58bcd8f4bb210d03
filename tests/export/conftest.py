"""Stage graphs in fp16 and int8, each made once a session, and rows for them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import onnx
import pytest

from trbert_deploy.core.request import Limits, check_request


@pytest.fixture(scope="session")
def requests_of(random_rows) -> Callable[..., list[Any]]:
    """Single random rows of given lengths as checked requests."""

    def make(model, lengths, seed=0):
        backbone = model.config.backbone
        limits = Limits(backbone.max_position_embeddings, backbone.vocab_size, 2 if model.has_token_types else 0)
        return [check_request(model.task, limits, row) for row in random_rows(model, lengths, seed=seed)]

    return make


@pytest.fixture(scope="session")
def half_of(traced) -> Callable[..., list[onnx.ModelProto]]:
    """The stage graphs of a traced model in fp16."""
    from trbert_deploy.export.half import to_half

    @functools.cache
    def make(name, by_budget):
        outputs = [output.name for output in traced(name).model.task.outputs]
        return [to_half(graph, outputs) for graph in traced(name).stages(by_budget)]

    return make


@pytest.fixture(scope="session")
def ranges_of(traced, requests_of, tmp_path_factory) -> Callable[..., tuple[list[Any], list[Any]]]:
    """Paths of a traced model's stage graphs, and their ranges from 24 random rows."""
    from trbert_deploy.export.calibration import calibrate
    from trbert_deploy.export.quantize import PRODUCTS

    @functools.cache
    def make(name, keep):
        folder = tmp_path_factory.mktemp("ranges")
        paths = []
        for index, graph in enumerate(traced(name).stages(bool(keep))):
            paths.append(folder / f"stage_{index}.onnx")
            onnx.save(graph, paths[-1])
        model = traced(name).model
        longest = min(60, model.config.backbone.max_position_embeddings)
        rows = requests_of(model, [2, 3, 5, 9, 17, *range(20, longest, (longest - 20) // 19 or 1)][:24], seed=5)
        return paths, calibrate(paths, keep, rows, PRODUCTS, folder)

    return make


@pytest.fixture(scope="session")
def int8_of(traced, ranges_of) -> Callable[..., list[onnx.ModelProto]]:
    """The stage graphs of a traced model in int8, of a form."""
    from trbert_deploy.export.quantize import to_int8

    @functools.cache
    def make(name, keep, form):
        _, ranges = ranges_of(name, keep)
        layers = range(len(traced(name).model.encoder_layers))
        graphs = traced(name).stages(bool(keep))
        return [to_int8(graph, own, form, layers) for graph, own in zip(graphs, ranges, strict=True)]

    return make
