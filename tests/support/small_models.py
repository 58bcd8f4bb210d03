"""Fixtures: tiny random models, rows for them, batches made of single rows, and what the reference makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")

Arrays = dict[str, np.ndarray]


def make_tiny_model(
    task: str = "sequence-classification",
    backbone: str = "bert",
    layers: int = 4,
    reduction_layers: Sequence[int] | None = None,
    seed: int = 0,
    num_labels: int = 3,
) -> Any:
    import torch

    from trbert_deploy.model import TRBertConfig, model_class
    from trbert_deploy.tasks import TASKS

    sizes = {
        "bert": {
            "num_hidden_layers": layers,
            "hidden_size": 32,
            "num_attention_heads": 4,
            "intermediate_size": 64,
        },
        "distilbert": {"n_layers": layers, "dim": 32, "n_heads": 4, "hidden_dim": 64},
    }[backbone]
    config = TRBertConfig(
        backbone={"model_type": backbone, "vocab_size": 120, "max_position_embeddings": 64, **sizes},
        reduction_layers=None if reduction_layers is None else list(reduction_layers),
        num_labels=num_labels,
    )
    generator = torch.Generator().manual_seed(seed)
    model = model_class(TASKS.get(task))(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "LayerNorm" in name or "layer_norm" in name:
                continue  # weights of 1 and biases of 0, as they are made
            # wide enough for selection to matter; biases are not zero, so that one left out is seen
            spread = 0.02 if name.endswith("bias") else 0.2
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return model.eval()


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., Any]:
    """Builds a small random model: task, backbone, layers, reduction_layers, seed, num_labels."""
    return make_tiny_model


def _random_rows(model: Any, lengths: Sequence[int], seed: int = 0, options: int = 3) -> list[Arrays]:
    rng = np.random.default_rng(seed)
    vocab_size = model.config.backbone.vocab_size
    several = model.task.sequences_axis is not None
    own = {spec.name for spec in model.task.inputs}
    rows = []
    for length in lengths:
        shape = (1, options, length) if several else (1, length)
        row = {
            "input_ids": rng.integers(0, vocab_size, shape),
            "attention_mask": np.ones(shape, dtype=np.int64),
            "token_type_ids": rng.integers(0, 2, shape),
        }
        if several:
            for option in range(1, options):  # options of a row differ in length
                row["attention_mask"][0, option, max(1, length - option) :] = 0
            row["question_ends"] = np.array([max(1, length - 3)])
        if "sentence_spans" in own:
            middle = (length - 1) // 2
            row["sentence_spans"] = np.array([[[0, middle], [middle, length - 1], [-1, -1]]])
        if "candidate_positions" in own:
            row["candidate_positions"] = np.array([[0, length // 2, -1, length - 1]])
        rows.append(row)
    return rows


@pytest.fixture(scope="session")
def random_rows() -> Callable[..., list[Arrays]]:
    """Single-row inputs of given lengths for a model; multiple choice options end at different places."""
    return _random_rows


def _batch_of(rows: Sequence[Mapping[str, np.ndarray]], width: int | None = None) -> Arrays:
    widest = max(row["input_ids"].shape[-1] for row in rows)
    batch: Arrays = {}
    for name in rows[0]:
        parts = [row[name] for row in rows]
        if name in TOKEN_INPUTS:
            parts = [
                np.pad(part, [(0, 0)] * (part.ndim - 1) + [(0, (width or widest) - part.shape[-1])]) for part in parts
            ]
        elif parts[0].ndim > 1:  # sentences and candidates: absent ones are -1
            most = max(part.shape[1] for part in parts)
            parts = [
                np.pad(part, [(0, 0), (0, most - part.shape[1])] + [(0, 0)] * (part.ndim - 2), constant_values=-1)
                for part in parts
            ]
        batch[name] = np.concatenate(parts)
    return batch


@pytest.fixture(scope="session")
def batch_of() -> Callable[..., Arrays]:
    """Pads single rows together to one batch, optionally wider than the widest row."""
    return _batch_of


def _answer(model: Any, inputs: Mapping[str, np.ndarray], keep: Sequence[float] | None = None) -> tuple[Arrays, list]:
    import torch

    from trbert_deploy.core.selection import kept_positions

    with torch.inference_mode():
        output = model(**{name: torch.from_numpy(array) for name, array in inputs.items()}, keep=keep)
    masks = [mask.numpy() for mask in output.keep_masks]
    chains = [
        kept_positions([mask[row] for mask in masks], model.full_length) for row in range(len(inputs["input_ids"]))
    ]
    kept = [[chain[step].tolist() for chain in chains] for step in range(len(masks))]
    return {name: value.numpy() for name, value in output.outputs.items()}, kept


@pytest.fixture(scope="session")
def answer() -> Callable[..., tuple[Arrays, list]]:
    """Runs the PyTorch reference on numpy inputs: outputs by name, and kept positions [reduction][row]."""
    return _answer
