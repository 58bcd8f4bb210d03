"""A training that can be understood: texts of filler words in which a marker word decides the label."""

from __future__ import annotations

import json
import math
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from forks import Forks
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizerFast

from trbert_deploy.bundle import open_bundle
from trbert_deploy.checkpoint import load_checkpoint, load_tokenizer
from trbert_deploy.core.attributes import attribute_docs
from trbert_deploy.core.errors import CheckpointError, InputError, TRBertError
from trbert_deploy.reductions import REDUCTIONS
from trbert_deploy.text.tokenizer import BundleTokenizer
from trbert_deploy.training.arguments import TrainingArguments
from trbert_deploy.training.metrics import read_metrics
from trbert_deploy.training.reporting import Reporter
from trbert_deploy.training.run import train


class KilledError(Exception):
    """The end of a process."""


class Told(Reporter):
    """Remembers everything, in order: notes, warnings and how far it is; ends the run after a step of a phase."""

    def __init__(self, phase=None, step=None, end=KilledError):
        self.phase, self.step, self.end = phase, step, end
        self.notes, self.warnings, self.progresses, self.order = [], [], [], []

    def note(self, line):
        self.notes.append(line)
        self.order.append("note")

    def warn(self, line):
        self.warnings.append(line)
        self.order.append("warning")

    def progress(self, progress):
        self.progresses.append(progress)
        self.order.append(progress.part)
        if self.phase and progress.part.endswith(self.phase) and progress.done == self.step:
            raise self.end


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


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """A BERT with random weights and a vocabulary of markers and fillers."""
    folder = tmp_path_factory.mktemp("encoder")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *MARKERS.values(), *FILLERS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(CONFIG).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def classifier(encoder, texts, tmp_path_factory) -> Path:
    """transformers' own classifier, fitted to the texts without our trainer.

    No token sees another in its layer 0, so at the first reduction [CLS] knows nothing yet: without the marker, the
    answer is a guess.
    """
    torch.manual_seed(0)
    model = BertForSequenceClassification(CONFIG).train()
    blind = model.bert.encoder.layer[0].attention.output.dense.requires_grad_(False)
    torch.nn.init.zeros_(blind.weight)
    rows = [json.loads(line) for line in texts.read_text(encoding="utf-8").splitlines()]
    encoded = load_tokenizer(encoder)([row["text"] for row in rows], padding=True, return_tensors="pt")
    labels = torch.tensor([sorted(MARKERS).index(row["label"]) for row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(150):
        batch = torch.arange(step * 64, (step + 1) * 64) % len(rows)
        model(**{name: tensor[batch] for name, tensor in encoded.items()}, labels=labels[batch]).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("classifier")
    model.config.id2label = dict(enumerate(sorted(MARKERS)))
    model.save_pretrained(folder)
    load_tokenizer(encoder).save_pretrained(folder)
    return folder


def write_texts(file: Path, rows: int) -> Path:
    chance = random.Random(0)
    with file.open("w", encoding="utf-8") as lines:
        for _ in range(rows):
            label = chance.choice(sorted(MARKERS))
            words = chance.choices(FILLERS, k=chance.randint(12, 30))
            words[chance.randrange(len(words))] = MARKERS[label]
            lines.write(json.dumps({"text": " ".join(words), "label": label}) + "\n")
    return file


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    return write_texts(tmp_path_factory.mktemp("texts") / "texts.jsonl", 2000)


@pytest.fixture(scope="module")
def told():
    """What `trained` told."""
    return Told()


@pytest.fixture(scope="module")
def trained(classifier, texts, told, tmp_path_factory):
    """Two prices of tokens: none at all, and a fair one."""
    out = tmp_path_factory.mktemp("trained") / "run"
    return out, train(classifier, texts, out, ARGUMENTS, alphas=[1.0, 0.0], device="cpu", reporter=told)


def test_selectors_learn_to_keep_markers_and_to_drop_the_rest(trained, texts):
    """Of two markers one is enough: where it is missing, it was the other."""
    out, _ = trained
    model = load_checkpoint(out / "alpha-1" / "model").model
    tokenizer = load_tokenizer(out / "alpha-1" / "model")
    number, kept_number = Counter(), Counter()
    for line in texts.read_text(encoding="utf-8").splitlines()[:300]:
        ids = tokenizer(json.loads(line)["text"])["input_ids"]
        words = tokenizer.convert_ids_to_tokens(ids)
        kept = model(torch.tensor([ids])).keep_masks[0][0].tolist()
        kinds = [word if word in MARKERS.values() else "filler" for word in words[1:-1]]
        number.update(kinds)
        kept_number.update(kind for kind, stays in zip(kinds, kept[1:-1], strict=True) if stays)
    share = {kind: kept_number[kind] / number[kind] for kind in number}
    assert number["good"] + number["bad"] == 300
    assert max(share["good"], share["bad"]) > 0.97
    assert share["filler"] < 0.02


def test_accuracy_is_kept_and_operations_are_saved(trained):
    _, results = trained
    free, priced = results.models
    assert (free.alpha, priced.alpha) == (0.0, 1.0)
    assert results.rows == 200
    assert results.teacher_accuracy > 98
    assert results.teacher_accuracy - priced.accuracy <= 1
    assert priced.flops_ratio > 2.5
    assert priced.kept[0] < 0.1
    assert sum(priced.kept) <= sum(free.kept)


def test_the_run_folder_holds_what_the_docstring_says(trained):
    out, results = trained
    assert sorted(path.name for path in out.iterdir() if path.name[0] != ".") == [
        "alpha-0", "alpha-1", "arguments.json", "results.json", "results.md", "teacher",
        "teacher_outputs.npz", "trade_off.png",
    ]  # fmt: skip
    for folder in ("alpha-0", "alpha-1"):
        assert sorted(path.name for path in (out / folder).iterdir()) == [
            "metrics.jsonl", "model", "run.png", "selectors",
        ]  # fmt: skip
    report = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert report["command"] == "train"
    assert report["config"]["joint_epochs"] == 1
    assert report["results"]["models"][1]["accuracy"] == results.models[1].accuracy
    assert (out / "results.md").read_text(encoding="utf-8").count("\n| alpha") == 2
    for picture in out.rglob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    phases = {line["phase"] for line in read_metrics(out / "alpha-1" / "metrics.jsonl")}
    assert phases == {"selectors", "joint"}
    assert {"reward", "kept_1", "kept_2", "accuracy", "loss"} <= set(read_metrics(out / "alpha-1/metrics.jsonl")[0])


def test_every_class_is_measured_beside_the_accuracy(trained, texts):
    out, results = trained
    report = json.loads((out / "results.json").read_text(encoding="utf-8"))["results"]
    majority = report["majority"]
    assert majority["label"] in MARKERS
    assert 50 <= majority["rate"] < 60
    for model, accuracy in [(report["models"][1], results.models[1].accuracy)]:
        assert [one["label"] for one in model["classes"]] == sorted(MARKERS)
        rows = [one["rows"] for one in model["classes"]]
        assert sum(rows) == report["rows"] == 200
        right = sum(one["recall"] / 100 * count for one, count in zip(model["classes"], rows, strict=True))
        assert right / 200 * 100 == pytest.approx(accuracy)
        assert model["macro_f1"] == pytest.approx(np.mean([one["f1"] for one in model["classes"]]))
    assert report["teacher_macro_f1"] > 98
    text = (out / "results.md").read_text(encoding="utf-8")
    assert "| model | accuracy, % | macro F1, % |" in text
    assert f"| always {majority['label']} | {majority['rate']:.2f} |" in text
    assert text.count("\n| negative | ") == text.count("\n| positive | ") == 3  # teacher, and two alphas


def test_a_header_comes_first_and_then_how_long_it_still_takes(trained, told):
    assert told.notes == [
        "training on 1800 rows, 32 a step; evaluating on 200; phases: alpha 0 selectors 112 steps; "
        "alpha 0 joint 56 steps; alpha 1 selectors 112 steps; alpha 1 joint 56 steps"
    ]
    assert told.order[0] == "note"
    parts = list(dict.fromkeys(told.order[1:]))
    assert parts == [
        "evaluating teacher",
        "alpha 0 selectors", "checking alpha 0", "the teacher's outputs", "alpha 0 joint",
        "evaluating alpha 0",
        "alpha 1 selectors", "checking alpha 1", "alpha 1 joint", "evaluating alpha 1",
    ]  # fmt: skip
    left = [progress.seconds_left for progress in told.progresses]
    assert left[0] is None
    assert None not in left[1:]  # from the first bit that was done
    assert left[-1] == 0
    assert told.warnings == []
    bits = [progress.done for progress in told.progresses if progress.part == "alpha 0 selectors"]
    assert bits[:6] == [0, 0.25, 0.5, 0.75, 1, 1.25]  # also within a step, which may take minutes


def test_the_teachers_outputs_are_its_own(trained, texts):
    out, _ = trained
    teacher = load_checkpoint(out / "teacher").model
    assert teacher.num_stages == 1
    with np.load(out / "teacher_outputs.npz") as arrays:
        assert arrays.files == ["logits"]
        logits = arrays["logits"]
    assert logits.shape == (1800, 2)
    assert np.isin(logits.argmax(-1), [0, 1]).all()
    assert logits.dtype == np.float32


@pytest.fixture(scope="module")
def short_run(encoder, tmp_path_factory):
    """A training in one go, and how to train the same elsewhere; dropout and sampling are at work."""
    folder = tmp_path_factory.mktemp("short")
    data = write_texts(folder / "few.jsonl", 270)
    short = {"fine_tune_epochs": 1.0, "selector_epochs": 1.0, "joint_epochs": 1.0, "samples": 2}
    arguments = TrainingArguments(dropout=0.1, batch_size=16, save_every=6, **short)

    def train_into(out, **options):
        train(encoder, data, out, arguments, alphas=[0.5], device="cpu", **options)

    train_into(folder / "whole")
    return folder / "whole", train_into


@pytest.mark.parametrize(("phase", "step"), [("fine-tuning", 11), ("selectors", 12), ("joint", 13)])
def test_a_killed_run_goes_on_to_the_same_weights(phase, step, short_run, tmp_path):
    """The random generators have to be restored too."""
    whole_folder, train_into = short_run
    killed = tmp_path / "killed"
    with pytest.raises(KilledError):
        train_into(killed, reporter=Told(phase, step))
    assert not (killed / "alpha-0.5" / "model").exists()
    train_into(killed)
    for part in ("teacher", "alpha-0.5/selectors", "alpha-0.5/model"):
        whole = load_checkpoint(whole_folder / part).model.state_dict()
        resumed = load_checkpoint(killed / part).model.state_dict()
        assert whole.keys() == resumed.keys()
        for name, tensor in whole.items():
            assert torch.equal(tensor, resumed[name]), (part, name)
    for metrics in ("metrics.jsonl", "alpha-0.5/metrics.jsonl"):
        whole_lines, resumed_lines = (read_metrics(run / metrics) for run in (whole_folder, killed))
        assert [line["step"] for line in whole_lines] == [line["step"] for line in resumed_lines]


def test_an_interrupted_run_says_how_to_go_on_and_from_where_it_does(encoder, tmp_path):
    data = write_texts(tmp_path / "few.jsonl", 120)
    short = {"fine_tune_epochs": 1.0, "selector_epochs": 1.0, "joint_epochs": 0.5, "samples": 2}
    arguments = TrainingArguments(batch_size=16, save_every=3, device="cpu", **short)
    told = Told("selectors", 5, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        train(encoder, data, tmp_path / "run", arguments, reporter=told)
    assert told.notes[-1] == "interrupted in alpha 1 selectors; the same command again goes on after its step 3"

    told = Told("joint", 1, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        train(encoder, data, tmp_path / "run", arguments, reporter=told)
    assert told.notes == [
        "training on 114 rows, 16 a step; evaluating on 6; phases: fine-tuning 7 steps, done; "
        "alpha 1 selectors 7 steps, from step 3 on; alpha 1 joint 4 steps",
        "interrupted in alpha 1 joint; the same command again goes on from its beginning",
    ]
    assert next(progress.done for progress in told.progresses if progress.part == "alpha 1 selectors") == 3

    told = Told("evaluating teacher", 6, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        train(encoder, data, tmp_path / "run", arguments, reporter=told)
    assert told.notes[-1] == f"interrupted; {tmp_path / 'run'} keeps what is done: the same command again goes on"


def test_a_teacher_at_chance_and_selectors_without_a_choice_are_warned_of_in_time(encoder, tmp_path):
    data = write_texts(tmp_path / "few.jsonl", 120)
    arguments = TrainingArguments(
        batch_size=16, samples=4, device="cpu", alphas=(1e4,), selector_epochs=4, selector_learning_rate=0.05,
        fine_tune_epochs=0.1, fine_tune_learning_rate=1e-9, joint_epochs=0.1, joint_learning_rate=1e-9,
    )  # fmt: skip
    told = Told()
    results = train(encoder, data, tmp_path / "run", arguments, reporter=told)
    chance, check, alone = told.warnings
    assert "it has learned nothing that selectors could keep" in chance
    assert told.order.index("warning") < told.order.index("alpha 10000 selectors")
    assert "alpha 10000: the selectors keep nothing but the first token of 6 rows" in check
    assert told.order[: told.order.index("alpha 10000 joint")].count("warning") == 2
    assert alone == check
    assert results.warnings == [chance, alone]
    assert json.loads((tmp_path / "run/results.json").read_text(encoding="utf-8"))["results"]["warnings"] == [
        chance,
        alone,
    ]
    assert f"Warning: {chance}." in (tmp_path / "run/results.md").read_text(encoding="utf-8")


def test_a_model_whose_tokens_stay_attended_is_trained_whole(halting, classifier, texts, tmp_path):
    """The same texts, another reduction: markers are kept, and saving less than where tokens are gone."""
    short = {"samples": 4, "joint_epochs": 0.5}
    results = train(classifier, texts, tmp_path / "run", ARGUMENTS, reduction=halting, device="cpu", **short)
    (trained,) = results.models
    model = load_checkpoint(trained.folder).model
    assert (model.config.reduction, model.full_length) == ("halting", True)
    assert results.teacher_accuracy - trained.accuracy <= 1
    assert trained.kept[0] < 0.1
    assert 1.5 < trained.flops_ratio < 2.5
    with pytest.raises(InputError, match="reduction was halting, now selector"):
        train(classifier, texts, tmp_path / "run", ARGUMENTS, **short)


def test_a_run_of_an_earlier_version_goes_on(trained, classifier, texts, tmp_path):
    """It knew fewer arguments, and measured the accuracy alone."""
    run = shutil.copytree(trained[0], tmp_path / "run")
    asked = json.loads((run / "arguments.json").read_text(encoding="utf-8"))
    for name in ("alphas", "device", "reduction"):
        del asked[name]
    (run / "arguments.json").write_text(json.dumps(asked), encoding="utf-8")
    report = json.loads((run / "results.json").read_text(encoding="utf-8"))
    report["results"]["models"] = [
        {name: model[name] for name in ("alpha", "folder", "accuracy", "kept", "flops_ratio")}
        for model in report["results"]["models"]
    ]
    (run / "results.json").write_text(json.dumps(report), encoding="utf-8")
    free, priced = train(classifier, texts, run, ARGUMENTS, alphas=[1.0], device="cpu").models
    assert (free.accuracy, free.quality.macro_f1) == (trained[1].models[0].accuracy, None)
    assert priced.quality == trained[1].models[1].quality


def test_a_run_goes_on_under_the_same_arguments_only(trained, classifier, texts):
    out, _ = trained
    other = TrainingArguments(**{**vars(ARGUMENTS), "joint_epochs": 2})
    with pytest.raises(InputError, match="joint_epochs was 1, now 2"):
        train(classifier, texts, out, other, alphas=[1.0])


def test_a_finished_run_is_not_trained_again(trained, classifier, texts):
    out, results = trained
    told = Told()
    again = train(classifier, texts, out, ARGUMENTS, alphas=[1.0], device="cpu", reporter=told)
    assert {progress.part for progress in told.progresses} == {"evaluating teacher", "evaluating alpha 1"}
    assert again.models == results.models  # the other alpha's is remembered


def test_a_folder_of_something_else_is_left_alone(encoder, texts, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious", encoding="utf-8")
    with pytest.raises(InputError, match="holds no training run"):
        train(encoder, texts, tmp_path, ARGUMENTS)


def test_nothing_is_written_for_data_that_cannot_be_read(encoder, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(TRBertError, match="does not exist"):
        train(encoder, tmp_path / "none.jsonl", out, ARGUMENTS)
    assert not out.exists()


def test_nothing_is_written_for_a_reduction_that_cannot_be_learned(encoder, texts, tmp_path, monkeypatch, halting):
    with pytest.raises(CheckpointError, match="reduction 'guess' is not one of selector"):
        train(encoder, texts, tmp_path / "run", ARGUMENTS, reduction="guess")
    monkeypatch.setattr(REDUCTIONS.get(halting), "make_score", lambda config: torch.nn.Identity())
    with pytest.raises(CheckpointError, match="the scores of reduction halting have no weights to learn"):
        train(encoder, texts, tmp_path / "run", ARGUMENTS, reduction=halting)
    assert not (tmp_path / "run").exists()


def test_nothing_is_written_for_an_argument_that_there_is_not(encoder, texts, tmp_path):
    with pytest.raises(TypeError, match=r"train\(\) takes no alpha; it takes alphas, eval_data, "):
        train(encoder, texts, tmp_path / "run", alpha=1.0)
    assert not (tmp_path / "run").exists()


def test_nothing_is_written_for_fewer_rows_than_a_step_takes(encoder, tmp_path):
    data = write_texts(tmp_path / "few.jsonl", 30)
    with pytest.raises(InputError, match="28 rows do not fill a batch of 32"):
        train(encoder, data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_is_written_for_data_that_the_model_cannot_take(encoder, tmp_path):
    model = shutil.copytree(encoder, tmp_path / "model")
    tokenizer = load_tokenizer(model)
    tokenizer.add_tokens(["unheard"])
    tokenizer.save_pretrained(model)
    rows = [{"text": "good" if number else "unheard", "label": number % 2} for number in range(40)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(CheckpointError, match="unheard"):
        train(model, data, tmp_path / "run", ARGUMENTS)
    assert not (tmp_path / "run").exists()


def test_the_command_trains_and_names_the_next_one(cli, encoder, tmp_path):
    data = write_texts(tmp_path / "few.jsonl", 100)
    result = cli(
        "train", encoder, "--data", data, "--out", tmp_path / "run", "--alphas", "2,0.5", "--device", "cpu", "--json",
        "--fine-tune-epochs", 1, "--joint-epochs", 1, "--batch-size", 16, "--samples", 2,
        "--labels", "negative,positive",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    said = result.stderr.splitlines()
    assert said[0].startswith(
        "training on 95 rows, 16 a step; evaluating on 5; phases: fine-tuning 5 steps; alpha 0.5 selectors "
    )
    (ended,) = (line for line in said if line.startswith("alpha 0.5 joint: 5 of 5 steps, "))
    assert ended.endswith(" left")
    report = json.loads(result.stdout)
    assert [model["alpha"] for model in report["results"]["models"]] == [0.5, 2.0]
    model = tmp_path / "run" / "alpha-2" / "model"  # the first that was asked for
    assert result.stderr.splitlines()[-1] == f"next: trbert-deploy export {model} --out bundle --with-dense"
    assert load_checkpoint(model).model.config.id2label == {0: "negative", 1: "positive"}


def test_ctrl_c_says_how_to_go_on(encoder, tmp_path):
    data = write_texts(tmp_path / "few.jsonl", 100)
    command = [
        sys.executable, "-m", "trbert_deploy", "train", encoder, "--data", data, "--out", tmp_path / "run",
        "--device", "cpu", "--batch-size", "16", "--fine-tune-epochs", "5000",
    ]  # fmt: skip
    with subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True) as process:
        begun = [next(line for line in process.stderr if line.startswith("fine-tuning: 0 of"))]
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert begun
    assert "interrupted in fine-tuning; the same command again goes on " in rest
    assert "Traceback" not in rest


def test_an_export_cuts_rows_where_the_training_did(cli, encoder, tmp_path):
    """The model has 40 positions; bundle, checkpoints and training agree on fewer, in a run that went on too."""
    data = write_texts(tmp_path / "few.jsonl", 60)
    arguments = TrainingArguments(
        max_length=20, batch_size=16, samples=2, fine_tune_epochs=1, selector_epochs=1, joint_epochs=1
    )
    run = tmp_path / "run"

    with pytest.raises(KilledError):
        train(encoder, data, run, arguments, device="cpu", reporter=Told("joint", 1))
    first = train(encoder, data, run, arguments, device="cpu")
    for part in ("teacher", "alpha-1/selectors", "alpha-1/model"):
        assert load_tokenizer(run / part).model_max_length == 20
    assert train(encoder, data, run, arguments, device="cpu") == first
    result = cli("export", run / "alpha-1" / "model", "--out", tmp_path / "bundle")
    assert result.exit_code == 0, result.stderr
    (row,) = BundleTokenizer.of(open_bundle(tmp_path / "bundle")).encode([{"text": " ".join(FILLERS)}])
    assert row.truncated
    assert row.length == 20


def weights_of(folder):
    """All but keys' biases: they change no softmax, so their gradients are rounding, which Adam magnifies."""
    weights = load_checkpoint(folder).model.state_dict()
    return {name: weight for name, weight in weights.items() if not name.endswith("key.bias")}


#: One of several processes, as torchrun starts it; its rank and a free port come before the command.
RANK = """
import os, sys

rank, port, *words = sys.argv[1:]
os.environ |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
from trbert_deploy.cli.main import main

sys.argv = ["trbert-deploy", *words]
main()
"""


def free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return any_port.getsockname()[1]


def test_two_processes_train_one_model(encoder, tmp_path):
    """Data parallelism over gloo: both go through every step, and one of them writes and reports.

    Fine-tuned is what one process makes of the same rows; the phases after it draw other samples.
    """
    data = write_texts(tmp_path / "few.jsonl", 120)
    command = [
        "train", encoder, "--data", data, "--out", tmp_path / "run", "--device", "cpu", "--json", "--samples", "2",
        "--fine-tune-epochs", "1", "--joint-epochs", "1", "--save-every", "3", "--batch-size", "8",
        "--micro-batch-size", "4",
    ]  # fmt: skip
    port = free_port()
    with Forks() as forks:
        result, other = forks.together([("-c", RANK, rank, port, *command) for rank in range(2)])
    assert (result.code, other.code) == (0, 0), result.stderr + other.stderr
    assert other.stdout == ""
    report = json.loads(result.stdout)
    assert report["config"]["processes"] == 2
    steps = [line["step"] for line in read_metrics(tmp_path / "run" / "alpha-1" / "metrics.jsonl")]
    assert steps == [3, 6, 7, 3, 6, 7]  # 114 rows, 16 a step
    assert load_checkpoint(tmp_path / "run" / "alpha-1" / "model").has_selectors

    arguments = TrainingArguments(batch_size=16, fine_tune_epochs=1)
    with pytest.raises(KilledError):
        train(encoder, data, tmp_path / "alone", arguments, device="cpu", reporter=Told("selectors", 1))
    ours, alone = (weights_of(tmp_path / run / "teacher") for run in ("run", "alone"))
    torch.testing.assert_close(ours, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 1}, "samples must be at least 2"),
        ({"joint_epochs": 0}, "joint_epochs must be greater than 0"),
        ({"selector_epochs": math.inf}, "selector_epochs must be greater than 0 and finite, not inf"),
        ({"fine_tune_epochs": math.nan}, "fine_tune_epochs must be greater than 0 and finite, not nan"),
        ({"joint_learning_rate": math.inf}, "joint_learning_rate must be greater than 0 and finite, not inf"),
        ({"warmup": 1.5}, "warmup must lie between 0 and 1"),
        ({"hold_out": 0.0}, "hold_out must be greater than 0 and less than 1"),
        ({"hold_out": 1.0}, "hold_out must be greater than 0 and less than 1"),
        ({"precision": "int8"}, "one of no, bf16, fp16"),
        ({"device": "tpu"}, "device 'tpu' is not one of cpu, cuda"),
        ({"alphas": ()}, "alphas must be numbers from 0 on"),
        ({"labels": ("a", "a")}, "different names"),
        ({"seed": -1}, "seed must be 0 at least"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        TrainingArguments(**arguments)


def test_every_argument_says_what_it_is():
    """The command line shows it."""
    docs = attribute_docs(TrainingArguments)
    assert list(docs) == [field.name for field in fields(TrainingArguments)]
    assert all(docs.values())


@pytest.mark.parametrize("alpha", [math.inf, math.nan, -1.0])
def test_alphas_that_mean_nothing_are_refused(alpha, encoder, texts, tmp_path):
    with pytest.raises(InputError, match="alphas must be numbers from 0 on"):
        train(encoder, texts, tmp_path / "run", ARGUMENTS, alphas=[1.0, alpha])
    assert not (tmp_path / "run").exists()


def test_the_commands_help_says_which_hold_outs_are_refused(cli):
    shown = cli("train", "--help", env={"COLUMNS": "300"}).stdout
    (line,) = (line for line in shown.splitlines() if line.strip(" │").startswith("--hold-out"))
    assert "greater than 0 and less than 1" in line
    assert "<=" not in line
