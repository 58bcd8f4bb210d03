"""Fixtures: bundles, exported once and kept on disk."""

from __future__ import annotations

import functools
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import plugins
import pytest
import tracing
from disk_cache import cached, hash_of
from forks import Forks
from golden_models import GOLDEN
from small_models import make_tiny_model


@pytest.fixture(scope="session")
def own_copy(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Copies a folder that is cached on disk to this session's: what is written there or beside it, ends with it."""
    folder = tmp_path_factory.mktemp("bundles")
    return functools.cache(lambda cached: Path(shutil.copytree(cached, folder / cached.name)))


@pytest.fixture(scope="session")
def golden_bundle(own_copy: Callable[..., Path]) -> Callable[..., Path]:
    """Exports upstream's checkpoint of that name, with its dense graph; `keep` are budgets as on the command line.

    Tests must not change the folder: copy it first.
    """

    def export(name: str, keep: str | None = None) -> Path:
        def make(out: Path) -> None:
            from trbert_deploy.checkpoint import load_checkpoint
            from trbert_deploy.export.exporter import export_bundle

            budgets = keep and [float(budget) for budget in keep.split(",")]
            with tracing.traced_once():
                export_bundle(load_checkpoint(GOLDEN / name), out, keep=budgets, with_dense=True)

        return own_copy(cached(f"bundles/{name}-{keep}" if keep else f"bundles/{name}", make))

    return export


@pytest.fixture(scope="session")
def train_wordpiece() -> Callable[..., Path]:
    """Trains a WordPiece tokenizer of so many pieces on reviews, saves it as `vocab.txt` in a folder, returns that."""
    from tokenizers import BertWordPieceTokenizer

    from trbert_deploy.calib_data import evaluation_file
    from trbert_deploy.text.json_lines import read_json_lines

    reviews = [line["text"] for line in read_json_lines(evaluation_file())][:120]

    def train(folder: Path, pieces: int, **options: Any) -> Path:
        trained = BertWordPieceTokenizer()
        trained.train_from_iterator(reviews, vocab_size=pieces, show_progress=False, **options)
        trained.save_model(str(folder))
        return folder / "vocab.txt"

    return train


def _model_of(task: str, backbone: str, num_labels: int, whole: bool) -> Any:
    """One that has all that a bundle may have; for the others graphs that are traced anyway, or small ones."""
    if task == "token-classification":
        return make_tiny_model(task, layers=3, reduction_layers=[1, 2])
    if task == "sequence-classification":
        return make_tiny_model(task, backbone, layers=4 if whole else 2, num_labels=num_labels)
    from trbert_deploy.checkpoint import load_checkpoint

    name = f"{backbone}-{'hotpot-question-answering' if task == 'hotpot' else task}"
    return load_checkpoint(GOLDEN / name).model  # of its own: saving notes something in its configuration


@pytest.fixture(scope="session")
def cached_text_bundle(train_wordpiece: Callable[..., Path]) -> Callable[..., Path]:
    """As `text_bundle`, in the place where later runs find it too."""

    def export(task: str, backbone: str = "bert", *, num_labels: int = 3, tokenizer: bool = True) -> Path:
        def make(place: Path) -> None:
            from trbert_deploy.checkpoint import load_checkpoint, save_checkpoint
            from trbert_deploy.export.exporter import export_bundle

            whole = (task, backbone, num_labels, tokenizer) == ("sequence-classification", "bert", 3, True)
            save_checkpoint(_model_of(task, backbone, num_labels, whole), place / "model")
            if tokenizer:
                train_wordpiece(place / "model", 120, limit_alphabet=36)
            with tracing.traced_once():
                export_bundle(load_checkpoint(place / "model"), place / "bundle", with_dense=whole)

        name = f"{task}-{backbone}-{num_labels}-{'text' if tokenizer else 'ids'}"
        return cached(f"bundles/{name}", make) / "bundle"

    return export


@pytest.fixture(scope="session")
def text_bundle(
    cached_text_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Exports a tiny random model of a task with a WordPiece tokenizer trained on reviews.

    Tests must not change the folder: copy it first.
    """

    @functools.cache
    def copy(cached: Path) -> Path:
        return Path(shutil.copytree(cached, tmp_path_factory.mktemp("text-bundles") / "bundle"))

    return lambda *given, **options: copy(cached_text_bundle(*given, **options))


@pytest.fixture(scope="session")
def toy_words() -> list[str]:
    """The vocabulary of `toy_tokenizer`."""
    return [f"word{number}" for number in range(30)]


@pytest.fixture(scope="session")
def toy_tokenizer(toy_words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import BertTokenizerFast

    vocabulary = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *toy_words]), encoding="utf-8")
    return BertTokenizerFast(vocab=str(vocabulary))


@pytest.fixture(scope="session")
def toy_run(toy_words: list[str], toy_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of `teacher`, `model`, which shares its weights, and `rows.jsonl`, as a training leaves them."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from trbert_deploy.checkpoint import load_checkpoint, save_checkpoint
    from trbert_deploy.training.initial import with_selectors

    folder = tmp_path_factory.mktemp("run")
    config = BertConfig(
        vocab_size=5 + len(toy_words), hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=48, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(folder / "plain")
    teacher = load_checkpoint(folder / "plain").model
    model = with_selectors(teacher, seed=0)
    for selector in model.selectors:
        torch.nn.init.normal_(selector.dense.weight)
        torch.nn.init.normal_(selector.score.weight)
    for name, saved in (("teacher", teacher), ("model", model)):
        save_checkpoint(saved, folder / name)
        toy_tokenizer.save_pretrained(folder / name)
    chance = random.Random(0)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as lines:
        for _ in range(29):
            text = " ".join(chance.choices(toy_words, k=chance.randint(3, 60)))
            lines.write(json.dumps({"text": text, "label": chance.randint(0, 1)}) + "\n")
    return folder


@pytest.fixture(scope="session")
def shipped_bundle(own_copy: Callable[..., Path]) -> Path:
    """The model that ships with the project, exported without its reference. Tests must not change the folder."""
    from trbert_deploy.checkpoint import load_checkpoint
    from trbert_deploy.export.exporter import export_bundle
    from trbert_deploy.shipped_models import DEFAULT_MODEL, shipped_folder

    def make(out: Path) -> None:
        with tracing.traced_once():
            export_bundle(load_checkpoint(DEFAULT_MODEL), out, reference=False)

    files = sorted(path for path in shipped_folder(DEFAULT_MODEL).iterdir() if path.is_file())
    return own_copy(cached(f"bundles/shipped-{hash_of(files)}", make))


@pytest.fixture(scope="session")
def plugged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[plugins.Plugged]:
    """The packages under tests/plugins, installed for programs of their own, not for this process."""
    with Forks(plugins.install(tmp_path_factory.mktemp("plugged"))) as forks:
        yield plugins.Plugged(forks)


@pytest.fixture(scope="session")
def plugged_bundle(plugged: plugins.Plugged, own_copy: Callable[..., Path]) -> Callable[[str], Path]:
    """Bundles of their parts: "task" is trained with the attended reduction, "backbone" has selectors.

    Tests must not change the folder.
    """

    def make_task(out: Path) -> None:
        backbone = {"model_type": "bert", **plugins.BACKBONE}
        dense = plugged.checkpoint(
            out / "dense", task="mean-pooled-classification", backbone=backbone, reduction_layers=[], num_labels=2
        )
        rows = plugins.write_rows(out / "rows.jsonl")
        quick = ["--samples", "2", "--batch-size", "8", "--selector-epochs", "1", "--joint-epochs", "1"]
        plugged.cli("train", dense, "--data", rows, "--out", out / "run", "--reduction", "attended", *quick)
        trained = out / "run" / "alpha-1" / "model"
        plugged.cli("export", trained, "--out", out / "bundle", "--with-dense", "--keep", "0.5")

    def make_backbone(out: Path) -> None:
        backbone = {"model_type": "roformer", "embedding_size": 24, **plugins.BACKBONE}
        model = plugged.checkpoint(out / "model", task="sequence-classification", backbone=backbone, num_labels=2)
        plugged.cli("export", model, "--out", out / "bundle", "--with-dense")

    makers = {"task": make_task, "backbone": make_backbone}
    return functools.cache(lambda name: own_copy(cached(f"bundles/plugin-{name}", makers[name])) / "bundle")
