"""What TensorRT takes of a bundle, whether its own runtime runs it or ONNX Runtime's providers do."""

from __future__ import annotations

from trbert_deploy.bundle import Bundle
from trbert_deploy.core.errors import TRBertError


class BuildError(TRBertError):
    """TensorRT does not take a graph."""


def check_mode(bundle: Bundle, mode: str) -> None:
    """See to it that TensorRT takes the graphs that a mode runs.

    Raises:
        BuildError: it does not.
    """
    check_int8_form(bundle)
    if mode == "fused":
        check_fused(bundle)


def check_int8_form(bundle: Bundle) -> None:
    """See to it that int8 has the form that TensorRT takes; see `trbert_deploy.export.quantize`.

    Raises:
        BuildError: it has the other one.
    """
    facts = bundle.manifest.quantization
    if facts is not None and facts.form != "tensorrt":
        raise BuildError(
            f"the int8 graphs of {bundle.folder} have the form for CPUs, with zero points that TensorRT refuses",
            "export it again: --precision int8 --int8-form tensorrt",
        )


def check_fused(bundle: Bundle) -> None:
    """See to it that the shapes within the fused graph follow from those of its inputs.

    Where they depend on the data, no profile holds them and nothing can be allocated before it has run. TensorRT-RTX
    1.7 does build such a graph all the same; whether and how it runs has not been tried.

    Raises:
        BuildError: how many tokens its later layers run over depends on the data.
    """
    manifest = bundle.manifest
    if not manifest.reduction.layers:
        return
    if (first := manifest.task.protected_from) is not None:
        why, mend = f"in task {manifest.task.name}, where every token from {first} on is kept,", ""
    elif manifest.reduction.mode == "policy":
        why, mend = "in policy mode", "; or export it in budget mode: --selection budget --keep 0.4,0.15"
    else:
        return
    raise BuildError(
        f"{manifest.fused.file} is no graph for TensorRT: {why} the number of tokens that go on depends on the data",
        f"the stages are made for that: build and run without the fused graph{mend}",
    )
