"""Open a bundle: validate its manifest, find its files, check their hashes."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from trbert_deploy.bundle.manifest import MANIFEST_FILE, SCHEMA_VERSION, Manifest
from trbert_deploy.bundle.schema_1 import from_schema_1
from trbert_deploy.core.errors import BundleError

_OLDEST_MAJOR = 1
_VERSION = re.compile(r"[0-9]{1,6}\.[0-9]{1,6}", re.ASCII)
_EXPORT_AGAIN = "export the bundle again: trbert-deploy export MODEL --out DIR"


@dataclass(frozen=True)
class Bundle:
    """An open bundle: its folder and its valid manifest."""

    folder: Path
    manifest: Manifest

    def path(self, name: str) -> Path:
        """Where a file of the bundle lies."""
        return self.folder / name

    def damaged_files(self, names: Iterable[str] | None = None) -> Iterator[str]:
        """Compare files with their sha256 and yield a sentence for each that differs.

        Args:
            names: which files; by default all.
        """
        for name in self.manifest.files if names is None else names:
            wanted = self.manifest.files[name]
            path = self.path(name)
            if not path.is_file():
                yield f"{name} is missing"
            elif path.stat().st_size != wanted.bytes:
                yield f"{name} has {path.stat().st_size} bytes, the manifest says {wanted.bytes}"
            elif sha256_of(path) != wanted.sha256:
                yield f"the sha256 of {name} is not the manifest's"

    def require_intact(self, names: Iterable[str] | None = None) -> None:
        """Check hashes.

        Raises:
            BundleError: a file differs from the manifest.
        """
        if damage := list(self.damaged_files(names)):
            raise BundleError(f"the bundle {self.folder} is damaged: {'; '.join(damage)}", _EXPORT_AGAIN, damage)


def open_bundle(folder: str | Path) -> Bundle:
    """Open a bundle without loading a runtime.

    The manifest is validated and every file must be there in its full size; hashes are left to
    `Bundle.require_intact`, which reads every byte.

    Raises:
        BundleError: it is not a bundle, not of this version, or incomplete.
    """
    folder = Path(folder)
    try:
        text = (folder / MANIFEST_FILE).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        if folder.is_file():
            raise BundleError(f"{folder} is a file, not a bundle", "give the folder that `export` wrote") from None
        what = "has no manifest.json" if folder.is_dir() else "does not exist"
        raise BundleError(
            f"{folder} is not a bundle: it {what}", "make one: trbert-deploy export MODEL --out DIR"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(f"{folder / MANIFEST_FILE} cannot be read: {error}") from error
    try:
        raw = json.loads(text)
    except json.JSONDecodeError as error:
        raise BundleError(f"{folder / MANIFEST_FILE} is not valid JSON: {error}", _EXPORT_AGAIN) from error
    major = _major_version(raw, folder)
    try:
        manifest = Manifest.model_validate(from_schema_1(raw) if major == 1 else raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BundleError(
            f"{folder / MANIFEST_FILE} does not follow the schema: {where}: {first['msg']}", _EXPORT_AGAIN
        ) from error
    bundle = Bundle(folder, manifest)
    for name, facts in manifest.files.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BundleError(f"{folder / MANIFEST_FILE} names a file outside the bundle: {name}")
        path = bundle.path(name)
        if not path.is_file() or path.stat().st_size != facts.bytes:
            damage = next(bundle.damaged_files([name]))
            raise BundleError(f"the bundle {folder} is incomplete: {damage}", _EXPORT_AGAIN, [damage])
    _check_references(bundle)
    return bundle


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
                f"{bundle.folder / MANIFEST_FILE} refers to {name}, which is not among its files", _EXPORT_AGAIN
            )


def _major_version(raw: object, folder: Path) -> int:
    """The schema's major version, which this release reads.

    Raises:
        BundleError: there is none, or it is another.
    """
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise BundleError(f"{folder / MANIFEST_FILE} has no schema_version", _EXPORT_AGAIN)
    major, ours = (int(text.partition(".")[0]) for text in (version, SCHEMA_VERSION))
    if not _OLDEST_MAJOR <= major <= ours:
        mend = "upgrade trbert-deploy" if major > ours else _EXPORT_AGAIN
        raise BundleError(
            f"the bundle {folder} is of schema version {version}, this release reads {_OLDEST_MAJOR}.x to {ours}.x",
            mend,
        )
    return major


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
