"""The tokenizer that came with a checkpoint, as one that can be written to tokenizer.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trbert_deploy.core.errors import CheckpointError

_FILES = ("tokenizer.json", "vocab.txt")


def load_tokenizer(folder: Path) -> Any | None:
    """The fast Hugging Face tokenizer in `folder`, or None where it holds neither tokenizer.json nor vocab.txt.

    Raises:
        CheckpointError: the files are there but cannot be read.
    """
    if not any((folder / name).is_file() for name in _FILES):
        return None
    from transformers import AutoTokenizer, BertTokenizerFast
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it would warn that it does not know our model type, which a tokenizer need not
    try:
        if (folder / "tokenizer_config.json").is_file():
            return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        return BertTokenizerFast.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise CheckpointError(f"the tokenizer in {folder} cannot be read: {error}") from error
    finally:
        logging.set_verbosity(verbosity)
