"""Checkpoints out, in our own format: config.json, model.safetensors, and the tokenizer where there is one."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from safetensors import SafetensorError
from transformers.utils import logging

from trbert_deploy.bundle.folder import whole_folder
from trbert_deploy.checkpoint.load import load_checkpoint
from trbert_deploy.checkpoint.tokenizer import load_tokenizer
from trbert_deploy.model import TRBertPreTrainedModel


def convert(source: str | Path, out: Path, *, force: bool = False) -> None:
    """Write any checkpoint that `load_checkpoint` reads in our own format.

    Args:
        source: see `load_checkpoint`.
        out: the folder to make.
        force: whether an existing checkpoint folder at `out` is replaced.

    Raises:
        CheckpointError: `source` is no usable checkpoint.
        TRBertError: `out` exists or cannot be written.
    """
    checkpoint = load_checkpoint(source)
    tokenizer = load_tokenizer(checkpoint.folder)
    with whole_folder(out, force=force, replaceable=lambda folder: (folder / "config.json").is_file()) as folder:
        save_checkpoint(checkpoint.model, folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(str(folder))


def save_checkpoint(model: TRBertPreTrainedModel, folder: Path) -> None:
    """`save_pretrained` without transformers' progress bar."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(str(folder))
    except SafetensorError as error:  # what the system said stands in its message alone
        found = re.search(r"\(os error (\d+)\)", str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number) if found else str(error)) from error
    else:
        for path in folder.glob("*.safetensors"):  # written for the owner only; the rest follows the umask
            path.chmod((folder / "config.json").stat().st_mode)
    finally:
        if shown:
            logging.enable_progress_bar()
