"""Checkpoints to be damaged."""

from __future__ import annotations

import shutil

import pytest


@pytest.fixture
def folder(golden, tmp_path):
    """A copy of an upstream checkpoint, to be damaged."""
    copy = tmp_path / "upstream"
    shutil.copytree(golden("bert-sequence-classification").folder, copy)
    return copy


@pytest.fixture
def own_folder(tiny_model, tmp_path):
    copy = tmp_path / "own"
    tiny_model().save_pretrained(copy)
    return copy
