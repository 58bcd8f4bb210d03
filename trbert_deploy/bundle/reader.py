"""Open a bundle: validate its manifest, find its files, check their hashes."""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from trbert_deploy.bundle.manifest import MANIFEST_FILE, SCHEMA_VERSION, Manifest
from trbert_deploy.bundle.schema_1 import from_schema_1
from trbert_deploy.core import strict_json
from trbert_deploy.core.errors import BundleError, shortened

#: A larger manifest is not read. Those that `export` writes have tens of thousands of bytes.
MOST_BYTES = 16 * 2**20

EXPORT_AGAIN = "export the bundle again: trbert-deploy export MODEL --out DIR"

_OLDEST_MAJOR = 1
_VERSION = re.compile(r"[0-9]{1,6}\.[0-9]{1,6}", re.ASCII)

#: Size, time of change and place on the disk: where these are as they were, so is the content.
_Signature = tuple[int, int, int, int]


@dataclass(frozen=True)
class Bundle:
    """An open bundle: its folder and its valid manifest."""

    folder: Path
    manifest: Manifest
    _intact: dict[str, _Signature] = field(default_factory=dict, init=False, repr=False, compare=False)

    def path(self, name: str) -> Path:
        """Where a file of the bundle lies."""
        return self.folder / name

    def damaged_files(self, names: Iterable[str] | None = None) -> Iterator[str]:
        """Compare files with their sha256 and yield a sentence for each that differs.

        A file that was found whole is not hashed a second time unless it has changed since.

        Args:
            names: which files; by default all.
        """
        for name in self.manifest.files if names is None else names:
            if damage := self.damage(name):
                yield damage

    def damage(self, name: str, *, content: bool = True) -> str:
        """What is wrong with one of the files that the manifest names; empty where nothing is.

        Args:
            name: which.
            content: whether to hash it; else its place and its size alone are checked.
        """
        wanted = self.manifest.files[name]
        path = self.path(name)
        try:
            found = path.stat()
            if not path.resolve().is_relative_to(_root(self.folder.resolve())):
                return f"{name} is a link that leaves the bundle"
            if not stat.S_ISREG(found.st_mode):
                return f"{name} is not a file"
            if found.st_size != wanted.bytes:
                return f"{name} has {found.st_size} bytes, the manifest says {wanted.bytes}"
            signature = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
            if content and self._intact.get(name) != signature:
                if sha256_of(path) != wanted.sha256:
                    return f"the sha256 of {name} is not the manifest's"
                self._intact[name] = signature
        except (FileNotFoundError, NotADirectoryError):
            return f"{name} is missing"
        except OSError as error:
            return f"{shortened(name)} cannot be read: {error.strerror or error}"
        return ""

    def require_intact(self, names: Iterable[str] | None = None) -> None:
        """Check hashes.

        Args:
            names: see `damaged_files`.

        Raises:
            BundleError: a file differs from the manifest.
        """
        if damage := list(self.damaged_files(names)):
            raise BundleError(f"the bundle {self.folder} is damaged: {'; '.join(damage)}", EXPORT_AGAIN, damage)


def open_bundle(folder: str | Path) -> Bundle:
    """Open a bundle without loading a runtime.

    The manifest is validated and every file must be there in its full size; hashes are left to
    `Bundle.require_intact`, which reads every byte.

    Raises:
        BundleError: it is not a bundle, not of this version, or incomplete; a file that it names is outside of it.
    """
    folder = Path(folder)
    path = folder / MANIFEST_FILE
    bundle = Bundle(folder, _validated(_read(folder), path))
    for name in bundle.manifest.files:
        if not _is_inside(name):
            raise BundleError(f"{path} names a file outside the bundle: {shortened(name)}", EXPORT_AGAIN)
        if damage := bundle.damage(name, content=False):
            raise BundleError(f"the bundle {folder} is incomplete: {damage}", EXPORT_AGAIN, [damage])
    _check_references(bundle)
    return bundle


def _read(folder: Path) -> Any:
    """The manifest as JSON.

    Raises:
        BundleError: there is none that can be read.
    """
    path = folder / MANIFEST_FILE
    try:
        return strict_json.read(path, most_bytes=MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        if folder.is_file():
            raise BundleError(f"{folder} is a file, not a bundle", "give the folder that `export` wrote") from None
        what = "has no manifest.json" if folder.is_dir() else "does not exist"
        raise BundleError(
            f"{folder} is not a bundle: it {what}", "make one: trbert-deploy export MODEL --out DIR"
        ) from None
    except OSError as error:
        raise BundleError(f"{shortened(str(path))} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON: {error}", EXPORT_AGAIN) from error


def _validated(raw: Any, path: Path) -> Manifest:
    """The manifest, of whichever version it is.

    Raises:
        BundleError: it does not follow its schema.
    """
    major = _major_version(raw, path)
    try:
        # As JSON, so that nothing is taken for what it is not: no "12" for a number, no 1 for true.
        return Manifest.model_validate_json(json.dumps(from_schema_1(raw) if major == 1 else raw), strict=True)
    except ValidationError as error:
        raise BundleError(f"{path} does not follow the schema: {describe(error)}", EXPORT_AGAIN) from error
    except ValueError as error:
        raise BundleError(f"{path} does not follow the schema: {shortened(str(error), 400)}", EXPORT_AGAIN) from error


def describe(error: ValidationError) -> str:
    """What pydantic complains of first, and of which field."""
    first = error.errors()[0]
    where = ".".join(shortened(str(part)) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    return shortened(f"{where}: {what}" if where else what, 400)


def _root(folder: Path) -> Path:
    """What links of a bundle may not leave: itself, or the cache of the Hugging Face Hub, whose snapshots are links."""
    model = folder.parent.parent
    return model if folder.parent.name == "snapshots" and (model / "blobs").is_dir() else folder


def _is_inside(name: str) -> bool:
    """Whether a name stands for a place in the bundle, on every system."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and not {"\\", ":", "\0"} & set(name)


def _check_references(bundle: Bundle) -> None:
    """Everything that the manifest refers to is one of the files that it vouches for."""
    manifest = bundle.manifest
    names = [graph.file for graph in manifest.graphs] + [manifest.golden]
    if manifest.quantization is not None:
        names.append(manifest.quantization.sensitivity)
    if manifest.reference is not None:
        names.append(f"{manifest.reference}/config.json")
    if manifest.tokenizer is not None:
        names.append(f"{manifest.tokenizer.folder}/tokenizer.json")
        names += [manifest.tokenizer.onnx] if manifest.tokenizer.onnx else []
    for name in names:
        if name not in manifest.files:
            raise BundleError(
                f"{bundle.folder / MANIFEST_FILE} refers to {shortened(name)}, which is not among its files",
                EXPORT_AGAIN,
            )


def _major_version(raw: object, path: Path) -> int:
    """The schema's major version, which this release reads.

    Raises:
        BundleError: there is none, or it is another.
    """
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise BundleError(f"{path} has no schema_version", EXPORT_AGAIN)
    major, ours = (int(text.partition(".")[0]) for text in (version, SCHEMA_VERSION))
    if not _OLDEST_MAJOR <= major <= ours:
        mend = "upgrade trbert-deploy" if major > ours else EXPORT_AGAIN
        raise BundleError(
            f"the bundle {path.parent} is of schema version {version}, this release reads {_OLDEST_MAJOR}.x to "
            f"{ours}.x",
            mend,
        )
    return major


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
