"""Shared fixtures: upstream's recorded cases, tiny random models, and batches made of single rows."""

from __future__ import annotations

import functools
import gc
import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plugins
import pytest
import tracing
from disk_cache import cached, hash_of
from forks import Forks
from hypothesis import settings

# Threads cost more than they bring on models this small, and wait for each other where the machine is busy.
# Read when torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The machine that runs the tests may be slow or busy: a time limit on an example would only make them flaky.
settings.register_profile("trbert", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("trbert")

TESTS = Path(__file__).parent
#: Files that take longest are started first, so that the processes end together.
LONGEST_FIRST = (
    "cpp/test_sanitizers.py",
    "plugins/test_plugins.py",
    "runtimes/tensorrt/test_every_graph.py",
    "cpp/test_answers.py",
    "training/test_run.py",
    "runtimes/tensorrt/test_builder.py",
    "test_shipped_models.py",
    "export/test_exporter.py",
    "examples/test_triton.py",
    "bench/test_benchmarks.py",
    "bench/test_trained_model.py",
    "cpp/test_fuzz.py",
    "cpp/test_service.py",
)
GOLDEN = TESTS / "golden"
GOLDEN_NAMES = sorted(path.parent.name for path in GOLDEN.glob("*/cases.json"))
BUDGET = (0.4, 0.15)
#: Models of `traced` and their budgets, none for policy mode: every task, both backbones, both modes.
SELECTING = [
    ("bert-sequence-classification", ()),
    ("bert-sequence-classification", BUDGET),
    ("bert-hotpot-question-answering", ()),
    ("distilbert-question-answering", BUDGET),
    ("distilbert-multiple-choice", ()),
    ("distilbert-multiple-choice", BUDGET),
    ("bert-wikihop", BUDGET),
    ("tokens", ()),
]
TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class GoldenRow:
    """One row that upstream answered alone.

    Attributes:
        inputs: int64 arrays with a batch dimension of 1.
        outputs: upstream's float arrays, with a batch dimension of 1.
        kept: for each reduction that upstream ran, kept positions in the original row, ascending; None where
            upstream recorded none (its DistilBERT QA class).
        kept_fraction: kept tokens by the original length, for each reduction that ran, where recorded.
    """

    inputs: Arrays
    outputs: Arrays
    kept: list[list[int]] | None
    kept_fraction: list[float] | None


@dataclass(frozen=True)
class GoldenCase:
    """One of upstream's classes: its checkpoint, loaded, and its answers."""

    name: str
    folder: Path
    upstream_class: str
    model: Any
    rows: list[GoldenRow]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden_name" in metafunc.fixturenames:
        metafunc.parametrize("golden_name", GOLDEN_NAMES)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where several processes share the tests, a file's fixtures are made once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.partition("::")[0]

    config.option.loadscopereorder = False  # the order is that of `pytest_collection_modifyitems`
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import onnxruntime

    ranks = {file: rank for rank, file in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path.relative_to(TESTS).as_posix(), len(ranks)))
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="this ONNX Runtime has no CUDAExecutionProvider"))


def pytest_collection_finish() -> None:
    """What is imported stays: collecting garbage need not look at it, which is a tenth of the time of tracing."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@functools.cache
def _golden(name: str) -> GoldenCase:
    from trbert_deploy.checkpoint import load_checkpoint

    cases = json.loads((GOLDEN / name / "cases.json").read_text(encoding="utf-8"))
    rows = []
    for row in cases["rows"]:
        upstream = dict(row["upstream"])
        steps = upstream.pop("kept_indices_by_score")
        fraction = upstream.pop("kept_fraction", None)
        chained: list[list[int]] = []
        for step in steps:  # positions in the step's own input, which is ordered as the step before gathered it
            chained.append([chained[-1][position] for position in step] if chained else step)
        rows.append(
            GoldenRow(
                {key: np.asarray([value], dtype=np.int64) for key, value in row["input"].items()},
                {key: np.asarray([value]) for key, value in upstream.items()},
                [sorted(step) for step in chained] or None,
                fraction,
            )
        )
    model = load_checkpoint(GOLDEN / name).model
    return GoldenCase(name, GOLDEN / name, cases["upstream_class"], model, rows)


@pytest.fixture(scope="session")
def golden_names() -> list[str]:
    return GOLDEN_NAMES


@pytest.fixture(scope="session")
def golden() -> Callable[[str], GoldenCase]:
    """Loads upstream's case of that name; the model is shared, so tests must not change it."""
    return _golden


def _tiny_model(
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
    return _tiny_model


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


class Traced:
    """A model's graphs, each traced when it is first asked for."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._graphs: dict[Any, Any] = {}

    def stage(self, index: int, by_budget: bool) -> Any:
        """The ONNX graph of a stage; the last one is the same in both modes."""
        key = (index, by_budget and index < self.model.num_stages - 1)
        if key not in self._graphs:
            self._graphs[key] = tracing.stage(self.model, *key)
        return self._graphs[key]

    def stages(self, by_budget: bool) -> list[Any]:
        return [self.stage(index, by_budget) for index in range(self.model.num_stages)]

    def dense(self) -> Any:
        """The graph without reduction."""
        if "dense" not in self._graphs:
            self._graphs["dense"] = tracing.dense(self.model)
        return self._graphs["dense"]

    def fused(self, keep: Sequence[float]) -> Any:
        from trbert_deploy.export.fuse import fuse
        from trbert_deploy.export.graphs import to_message

        return to_message(fuse(self.graphs(bool(keep)).stages, keep, self.model.spec))

    def graphs(self, by_budget: bool) -> Any:
        """The stages as `trbert_deploy.export` has them in memory."""
        from trbert_deploy.export.graphs import Graphs, from_message
        from trbert_deploy.export.trace import layer_names

        stages = tuple(from_message(stage) for stage in self.stages(by_budget))
        return Graphs(stages, layer_names(self.model))


@functools.cache
def _traced(name: str) -> Traced:
    import torch

    if name in GOLDEN_NAMES:
        return Traced(_golden(name).model)
    if name == "tokens":
        return Traced(_tiny_model("token-classification", layers=3, reduction_layers=[1, 2]))
    if name == "all-equal":  # every logit is zero
        model = _tiny_model("question-answering", "distilbert", layers=2, reduction_layers=[0, 1])
        with torch.no_grad():
            for selector in model.selectors:
                for parameter in selector.parameters():
                    parameter.zero_()
        return Traced(model)
    if name == "pairs":
        # Selects before the first layer, without positions: equal ids have equal logits to the last bit. The
        # factor takes GELU to where it is the identity or zero: no approximation of erf can part equals.
        model = _tiny_model(layers=1, reduction_layers=[0])
        with torch.no_grad():
            model.backbone.embeddings.position_embeddings.weight.zero_()
            (selector,) = model.selectors
            for parameter in selector.parameters():
                parameter.zero_()
            selector.dense.weight[0, 0] = 1e4
            selector.score.weight[0, 0] = 1.0
        return Traced(model)
    raise KeyError(name)


@pytest.fixture(scope="session")
def traced() -> Callable[[str], Traced]:
    """Graphs of a golden case, of ``tokens`` (token classification), or of the ties ``all-equal``, ``pairs``."""
    return _traced


@pytest.fixture(
    params=SELECTING, ids=[f"{name}-{'budget' if keep else 'policy'}" for name, keep in SELECTING], scope="module"
)
def selecting(request: pytest.FixtureRequest) -> tuple[str, tuple[float, ...]]:
    """Name of a traced model, and its budget, none for policy mode; every task, both backbones, both modes."""
    case: tuple[str, tuple[float, ...]] = request.param
    return case


@pytest.fixture(scope="session")
def traced_model() -> Callable[[Any], Traced]:
    """Graphs of any model, each traced when it is first asked for."""
    return Traced


@pytest.fixture(scope="session", autouse=True)
def torchs_exporter_quick() -> Iterator[None]:
    """Measuring coverage, Python up to 3.11 looks at every call, and torch's exporter makes so many that it takes twice
    the time; what it runs of ours, the eager reference runs too."""
    import torch

    export, watch = torch.onnx.export, sys.gettrace()

    def unwatched(*arguments: Any, **options: Any) -> Any:
        sys.settrace(None)
        try:
            return export(*arguments, **options)
        finally:
            sys.settrace(watch)

    with pytest.MonkeyPatch.context() as patch, tracing.operators_read_once():
        patch.setattr(torch.onnx, "export", unwatched)
        yield


@pytest.fixture(scope="module")
def traced_once() -> Iterator[None]:
    """Exports in this process trace no graph that any test traced before; for tests of what comes after tracing."""
    with tracing.traced_once():
        yield


@pytest.fixture(scope="session")
def session_of() -> Callable[[Any], Any]:
    """Starts an ONNX Runtime session on a graph, on the pool that the process's engines share."""
    import onnxruntime

    from trbert_deploy.runtimes.onnxruntime.pool import share_threads

    def start(graph: Any) -> Any:
        share_threads(None)
        options = onnxruntime.SessionOptions()
        options.use_per_session_threads = False
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])

    return start


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may reach the Hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture(scope="session")
def cli() -> Callable[..., Any]:
    """Runs the command line in this process: `cli("inspect", folder)` gives exit_code, stdout and stderr."""
    from typer.testing import CliRunner

    from trbert_deploy.cli.app import make_app

    def run(*arguments: object, **options: Any) -> Any:
        return CliRunner().invoke(make_app(), [str(argument) for argument in arguments], **options)

    return run


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


@pytest.fixture(scope="session")
def cached_text_bundle(train_wordpiece: Callable[..., Path]) -> Callable[..., Path]:
    """As `text_bundle`, in the place where later runs find it too."""

    def export(task: str, backbone: str = "bert", *, num_labels: int = 3, tokenizer: bool = True) -> Path:
        def make(place: Path) -> None:
            from trbert_deploy.checkpoint import load_checkpoint, save_checkpoint
            from trbert_deploy.export.exporter import export_bundle

            # One has all that a bundle may have; the others, which are there for their texts, export in half the time.
            whole = (task, backbone) == ("sequence-classification", "bert")
            model = _tiny_model(task, backbone, layers=4 if whole else 2, num_labels=num_labels)
            save_checkpoint(model, place / "model")
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
