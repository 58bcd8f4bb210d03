"""What lies in an engine cache, and what of it is valid here: for `inspect`."""

from __future__ import annotations

from dataclasses import dataclass

from trbert_deploy.bundle import Bundle
from trbert_deploy.runtimes.tensorrt.engine_cache import EngineCache, EngineError, read_engine
from trbert_deploy.runtimes.tensorrt.gpu import invalid_because, look_here


@dataclass(frozen=True)
class ListedEngine:
    """One engine file.

    Attributes:
        file: its name.
        graph: that it was built from; as the following, None where the file is not readable as an engine.
        precision: of the graph, and of what TensorRT made of it.
        flavor: of TensorRT, with its version.
        compute_capability: of the GPU it was built for, or ``"any"``.
        profiles: how many it has.
        bytes: of the engine.
        invalid: why it does not run here; None where it does.
    """

    file: str
    graph: str | None
    precision: str | None
    flavor: str | None
    compute_capability: str | None
    profiles: int | None
    bytes: int | None
    invalid: str | None


def list_engines(cache: EngineCache, bundle: Bundle) -> list[ListedEngine]:
    """Every engine file, read whole and checked; the one built or asked for last comes first."""
    listed = []
    paths = list(cache)
    if not paths:
        return []
    here = look_here()
    for path in paths:
        try:
            header = read_engine(path)[0]
        except EngineError as error:
            listed.append(ListedEngine(path.name, None, None, None, None, None, None, error.message))
            continue
        key = header.key
        listed.append(
            ListedEngine(
                path.name,
                header.graph,
                key.precision,
                f"{key.flavor} {key.tensorrt}",
                key.compute_capability,
                len(key.profiles),
                header.serialized_bytes,
                invalid_because(header, bundle, here),
            )
        )
    return listed
