"""What is loaded is what the manifest vouches for: the files that a runtime is about to read, and what they lead to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from trbert_deploy.bundle.onnx_external import external_files
from trbert_deploy.bundle.reader import EXPORT_AGAIN, Bundle
from trbert_deploy.core.errors import BundleError, shortened


def require_vouched(bundle: Bundle, names: Sequence[str], *, hashes: bool) -> None:
    """See that files may be loaded.

    Args:
        bundle: whose.
        names: of its files, as the manifest has them. ONNX files are looked through for others that hold their tensors.
        hashes: whether all of them are compared with their sha256 too.

    Raises:
        BundleError: one differs from the manifest, or takes tensors from a file that the manifest does not name.
    """
    if hashes:
        bundle.require_intact(names)
    others = [other for name in names if name.endswith(".onnx") for other in _tensor_files(bundle, name)]
    if hashes:
        bundle.require_intact(others)


def files_of_folder(bundle: Bundle, folder: str) -> list[str]:
    """The files of a folder of the bundle, for readers that choose among what they find there.

    Args:
        bundle: whose.
        folder: its name in the manifest.

    Raises:
        BundleError: a file stands there that the manifest does not name. Hidden ones do not count: nothing reads them.
    """
    named = [name for name in bundle.manifest.files if name.startswith(f"{folder}/")]
    for path in sorted(bundle.path(folder).rglob("*")):
        place = path.relative_to(bundle.folder)
        hidden = any(part.startswith(".") for part in place.parts)
        if place.as_posix() not in named and not path.is_dir() and not hidden:
            raise BundleError(
                f"the bundle {bundle.folder} holds {shortened(place.as_posix())}, which its manifest does not name",
                f"remove it, or {EXPORT_AGAIN}",
            )
    return named


def _tensor_files(bundle: Bundle, graph: str) -> list[str]:
    names = [(PurePosixPath(graph).parent / location).as_posix() for location in external_files(bundle.path(graph))]
    for name in names:
        if name not in bundle.manifest.files:
            raise BundleError(
                f"{bundle.path(graph)} takes tensors from {shortened(name)}, which the manifest does not name",
                EXPORT_AGAIN,
            )
    return names
