"""benchmarks/trained_model.py: its rankings, its equal costs, and a whole run on toy checkpoints."""

import dataclasses
import json
import random
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModel

from trbert_deploy.api import load
from trbert_deploy.bundle import open_bundle
from trbert_deploy.bundle.precision import TOLERANCES
from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.core.costs import RowTokens, exact_flops
from trbert_deploy.core.errors import CheckpointError, InputError
from trbert_deploy.core.selection import budget
from trbert_deploy.export import exporter
from trbert_deploy.export.check import CheckResult
from trbert_deploy.runtimes.onnxruntime.pool import share_threads
from trbert_deploy.training.batches import TokenizedExamples
from trbert_deploy.training.data import Examples
from trbert_deploy.training.evaluation import evaluate

ROWS = 24


@pytest.fixture(scope="module")
def script(benchmark):
    return benchmark("trained_model")


@pytest.fixture(scope="module")
def rivals(benchmark):
    return benchmark("rivals")


@pytest.fixture(scope="module")
def evaluations(benchmark):
    return benchmark("evaluations")


@pytest.fixture(scope="module")
def wall_clock(benchmark):
    return benchmark("wall_clock")


@pytest.fixture(scope="module")
def tokenize(toy_tokenizer, toy_words):
    chance = random.Random(1)
    texts = [(" ".join(chance.choices(toy_words, k=length)),) for length in (1, 2, 5, 9, 17, 30, 45, 60)]
    labels = np.arange(len(texts)) % 2
    return lambda limit=48: TokenizedExamples(Examples(texts, labels, ("no", "yes")), toy_tokenizer, limit)


@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_attention_received_is_what_transformers_gives_out(rivals, backbone, tiny_model, random_rows, batch_of):
    """At the second reduction the tokens that are left attend to each other only."""
    model = tiny_model(backbone=backbone, layers=6)
    lengths = [11, 23, 2, 40]
    inputs = {name: torch.from_numpy(a) for name, a in batch_of(random_rows(model, lengths), width=48).items()}
    plain = AutoModel.from_config(model.config.backbone, attn_implementation="eager").eval()
    plain.load_state_dict(model.backbone.state_dict(), strict=False)  # but for the pooler
    known = {name: tensor for name, tensor in inputs.items() if backbone == "bert" or name != "token_type_ids"}
    with torch.inference_mode():
        attentions = plain(**known, output_attentions=True).attentions
        ranked = rivals.by_attention(model, [1, 3])
        everything = ranked(**inputs, keep=[1.0, 1.0])
        reduced = ranked(**inputs, keep=[0.5, 0.2])
        dense = model.without_reduction()(**inputs)
    whole = everything.decisions
    torch.testing.assert_close(everything.outputs, dense.outputs)
    for reduction, layer in enumerate((0, 2)):
        for row, length in enumerate(lengths):
            wanted = attentions[layer][row, :, :length, :length].sum((0, 1))
            torch.testing.assert_close(whole[reduction].scores[row, :length], wanted, rtol=1e-4, atol=1e-5)
            assert float(wanted.sum()) == pytest.approx(length * model.config.backbone.num_attention_heads, rel=1e-4)
    for row, length in enumerate(lengths):
        kept = reduced.keep_masks[0][row].nonzero().flatten().tolist()
        scores = whole[0].scores[row, :length].tolist()
        others = sorted(range(1, length), key=lambda position: -scores[position])
        assert kept == sorted([0, *others[: -(-length // 2) - 1]])
        left = reduced.decisions[1].scores[row, : len(kept)]
        assert float(left.sum()) == pytest.approx(len(kept) * model.config.backbone.num_attention_heads, rel=1e-4)


def test_rivals_keep_exactly_the_budget_and_share_the_weights(rivals, toy_run, tokenize):
    model, rows = load_checkpoint(toy_run / "model").model, tokenize()
    before = model.config.to_dict()
    wanted = np.stack([budget(rows.lengths, 0.4), budget(rows.lengths, 0.15)], axis=1)
    logits = []
    for make in (
        lambda: rivals.by_attention(model, [1, 2]),
        lambda: rivals.at_random(model, [1, 2], seed=0),
        lambda: rivals.at_random(model, [1, 2], seed=0),
        lambda: rivals.at_random(model, [1, 2], seed=1),
    ):
        rival = make()
        assert rival.backbone is model.backbone
        assert rival.head is model.head
        evaluation = evaluate(rival, rows, keep=[0.4, 0.15])
        assert np.array_equal(evaluation.kept, wanted)
        logits.append(evaluation.outputs["logits"])
    assert model.config.to_dict() == before
    assert np.array_equal(logits[1], logits[2])
    assert not np.allclose(logits[1], logits[3])
    assert not np.allclose(logits[0], logits[1])


def test_random_rankings_favour_no_place(rivals, tiny_model):
    """Each of the 39 tokens beside [CLS] is kept as often as any other, at both reductions."""
    rival = rivals.at_random(tiny_model(), [1, 2], seed=0)
    ids = torch.zeros(500, 40, dtype=torch.long)
    with torch.inference_mode():
        masks = rival(ids, keep=[0.5, 0.25]).keep_masks
    first = masks[0][:, 1:].float()
    second = torch.zeros(500, 40).masked_scatter(masks[0] > 0, masks[1][masks[1] >= 0].float())[:, 1:]
    for kept, share in ((first, 19 / 39), (second, 9 / 39)):
        assert kept.sum(1).unique().tolist() == [round(share * 39)]
        assert (kept.mean(0) - share).abs().max() < 0.1


def test_texts_are_cut_to_the_first_length_that_costs_no_less(rivals, toy_run, tokenize):
    teacher, rows = load_checkpoint(toy_run / "teacher").model, tokenize()
    whole = evaluate(teacher, rows)

    def cost(length):
        return evaluate(teacher, tokenize(length)).flops

    for share in (0.2, 0.5, 0.9):
        length = rivals.equal_cost_length(whole.costs, rows.lengths, share * whole.flops)
        assert cost(length - 1) < share * whole.flops <= cost(length)
    assert rivals.equal_cost_length(whole.costs, rows.lengths, cost(20)) == 20
    assert rivals.equal_cost_length(whole.costs, rows.lengths, whole.flops) == 48
    assert rivals.equal_cost_length(whole.costs, rows.lengths, 2 * whole.flops) == 48
    assert rivals.equal_cost_length(whole.costs, rows.lengths, 1.0) == 3
    one_row = np.array([25])
    assert rivals.equal_cost_length(whole.costs, one_row, exact_flops(whole.costs, RowTokens(12))) == 12


def test_evaluations_are_kept_for_a_run_that_is_repeated(evaluations, toy_run, tokenize, tmp_path, monkeypatch):
    model, rows = load_checkpoint(toy_run / "model").model, tokenize()
    wanted = evaluate(model, rows, keep=[])
    kept = evaluations.Evaluations(tmp_path / "evaluations")
    calls = []
    monkeypatch.setattr(
        evaluations, "evaluate", lambda *given, **options: calls.append(1) or evaluate(*given, **options)
    )
    for _ in range(2):
        evaluation = kept.evaluate("name", model, rows, [])
        assert np.array_equal(evaluation.outputs["logits"], wanted.outputs["logits"])
        for name in ("predicted", "kept", "labels", "lengths"):
            assert np.array_equal(getattr(evaluation, name), getattr(wanted, name))
        assert evaluation.costs == wanted.costs
    assert len(calls) == 1

    shorter = tokenize(20)
    other = load_checkpoint(toy_run / "model").model
    with torch.no_grad():
        other.selectors[1].score.bias += 1
    for given in (("other", model, rows, []), ("name", model, rows, [0.5, 0.2]), ("name", model, shorter, [])):
        found, computed = kept.evaluate(*given), evaluate(given[1], given[2], keep=given[3])
        assert np.array_equal(found.outputs["logits"], computed.outputs["logits"])
    assert np.array_equal(kept.evaluate("name", other, rows, []).kept, evaluate(other, rows, keep=[]).kept)
    assert len(calls) == 5


def test_standard_error_is_of_paired_rows(evaluations, toy_run, tokenize):
    evaluation = evaluate(load_checkpoint(toy_run / "teacher").model, tokenize())
    right = evaluation.labels
    wrong = np.where(np.arange(len(right)) < 2, 1 - right, right)

    def line(predicted):
        return evaluations.Line("", [dataclasses.replace(evaluation, predicted=predicted)], [])

    difference = line(wrong).minus(line(right))
    paired = np.array([-100.0, -100.0, 0, 0, 0, 0, 0, 0])
    assert difference.points == -25
    assert difference.standard_error == pytest.approx(np.sqrt(paired.var(ddof=1) / 8))
    assert line(wrong).minus(line(wrong)) == evaluations.Difference(0, 0)


@pytest.fixture
def bundles(script, wall_clock, monkeypatch):
    """Those that a run of the script exports, few rows of which are timed; their budgets are what was asked for."""
    for module in (script, wall_clock):
        monkeypatch.setattr(module, "SAMPLE", 6)
    bundles = []
    export_bundle = wall_clock.export_bundle

    def exporting(checkpoint, folder, **options):
        bundles.append(export_bundle(checkpoint, folder, **options))
        if options["keep"]:
            other = wall_clock.with_budget(bundles[-1], [0.7, 0.3])
            inputs = {"input_ids": np.full((2, 20), 7)}
            with load(other) as engine:
                selection = engine.run(**inputs, return_selection=True).selection
            assert [[len(kept) for kept in rows] for rows in selection] == [[14, 14], [6, 6]]
            assert open_bundle(folder).manifest.reduction.fractions == pytest.approx(options["keep"], abs=1e-6)
        return bundles[-1]

    monkeypatch.setattr(wall_clock, "export_bundle", exporting)
    # the checks are slow, and tested elsewhere
    monkeypatch.setattr(exporter, "check_bundle", lambda *given: CheckResult(0, TOLERANCES["fp32"]))
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)  # it would stay so for the tests that follow
    return bundles


def check_equal_costs(teacher, policy, budgets, own, cut, rivals, wanted_budgets):
    """Lines of equal cost cost the same, each budget is kept to, and chance is drawn three times."""
    assert teacher["flops_ratio"] == 1
    assert policy["flops_ratio"] > 1
    assert cut["name"].startswith("dense teacher, texts cut to ")
    assert 0.9 * policy["flops_ratio"] < cut["flops_ratio"] <= policy["flops_ratio"]
    for result in (own, *rivals):
        assert result["kept_fractions"] == own["kept_fractions"]
    for keep, result in zip(wanted_budgets, budgets, strict=True):
        assert all(kept >= wanted for kept, wanted in zip(result["kept_fractions"], keep, strict=True))
    assert [len(result["accuracies"]) for result in rivals] == [1, 3, 1, 3]


def check_timings(teacher, timed):
    """Each is timed alone and in batches, against the teacher."""
    for result in timed:
        one, many = result["wall_clock"]
        assert (one["batch_size"], many["batch_size"]) == (1, 32)
        assert len(one["latency"]["samples_ms"]) == 6
        medians = [np.median(both["wall_clock"][0]["latency"]["samples_ms"]) for both in (teacher, result)]
        assert one["speed_up"]["of_medians"] == pytest.approx(medians[0] / medians[1])


@pytest.mark.slow  # the others take its parts one by one
@pytest.mark.usefixtures("traced_once")
def test_a_whole_run_yields_every_line(script, bundles, toy_run, tmp_path, monkeypatch, capsys):
    arguments = {
        "teacher": toy_run / "teacher", "model": toy_run / "model", "data": toy_run / "rows.jsonl",
        "threads": share_threads(None), "limit": ROWS, "json": tmp_path / "out.json", "markdown": tmp_path / "out.md",
    }  # fmt: skip
    given = [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["trained_model.py", *given])
    script.main()

    text = (tmp_path / "out.md").read_text(encoding="utf-8")
    captured = capsys.readouterr()
    assert captured.out == text
    assert f"dense teacher: {ROWS} rows" in captured.err
    document = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert document["config"]["model"] == "model"
    assert document["config"]["rows"] == ROWS
    results = {result["name"]: result for result in document["results"]}
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"]
    assert [line[0] for line in cells[2:]] == list(results)
    assert {len(line) for line in cells} == {8}

    names = list(results)
    teacher, policy, *budgets, own = (results[name] for name in names[: 2 + len(script.BUDGETS) + 1])
    assert names[:3] == ["dense teacher", "TR-BERT, policy", "TR-BERT, budget 0.5, 0.25"]
    cut, rivals = results[names[-5]], [results[name] for name in names[-4:]]
    assert names[-4:] == [
        f"{owner}'s weights, policy's means, ranked by {ranking}"
        for owner in ("TR-BERT", "teacher")
        for ranking in ("attention", "chance")
    ]
    check_equal_costs(teacher, policy, budgets, own, cut, rivals, script.BUDGETS)
    for result in results.values():
        difference = result["accuracy"] - teacher["accuracy"]
        assert result["to_teacher"]["points"] == pytest.approx(difference, abs=1e-9)
    check_timings(teacher, (teacher, policy, *budgets, own, cut))
    assert not any(result["wall_clock"] for result in rivals)
    assert all(line[-2:] == ["", ""] for line in cells[-4:])
    assert len(bundles) == 3


def test_what_cannot_be_compared_is_refused(script, toy_run, tiny_model, tmp_path):
    with pytest.raises(CheckpointError, match="is no teacher"):
        script.load_models(toy_run / "model", toy_run / "model")
    with pytest.raises(InputError, match="0 reductions"):
        script.load_models(toy_run / "teacher", toy_run / "teacher")
    tiny_model(reduction_layers=[0, 2]).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="before its first layer"):
        script.load_models(toy_run / "teacher", tmp_path)
