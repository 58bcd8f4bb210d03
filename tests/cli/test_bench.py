import json
import re

import pytest

QUICK = ("--iterations", 2, "--warmup", 0, "--batch-size", "1,3", "--length", 12, "--limit", 4)


@pytest.fixture(scope="module")
def folder(golden_bundle):
    return golden_bundle("bert-sequence-classification")


def test_json_is_one_document_on_stdout(cli, folder):
    result = cli("bench", folder, *QUICK, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["schema_version"] == "2.0"
    assert [workload["name"] for workload in report["workloads"]] == [
        "batch 1, length 12",
        "batch 3, length 12",
    ]


def test_it_leads_with_a_sentence_and_tables_are_whole(cli, folder):
    result = cli("bench", folder, *QUICK, "--mode", "fused")
    assert result.exit_code == 0, result.output
    first, _, second = result.stdout.splitlines()[:3]
    sentence = r"(\d+\.\d times (faster|slower) than|As fast as) the same model without token reduction at batch 1, "
    sentence += r"length 12, .* at batch 3, length 12; the predictions of 100\.0 % of 4 rows are PyTorch's\."
    assert re.fullmatch(sentence, first)
    assert second.startswith("bert-sequence-classification: sequence-classification, ")
    for text in ("ort fused", "ort dense", "torch dense", "p50", "rows/s", "--verbose"):
        assert text in result.stdout
    assert "…" not in result.stdout
    assert "timing batch 1, length 12" in result.stderr
    assert "timing" not in result.stdout


INSIDERS = ("Jaccard", "nearest logit's", "quartiles", "Method: ", "rotating order")


def test_how_it_was_measured_is_for_those_who_ask(cli, folder):
    quiet, verbose = cli("bench", folder, *QUICK), cli("bench", folder, *QUICK, "--verbose")
    assert [word for word in INSIDERS if word in quiet.output] == []
    assert [word for word in INSIDERS if word not in verbose.stdout] == []


def test_markdown(cli, folder):
    result = cli("bench", folder, *QUICK, "--markdown")
    assert result.exit_code == 0, result.output
    assert "| backend | p50 ms |" in result.stdout


def test_a_failed_gate_is_exit_code_1_and_says_by_how_much(cli, folder):
    result = cli("bench", folder, *QUICK, "--json", "--min-speedup", 1000)
    assert result.exit_code == 1
    assert "--min-speedup FAILED" in result.stderr
    assert "too little" in result.stderr
    gates = json.loads(result.stdout)["gates"]
    assert [gate["passed"] for gate in gates] == [False]


def test_a_gate_that_is_kept_is_exit_code_0(cli, folder):
    result = cli("bench", folder, *QUICK, "--min-speedup", 0.0001)
    assert result.exit_code == 0
    assert "--min-speedup passed" in result.stderr
    assert result.stderr.splitlines()[-1] == f"next: trbert-deploy predict {folder} --data FILE.jsonl"  # no tokenizer


@pytest.mark.parametrize(
    "wrong",
    [
        ("--batch-size", "1,x"),
        ("--length", "0"),
        ("--json", "--markdown"),
        ("--iterations", "0"),
        ("--beside", "openvino"),
        ("--mode", "dense"),
    ],
)
def test_usage_errors_are_exit_code_2(cli, folder, wrong):
    assert cli("bench", folder, *wrong).exit_code == 2
