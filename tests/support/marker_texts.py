"""Texts of filler words in which a marker word decides the label, and how a small BERT is trained on them."""

from __future__ import annotations

import json
import random
from pathlib import Path

from transformers import BertConfig

from trbert_deploy.training.arguments import TrainingArguments

MARKERS = {"negative": "bad", "positive": "good"}
FILLERS = [f"word{number}" for number in range(40)]
CONFIG = BertConfig(
    vocab_size=5 + len(MARKERS) + len(FILLERS),
    hidden_size=32,
    num_hidden_layers=4,
    num_attention_heads=2,
    intermediate_size=64,
    max_position_embeddings=40,
    initializer_range=0.05,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
ARGUMENTS = TrainingArguments(
    batch_size=32,
    hold_out=0.1,
    selector_epochs=2,
    selector_learning_rate=1e-2,
    joint_epochs=1,
    joint_learning_rate=1e-4,
    save_every=10,
    log_every=5,
)


def write_texts(file: Path, rows: int) -> Path:
    """Write labelled texts, the same ones each time."""
    chance = random.Random(0)
    with file.open("w", encoding="utf-8") as lines:
        for _ in range(rows):
            label = chance.choice(sorted(MARKERS))
            words = chance.choices(FILLERS, k=chance.randint(12, 30))
            words[chance.randrange(len(words))] = MARKERS[label]
            lines.write(json.dumps({"text": " ".join(words), "label": label}) + "\n")
    return file
