"""Checkpoints in: our own folders, upstream TR-BERT's, plain transformers ones, and Hub ids."""

from trbert_deploy.checkpoint.encoder import is_encoder, load_encoder
from trbert_deploy.checkpoint.load import Checkpoint, folder_of, load_checkpoint, read_config
from trbert_deploy.checkpoint.save import convert, save_checkpoint
from trbert_deploy.checkpoint.tokenizer import load_tokenizer

__all__ = [
    "Checkpoint",
    "convert",
    "folder_of",
    "is_encoder",
    "load_checkpoint",
    "load_encoder",
    "load_tokenizer",
    "read_config",
    "save_checkpoint",
]
