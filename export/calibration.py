"""Activation ranges for int8: taken per stage, from the tokens that reach that stage.

Rows run one by one through the float32 stages, so that there is no padding and no range is widened by what a row alone
never shows. A stage behind a reduction sees the kept tokens only, and its ranges are theirs.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import PercentileCalibrater, TensorsData

from trbert_deploy.bundle import Bundle
from trbert_deploy.calib_data import calibration_file
from trbert_deploy.core.errors import InputError, TRBertError
from trbert_deploy.core.request import Request, check_request
from trbert_deploy.core.specs import ReductionSpec, TaskSpec
from trbert_deploy.runtimes.base import Array
from trbert_deploy.runtimes.onnxruntime.pool import pool_is_shared
from trbert_deploy.runtimes.pipeline import StagePipeline
from trbert_deploy.text.items import takes_one_text
from trbert_deploy.text.json_lines import read_json_lines
from trbert_deploy.text.rows import collate
from trbert_deploy.text.tokenizer import BundleTokenizer

#: So many rows set the ranges, and so many others tell which layers suffer.
CALIBRATION_ROWS = 64
SENSITIVITY_ROWS = 16

#: Of a tensor's values so many percent lie within its range, as ONNX Runtime's calibrater has it by default: a few
#: outliers would else cost every other value its resolution. On a 6-layer sentiment model (384 wide, policy mode) the
#: logits' mean error was 0.11 so, 0.15 with all values inside, 0.29 at 99.99.
PERCENTILE = 99.999
_BINS = 4096


def require_rows(task: TaskSpec, has_tokenizer: bool, data: Path | None) -> None:
    """Say at once that there is nothing to calibrate with; see `read_requests`.

    Raises:
        InputError: the file cannot be found.
        TRBertError: no data was given, and the reviews do not fit.
    """
    if data is not None:
        read_json_lines(data)
    elif not has_tokenizer or not takes_one_text(task):
        why = f"task {task.name} takes no plain text" if has_tokenizer else "there is no tokenizer"
        raise TRBertError(
            f"int8 needs rows to calibrate with, and the reviews that ship with the package do not fit: {why}",
            "give some: --calibration-data FILE.jsonl, about 100 lines such as the model will see",
        )


def read_requests(bundle: Bundle, data: Path | None) -> tuple[str, list[Request]]:
    """Rows to calibrate with.

    Args:
        bundle: its tokenizer, task and limits are used.
        data: JSON lines as `trbert_deploy.text.items` takes them; None for the reviews that ship with the package,
            where `require_rows` lets them pass.

    Returns:
        The data's name, and single rows: at most `CALIBRATION_ROWS` + `SENSITIVITY_ROWS`.

    Raises:
        InputError: a line cannot be used, or there is none.
    """
    task = bundle.manifest.task
    data = data or calibration_file()
    lines = list(islice(read_json_lines(data), CALIBRATION_ROWS + SENSITIVITY_ROWS))
    if not lines:
        raise InputError(f"{data} has no lines", "give about 100 lines such as the model will see")
    rows = BundleTokenizer(bundle).encode(lines)
    return data.name, [check_request(task, collate([row], task)) for row in rows]


def calibrate(
    graphs: Sequence[Path],
    reduction: ReductionSpec,
    requests: Sequence[Request],
    products: Collection[str],
    folder: Path,
    on_row: Callable[[int], None] = lambda done: None,
) -> list[TensorsData]:
    """Ranges of what matrix products read.

    Args:
        graphs: float32 stage graphs in order, or the dense graph alone.
        reduction: of the model; of the dense graph, without layers.
        requests: single rows.
        products: operators whose first inputs are wanted.
        folder: for temporary files.
        on_row: called after each row with how many are done.

    Returns:
        For each graph the lower and upper end of each tensor's range, by the tensor's name.
    """
    runner = _Watched(graphs, products, folder)
    pipeline = StagePipeline(runner, runner.inputs, reduction)
    for done, request in enumerate(requests, start=1):
        pipeline.run(request, want_kept=False)
        on_row(done)
    return [calibrater.ranges() for calibrater in runner.calibraters]


class GraphRunner:
    """Runs ONNX files as stages, on the CPU; handles are arrays."""

    def __init__(self, graphs: Sequence[Path]) -> None:
        self.sessions = [session_on(path) for path in graphs]

    @property
    def inputs(self) -> list[list[str]]:
        """For each graph the names of its inputs."""
        return [[value.name for value in session.get_inputs()] for session in self.sessions]

    def run(self, stage: int, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """See `StageRunner.run`."""
        session = self.sessions[stage]
        names = [value.name for value in session.get_outputs()]
        given = {value.name: feeds[value.name] for value in session.get_inputs()}
        return dict(zip(names, session.run(names, given), strict=True))

    def fetch(self, handle: Array) -> Array:
        """See `StageRunner.fetch`."""
        return handle


class _Watched(GraphRunner):
    """Takes note of everything that passes through a stage."""

    def __init__(self, graphs: Sequence[Path], products: Collection[str], folder: Path) -> None:
        super().__init__(graphs)
        self.calibraters = [
            _Calibrater(path, products, folder / f"watched_{index}.onnx") for index, path in enumerate(graphs)
        ]

    def run(self, stage: int, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.calibraters[stage].watch({name: feeds[name] for name in self.inputs[stage]})
        return super().run(stage, feeds)


class _Calibrater(PercentileCalibrater):  # type: ignore[misc]  # onnxruntime is untyped
    """ONNX Runtime's, of the products' inputs alone, with a session that can live beside this process's engines."""

    def __init__(self, graph: Path, products: Collection[str], augmented: Path) -> None:
        super().__init__(graph, list(products), str(augmented), percentile=PERCENTILE, num_bins=_BINS)
        self.augment_graph()
        self.create_inference_session()

    def create_inference_session(self) -> None:
        self.infer_session = session_on(Path(self.augmented_model_path))

    def select_tensors_to_calibrate(self, model: onnx.ModelProto) -> tuple[set[str], dict[str, onnx.ValueInfoProto]]:
        tensors, infos = super().select_tensors_to_calibrate(model)
        weights = {weight.name for weight in model.graph.initializer}
        read = {
            node.input[0]
            for node in model.graph.node
            if node.op_type in self.op_types_to_calibrate and node.input[1] in weights
        }
        return tensors & read, infos

    def watch(self, feeds: dict[str, Array]) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # it talks
            self.collect_data(_Once(feeds))

    def ranges(self) -> TensorsData:
        if not self.tensors_to_calibrate:
            return TensorsData(CalibrationMethod.MinMax, {})
        with contextlib.redirect_stdout(io.StringIO()):
            found: Any = self.compute_data()
        ends = {name: (np.asarray(data.lowest), np.asarray(data.highest)) for name, data in found.items()}
        return TensorsData(CalibrationMethod.MinMax, ends)


class _Once(CalibrationDataReader):  # type: ignore[misc]
    """One set of inputs."""

    def __init__(self, feeds: dict[str, Array]) -> None:
        self._feeds: dict[str, Array] | None = feeds

    def get_next(self) -> dict[str, Array] | None:
        feeds, self._feeds = self._feeds, None
        return feeds


def session_on(path: Path) -> onnxruntime.InferenceSession:
    """A CPU session on the pool that the process's engines share, if they do."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.use_per_session_threads = not pool_is_shared()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
