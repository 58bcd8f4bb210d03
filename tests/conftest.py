"""How the tests are collected and shared among processes; the fixtures that all of them may use stand in `support`."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

pytest_plugins = ("golden_models", "small_models", "traced_graphs", "bundles")

# Threads cost more than they bring on models this small, and wait for each other where the machine is busy.
# Read when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The machine that runs the tests may be slow or busy: a time limit on an example would only make them flaky.
settings.register_profile("trbert", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("trbert")

TESTS = Path(__file__).parent
#: Files that take longest are started first, so that the processes end together; those that wait for what others make
#: (the same graphs, C++ programs that are being compiled) stand apart from these.
LONGEST_FIRST = (
    "plugins/test_plugins.py",
    "runtimes/tensorrt/test_every_graph.py",
    "training/test_run.py",
    "training/test_run_resumed.py",
    "training/test_run_command.py",
    "cpp/test_answers.py",
    "test_shipped_models.py",
    "export/test_exporter.py",
    "bench/test_benchmarks.py",
    "cpp/test_sanitizers.py",
    "cpp/test_tensorrt_engines.py",
    "runtimes/tensorrt/test_builder.py",
    "cpp/test_fuzz.py",
    "cpp/test_service.py",
    "cpp/test_service_stop.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where several processes share the tests, a file's fixtures are made once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.partition("::")[0]

    config.option.loadscopereorder = False  # the order is that of `pytest_collection_modifyitems`
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import onnxruntime

    ranks = {file: rank for rank, file in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.relative_to(TESTS).as_posix(), len(ranks)))
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="this ONNX Runtime has no CUDAExecutionProvider"))


def pytest_collection_finish() -> None:
    """What is imported stays: collecting garbage need not look at it, which is a tenth of the time of tracing."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may reach the Hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="session")
def cli() -> Callable[..., Any]:
    """Runs the command line in this process: `cli("inspect", folder)` gives exit_code, stdout and stderr."""
    from typer.testing import CliRunner

    from trbert_deploy.cli.app import make_app

    def run(*arguments: object, **options: Any) -> Any:
        return CliRunner().invoke(make_app(), [str(argument) for argument in arguments], **options)

    return run
