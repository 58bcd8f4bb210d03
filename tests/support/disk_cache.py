"""What tests make once and read often, kept on disk: bundles, traced graphs, and what C++ tests are compiled against.

The workers of a run share it and later runs find it, as long as nothing that decides its content has changed. Like the
C++ builds in `build/cpp` it stands in the repository, ignored by git, and may be deleted at any time.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".cache" / "tests"
#: What a source older than these many made is cleared away.
GENERATIONS = 3
#: Parts of the package that use what is made here and decide nothing of it.
USERS = ("bench", "cli", "training", "cpp")
#: Tests' own models, and how they are made.
MAKERS = ("conftest.py", "support", "golden", "plugins")
LIBRARIES = ("numpy", "onnx", "onnx-ir", "onnxruntime", "onnxscript", "tokenizers", "torch", "transformers")


def cached(name: str, make: Callable[[Path], object]) -> Path:
    """The file or folder of that name, which `make` writes to the path that it is given, where it is not there yet.

    It is shared: a test that changes it works on a copy.
    """
    path = _generation() / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.exists():
                partial = path.with_name(f"{path.name}.partial")
                shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
                make(partial)
                partial.rename(path)
    return path


@functools.cache
def _generation() -> Path:
    """The folder of what today's source makes; older ones but the latest are removed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    own = FOLDER / source_key()
    with FileLock(FOLDER / "lock"):
        own.mkdir(exist_ok=True)
        own.touch()
        generations = [path for path in FOLDER.iterdir() if path.is_dir()]
        for old in sorted(generations, key=lambda path: path.stat().st_mtime)[:-GENERATIONS]:
            shutil.rmtree(old)
    return own


def source_key() -> str:
    """A hash of the sources, data and versions that decide what is made."""
    digest = hashlib.sha256(sys.version.encode())
    for library in LIBRARIES:
        digest.update(f"{library} {metadata.version(library)}\n".encode())
    for file in _sources():
        digest.update(f"{file.relative_to(ROOT)}\n".encode())
        digest.update(hash_of([file]).encode())
    return digest.hexdigest()[:16]


def hash_of(files: Iterable[Path]) -> str:
    """One hash of these files' contents."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]


def _sources() -> Iterator[Path]:
    tops = [ROOT / name for name in ("trbert_deploy", "export", "runtimes", "calib_data")]
    for top in [*tops, *(ROOT / "tests" / name for name in MAKERS)]:
        for file in [top] if top.is_file() else sorted(top.rglob("*")):
            parts = file.relative_to(ROOT).parts
            if file.is_file() and file.suffix != ".pyc" and (parts[0] == "tests" or not {*parts[:2]} & {*USERS}):
                yield file
