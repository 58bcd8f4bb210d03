"""Where TensorRT engines of a bundle lie, whichever runtime made them."""

from __future__ import annotations

from pathlib import Path

from trbert_deploy.bundle import Bundle


def engines_folder(bundle: Bundle) -> Path:
    """Where they lie unless told otherwise: ``NAME.engines`` beside the folder ``NAME``."""
    folder = bundle.folder.resolve()
    return folder.with_name(folder.name + ".engines")
