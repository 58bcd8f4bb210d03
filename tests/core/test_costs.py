from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from trbert_deploy.core.costs import Costs, HeadCost, LayerCost, RowTokens, exact_flops, upstream_flops

GOLDEN = Path(__file__).parents[1] / "golden"


def bert(hidden: int = 768, layers: int = 12, labels: int = 2, reductions: tuple[int, ...] = (1, 6)) -> Costs:
    """BERT with selectors 32 wide and a classifier on [CLS]."""
    square = hidden * hidden
    layer = LayerCost(query=2 * square + 8 * square, key=2 * square, pair=2 * hidden)
    head = HeadCost(row=square + hidden * labels, upstream=hidden * labels)
    return Costs((layer,) * layers, hidden * 32 + 32, head, reductions)


BERT_BASE = bert()

# macs_list[n] of upstream's macs_list.json (github.com/thunlp/TR-BERT)
UPSTREAM_MACS = {1: 7079424, 2: 14161920, 128: 931135488, 512: 4026531840, 1024: 8858370048}


@pytest.mark.parametrize(("tokens", "macs"), UPSTREAM_MACS.items())
def test_layer_macs_are_upstreams_list(tokens: int, macs: int) -> None:
    assert BERT_BASE.layers[0].of(tokens, tokens) == macs


def test_upstream_formula_by_hand() -> None:
    # run_classification.py at l = 512, kept 128 and 2: times = [1, 5, 6]
    macs = UPSTREAM_MACS[512] + 5 * UPSTREAM_MACS[128] + 6 * UPSTREAM_MACS[2]
    macs += (128 + 2) * (768 * 32 + 32) + 768 * 2
    row = RowTokens(512, (128, 2))
    assert upstream_flops(BERT_BASE, row) == 2 * macs
    assert upstream_flops(BERT_BASE, row.dense) == 2 * (12 * UPSTREAM_MACS[512] + 768 * 2)


def test_upstream_formula_of_multiple_choice_counts_every_option_and_its_pooler() -> None:
    pooled = 768 * 768 + 768
    costs = dataclasses.replace(BERT_BASE, head=HeadCost(row=pooled, upstream=pooled))
    row = RowTokens(128, (128, 128), sequences=4)
    macs = 12 * UPSTREAM_MACS[128] + 2 * 128 * (768 * 32 + 32) + 768 * 768 + 768  # run_mcrace.py
    assert upstream_flops(costs, row) == 2 * 4 * macs


def test_limit_of_the_speed_up_is_the_published_one() -> None:
    # 12 / (1 + 5 r1 + 6 r2), for which products with weights must outweigh all else
    wide = bert(hidden=2**24)
    row = RowTokens(2000, (800, 300))
    limit = 12 / (1 + 5 * 0.4 + 6 * 0.15)
    assert upstream_flops(wide, row.dense) / upstream_flops(wide, row) == pytest.approx(limit, rel=1e-4)
    assert exact_flops(wide, row.dense) / exact_flops(wide, row) == pytest.approx(limit, rel=1e-4)


def test_exact_charges_selectors_at_the_length_they_read_and_the_pooler() -> None:
    row = RowTokens(512, (128, 2))
    difference = exact_flops(BERT_BASE, row) - upstream_flops(BERT_BASE, row)
    assert difference == 2 * ((512 + 128 - 128 - 2) * (768 * 32 + 32) + 768 * 768)


def test_tokens_that_stay_attended_go_on_as_keys() -> None:
    row = RowTokens(512, (128, 2))
    dropped, attended = BERT_BASE, dataclasses.replace(BERT_BASE, attended=True)
    layer = BERT_BASE.layers[0]
    by_hand = sum(
        times * layer.key * (512 - left) + times * layer.pair * left * (512 - left)
        for times, left in ((5, 128), (6, 2))
    )
    assert exact_flops(attended, row) - exact_flops(dropped, row) == 2 * by_hand
    assert exact_flops(attended, row.dense) == exact_flops(dropped, row.dense)


def test_one_kept_count_a_reduction_is_required() -> None:
    with pytest.raises(ValueError, match="zip"):
        exact_flops(BERT_BASE, RowTokens(10, (5,)))


@pytest.mark.parametrize(
    "name",
    [
        "bert-sequence-classification",
        "distilbert-sequence-classification",
        "distilbert3-sequence-classification",
        "bert-multiple-choice",
        "bert-question-answering",
        "bert-hotpot-question-answering",
        "bert-wikihop",
    ],
)
def test_exact_is_what_pytorch_counts(name: str) -> None:
    torch = pytest.importorskip("torch")
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from trbert_deploy.checkpoint import load_checkpoint

    model = load_checkpoint(GOLDEN / name).model
    dense = model.without_reduction()
    dense.set_attn_implementation("eager")
    compared = 0
    for case in json.loads((GOLDEN / name / "cases.json").read_text())["rows"]:
        inputs = {key: torch.tensor([value]) for key, value in case["input"].items()}
        mask = np.asarray(case["input"]["attention_mask"])
        with torch.inference_mode():
            kept = tuple(int(mask.sum()) for mask in model(**inputs).keep_masks)
        scored = inputs.get("sentence_spans", inputs.get("candidate_positions"))
        row = RowTokens(
            int(mask.sum(-1).max()),
            kept,
            sequences=mask.shape[0] if model.task.sequences_axis else 1,
            entries=0 if scored is None else scored.shape[1],
        )
        for one, tokens in ((model, row), (dense, row.dense)):
            # matmul, softmax, matmul: the counter knows no fused attention for CPUs
            plain = sdpa_kernel(SDPBackend.MATH)
            with torch.inference_mode(), plain, FlopCounterMode(display=False) as counter:
                one(**inputs)
            assert exact_flops(model.costs, tokens) == counter.get_total_flops()
            compared += 1
    assert compared >= 4
