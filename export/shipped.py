"""The bundle of the shipped model that `bench` measures without one, made at its first use."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from trbert_deploy._version import __version__
from trbert_deploy.bundle import Bundle, open_bundle
from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.core.errors import BundleError, TRBertError
from trbert_deploy.export.exporter import export_bundle
from trbert_deploy.shipped_models import DEFAULT_MODEL, shipped_folder


def shipped_bundle(progress: Callable[[str], None] = lambda line: None) -> Bundle:
    """Export `DEFAULT_MODEL`, with its dense graph, into the user's cache, or open what is there.

    A bundle there is used again as long as it is intact and was made from these weights by this release.

    Args:
        progress: is given a line for every step of an export.

    Raises:
        CheckpointError: the model is not installed.
        TRBertError: the cache cannot be written.
    """
    checkpoint = shipped_folder(DEFAULT_MODEL)
    with _cache(f"{DEFAULT_MODEL}-{_version(checkpoint)}") as folder:
        try:
            bundle = open_bundle(folder)
            bundle.require_intact()
        except BundleError:
            shutil.rmtree(folder, ignore_errors=True)
            progress(f"exporting {DEFAULT_MODEL} once, to {folder}")
            bundle = export_bundle(load_checkpoint(checkpoint), folder, with_dense=True, progress=progress)
    return bundle


@contextlib.contextmanager
def _cache(name: str) -> Iterator[Path]:
    """A place in the user's cache; of two processes one has it at a time."""
    try:
        folder = user_cache_path("trbert-deploy", appauthor=False, ensure_exists=True) / name
        lock = FileLock(folder.with_name(f".{name}.lock"))
        lock.acquire()
    except OSError as error:
        raise TRBertError(
            f"the cache cannot be written: {error}",
            f"set XDG_CACHE_HOME to another folder, or: trbert-deploy export {DEFAULT_MODEL} --out DIR --with-dense",
        ) from error
    try:
        yield folder
    finally:
        lock.release()


def _version(checkpoint: Path) -> str:
    """Of everything that the bundle is made from: this release, and the model's files."""
    digest = hashlib.sha256(__version__.encode())
    for file in sorted(checkpoint.iterdir()):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
