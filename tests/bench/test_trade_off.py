"""benchmarks/trade_off.py on toy checkpoints."""

import json
import shutil
import sys

import torch

from trbert_deploy.checkpoint import load_checkpoint, save_checkpoint


def test_every_model_gets_a_point_and_a_rival(benchmark, toy_run, tmp_path, monkeypatch, capsys):
    checkpoint = load_checkpoint(toy_run / "model")
    for selector in checkpoint.model.selectors:
        selector.score.bias.data += 0.5
    shutil.copytree(toy_run / "model", tmp_path / "keeps-more")
    save_checkpoint(checkpoint.model, tmp_path / "keeps-more")
    given = ["--teacher", toy_run / "teacher", "--models", f"learned={toy_run / 'model'}", tmp_path / "keeps-more"]
    given += [
        "--data",
        toy_run / "rows.jsonl",
        "--evaluations",
        tmp_path / "evaluations",
        "--plot",
        tmp_path / "plot.png",
    ]
    given += ["--json", tmp_path / "out.json", "--markdown", tmp_path / "out.md"]
    monkeypatch.setattr(sys, "argv", ["trade_off.py", *map(str, given)])
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)  # it would stay so for the tests that follow
    benchmark("trade_off").main()

    assert capsys.readouterr().out == (tmp_path / "out.md").read_text(encoding="utf-8")
    document = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    teacher, *points = (list(line.values()) for line in document["results"])
    assert teacher[0] == "dense teacher"
    ratios = {name: [(label, float(ratio)) for series, label, _, _, ratio, _ in points if series == name]
              for name in dict.fromkeys(point[0] for point in points)}  # fmt: skip
    policy, budget, cut = ratios.values()
    assert [label for label, _ in policy] == [str(tmp_path / "keeps-more"), "learned"]
    assert list(ratios) == ["TR-BERT, policy", "learned under a budget", "dense teacher on cut texts"]
    assert [label for label, _ in budget] == ["0.5, 0.25", "0.4, 0.15", "0.3, 0.1", "0.2, 0.07"]
    for series in (policy, budget, cut):
        assert [ratio for _, ratio in series] == sorted(ratio for _, ratio in series)
    for (_, ratio), (_, rival) in zip(policy, cut, strict=True):
        assert 0.9 * ratio < rival <= ratio
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
