"""What trainings are tested on: reductions, tokenizers, models, texts, and files of rows."""

from __future__ import annotations

import csv
import gzip
import json
import lzma
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from loop_runs import ROWS, forget_accelerate
from marker_texts import CONFIG, FILLERS, MARKERS, write_texts
from naive_training import Naive
from transformers import BertModel, BertTokenizerFast

from trbert_deploy.reductions import REDUCTIONS
from trbert_deploy.reductions.selector import SelectorReduction
from trbert_deploy.training.batches import TokenizedExamples
from trbert_deploy.training.data import Examples
from trbert_deploy.training.initial import with_selectors

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", "good", "bad", "film", "plot", "dull", "great"]


class HaltingReduction(SelectorReduction):
    """TR-BERT's selectors, but a token that leaves goes on being attended to."""

    name = "halting"
    fate = "attended"
    foreign_classes: ClassVar[Mapping[str, Any]] = {}  # the selectors' own


@pytest.fixture(scope="session")
def halting() -> Iterator[str]:
    """Name of a reduction whose tokens stay attended."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REDUCTIONS._own, "halting", "")
        patch.setitem(REDUCTIONS._loaded, "halting", HaltingReduction())
        yield "halting"


@pytest.fixture(scope="session")
def halting_model(halting: str, tiny_model: Callable[..., Any]) -> Callable[..., Any]:
    """As `tiny_model`, with the same weights, but the reduction is `halting`."""

    def make(**options: Any) -> Any:
        dropping = tiny_model(**options)
        model = with_selectors(dropping.without_reduction(), seed=0, reduction=halting)
        model.selectors.load_state_dict(dropping.selectors.state_dict())
        return model

    return make


@pytest.fixture(scope="session")
def naive() -> Callable[[Any], Naive]:
    """Makes the slow reading of a model; the model itself is left alone."""
    return Naive


@pytest.fixture(scope="session")
def tensors_of() -> Callable[[dict[str, np.ndarray]], dict[str, torch.Tensor]]:
    return lambda arrays: {name: torch.from_numpy(array) for name, array in arrays.items()}


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small vocab.txt and nothing else."""
    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder


@pytest.fixture(scope="session")
def tokenizer(vocabulary: Path) -> Any:
    """transformers' own, of `vocabulary`."""
    from transformers import BertTokenizerFast

    return BertTokenizerFast.from_pretrained(str(vocabulary))


@pytest.fixture
def fresh_accelerate() -> Iterator[None]:
    """accelerate keeps one state a process, which other tests may have made differently."""
    forget_accelerate()
    yield
    forget_accelerate()


@pytest.fixture(scope="module")
def examples(tokenizer: Any) -> TokenizedExamples:
    """Rows of random letters for `loop_runs`."""
    rng = np.random.default_rng(0)
    texts = [(" ".join(rng.choice(list("abcdefgh"), rng.integers(1, 9))),) for _ in range(ROWS)]
    return TokenizedExamples(Examples(texts, rng.integers(0, 3, ROWS), ("x", "y", "z")), tokenizer, 16)


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """datasets keeps what it has read."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows to a file of a kind; every row has the same columns."""

    def to(kind: str, rows: Sequence[Mapping[str, Any]], name: str = "rows") -> Path:
        file = tmp_path / f"{name}.{kind}"
        if kind == "csv":
            with file.open("w", newline="", encoding="utf-8") as out:
                writer = csv.DictWriter(out, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        elif kind == "parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        else:
            opener = {"xz": lzma.open, "gz": gzip.open}.get(kind.rpartition(".")[2], open)
            with opener(file, "wt", encoding="utf-8") as out:
                out.writelines(json.dumps(row) + "\n" for row in rows)
        return file

    return to


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with random weights and a vocabulary of markers and fillers."""
    folder = tmp_path_factory.mktemp("encoder")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *MARKERS.values(), *FILLERS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(CONFIG).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """2000 labelled texts of fillers, each with a marker."""
    return write_texts(tmp_path_factory.mktemp("texts") / "texts.jsonl", 2000)
