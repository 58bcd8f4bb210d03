"""The verbs that write, as commands, each with what says that nothing of it is damaged."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forks import Forks
from safetensors import safe_open

from trbert_deploy.bundle import open_bundle
from trbert_deploy.core import strict_json

#: What a writer has beside its result while it is at work.
_LEFT = re.compile(r"\.(partial|writing|retired)-|\.(turn|lock)$")


@dataclass(frozen=True)
class Verb:
    """A verb that writes.

    Attributes:
        words: the command, given the folder that it may write in.
        check: complains where what stands in that folder is neither whole nor not there at all.
        done: whether the result stands there.
    """

    words: Callable[[Path], tuple[object, ...]]
    check: Callable[[Path], None]
    done: Callable[[Path], bool]


def left_behind(folder: Path) -> list[str]:
    """What writers have left in a folder."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".*") if _LEFT.search(path.name)]


def writing_verbs(forks: Forks, toy: Path, given: Path) -> dict[str, Verb]:
    """The verbs by name.

    Args:
        forks: runs what their inputs are made by.
        toy: the folder of a small training run: `teacher`, `model` and `rows.jsonl`.
        given: a folder for inputs.
    """
    made = forks.run("export", toy / "model", "--out", given / "bundle")
    assert made.code == 0, made.printed
    items = [json.loads(line) for line in (toy / "rows.jsonl").read_text().splitlines()]
    (given / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items * 100))
    answered = forks.run("predict", given / "bundle", "--data", given / "items.jsonl", "--out", given / "answers.jsonl")
    assert answered.code == 0, answered.printed
    answers = (given / "answers.jsonl").read_bytes()

    def check_answers(place: Path) -> None:
        file = place / "answers.jsonl"
        assert not file.exists() or file.read_bytes() == answers

    short = ("--fine-tune-epochs", 1, "--selector-epochs", 1, "--joint-epochs", 1, "--batch-size", 8, "--hold-out", 0.3)
    return {
        "export": Verb(
            lambda place: ("export", toy / "model", "--out", place / "bundle", "--force"),
            _check_bundle,
            lambda place: (place / "bundle" / "manifest.json").is_file(),
        ),
        "predict": Verb(
            lambda place: (
                "predict", given / "bundle", "--data", given / "items.jsonl", "--out", place / "answers.jsonl",
                "--force",
            ),
            check_answers,
            lambda place: (place / "answers.jsonl").is_file(),
        ),
        "build": Verb(
            lambda place: (
                "build", given / "bundle", "--flavor", "rtx", "--engines", place / "engines", "--buckets", 8,
                "--max-batch", 1, "--compute-capability", "8.9", "--optimization-level", 0,
            ),
            _check_engines,
            lambda place: len(list((place / "engines").glob("*.engine"))) == 3,
        ),
        "train": Verb(
            lambda place: (
                "train", toy / "teacher", "--data", toy / "rows.jsonl", "--out", place / "run", "--save-every", 1,
                "--max-length", 32, "--samples", 2, *short,
            ),
            _check_run,
            lambda place: (place / "run" / "results.json").is_file(),
        ),
    }  # fmt: skip


def _check_bundle(place: Path) -> None:
    if (place / "bundle").exists():
        open_bundle(place / "bundle").require_intact()


def _check_engines(place: Path) -> None:
    from trbert_deploy.runtimes.tensorrt.engine_cache import read_engine

    for file in (place / "engines").glob("*.engine"):
        read_engine(file)


def _check_run(place: Path) -> None:
    for file in place.rglob("*.json"):
        strict_json.read(file, most_bytes=2**20)
    for folder in place.rglob("*"):
        if folder.is_dir() and folder.name in ("teacher", "selectors", "model") and not folder.name.startswith("."):
            with safe_open(folder / "model.safetensors", "numpy") as weights:
                for name in weights.keys():  # noqa: SIM118 (it is no dict)
                    weights.get_tensor(name)
            strict_json.read(folder / "config.json", most_bytes=2**20)
            strict_json.read(folder / "tokenizer.json", most_bytes=2**20)
