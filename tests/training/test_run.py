"""A training that can be understood: texts of filler words in which a marker word decides the label."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from marker_texts import ARGUMENTS, CONFIG, MARKERS, write_texts
from training_told import Told
from transformers import BertForSequenceClassification

from trbert_deploy.checkpoint import load_checkpoint, load_tokenizer
from trbert_deploy.core.errors import InputError
from trbert_deploy.training.arguments import TrainingArguments
from trbert_deploy.training.metrics import read_metrics
from trbert_deploy.training.run import train


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
