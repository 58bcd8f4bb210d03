"""The packages under tests/plugins, installed by pip, and what the command line makes of them in its own processes."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

from forks import Forks

ROOT = Path(__file__).parents[2]
PLUGINS = ("task", "backbone", "reduction", "runtime")

#: Makes a checkpoint of random weights: folder, backbone's configuration, task, reduction and its layers.
_CHECKPOINT = """
import json, sys
import torch
from transformers import AutoTokenizer, BertTokenizerFast
from trbert_deploy.checkpoint import save_checkpoint
from trbert_deploy.model import TRBertConfig, model_class
from trbert_deploy.tasks import TASKS

folder, words, facts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
torch.manual_seed(0)
task = facts.pop("task")
model = model_class(TASKS.get(task))(TRBertConfig(**facts)).eval()
for weight in model.parameters():
    if weight.dim() > 1:
        torch.nn.init.normal_(weight, std=0.3)
save_checkpoint(model, __import__("pathlib").Path(folder))
BertTokenizerFast(words, model_max_length=48).save_pretrained(folder)
"""

WORDS = [f"w{letter}" for letter in "abcdefghijklmnop"]
BACKBONE = {
    "vocab_size": 5 + len(WORDS),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 48,
}


def install(folder: Path) -> Path:
    """Install all four into a folder, from copies, so that the repository stays as it is."""
    sources = [shutil.copytree(ROOT / "tests" / "plugins" / name, folder / "sources" / name) for name in PLUGINS]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    pip += ["--no-build-isolation", "--no-index", "--target", str(folder / "site")]
    subprocess.run([*pip, *map(str, sources)], check=True)
    return folder / "site"


class Plugged:
    """Runs programs that find the installed packages, and no other process does."""

    def __init__(self, forks: Forks) -> None:
        self._forks = forks

    def python(self, code: str, *words: object) -> str:
        """What a program prints."""
        return self._printed("-c", code, *words)

    def cli(self, *words: object) -> str:
        """What `trbert-deploy` prints."""
        return self._printed(*words)

    def checkpoint(self, folder: Path, **facts: object) -> Path:
        """A checkpoint of random weights, see `_CHECKPOINT`."""
        folder.mkdir(parents=True)
        vocabulary = folder.with_name("vocab.txt")
        vocabulary.write_text(
            "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n", encoding="utf-8"
        )
        self.python(_CHECKPOINT, folder, vocabulary, json.dumps(facts))
        return folder

    def _printed(self, *words: object) -> str:
        ended = self._forks.run(*words)
        assert ended.code == 0, f"{words}\n{ended.printed}"
        return ended.stdout


def unplugged(*arguments: object) -> str:
    """What a program prints that finds none of the packages."""
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def write_rows(file: Path) -> Path:
    """Labelled rows of random words."""
    chance = random.Random(0)
    rows = [
        {"text": " ".join(chance.choices(WORDS, k=chance.randint(3, 40))), "label": number % 2} for number in range(24)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file
