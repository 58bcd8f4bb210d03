"""What `build` is told: declared once, for the builder and for the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trbert_deploy.core.flags import flag

#: Which TensorRT; the full one comes first where both are installed.
FlavorChoice = Literal["auto", "tensorrt", "rtx"]


@dataclass(frozen=True)
class BuildSettings:
    """What the builder is told beside the graph.

    Attributes:
        compute_capability: of the GPU generation to build for, as ``"8.9"``; by default for the full TensorRT that of
            the GPU at hand, for TensorRT-RTX, which needs no GPU here, every one from 8.0 on.
        workspace_mib: scratch memory that a kernel may take at most, by default TensorRT's own limit.
        optimization_level: 0 builds quickest, 5 runs quickest; TensorRT's default is 3.
    """

    compute_capability: str | None = field(default=None, metadata=flag(metavar="8.9"))
    workspace_mib: int | None = field(default=None, metadata=flag("--workspace", minimum=1, metavar="MIB"))
    optimization_level: int | None = field(default=None, metadata=flag(minimum=0, maximum=5))


@dataclass(frozen=True)
class BuildOptions(BuildSettings):
    """Which engines to build, for which shapes, and where they go.

    Attributes:
        flavor: which TensorRT; auto takes the full one where both are installed.
        data: JSON lines: buckets lie at quantiles of their lengths and kept counts. By default the movie reviews that
            ship with the package where they fit the model, else buckets are powers of two.
        buckets: tokens by hand: of rows, then kept at each reduction, e.g. 128,512/64,256/32,128; one list for all.
        max_batch: rows of a group at most; larger batches are split.
        max_entries: options, sentences or candidates of a row at most.
        fused: build model.onnx too, all stages in one engine; budget mode only.
        engines: folder of the engines.
    """

    flavor: FlavorChoice = "auto"
    data: Path | None = field(default=None, metadata=flag(metavar="FILE"))
    buckets: str | None = field(default=None, metadata=flag(metavar="LENGTHS/KEPT/..."))
    max_batch: int = field(default=32, metadata=flag(minimum=1))
    max_entries: int | None = field(
        default=None, metadata=flag("--max-entries", "--max-items", minimum=1, default="as the data has")
    )
    fused: bool = False
    engines: Path | None = field(default=None, metadata=flag(default="BUNDLE.engines, beside the bundle"))
