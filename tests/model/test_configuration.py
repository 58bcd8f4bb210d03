from __future__ import annotations

import pytest

from trbert_deploy.core.errors import CheckpointError, InputError
from trbert_deploy.model import TRBertConfig
from trbert_deploy.reductions import REDUCTIONS


@pytest.mark.parametrize(
    ("num_layers", "wanted"),
    [(1, [0]), (2, [1]), (3, [1]), (4, [1, 2]), (5, [1, 2]), (6, [1, 3]), (12, [1, 6]), (24, [1, 12])],
)
def test_upstreams_places(num_layers, wanted):
    """`i in [1, mid]` of upstream's loop over the layers, mid = L // 2, read literally."""
    assert wanted == [i for i in range(num_layers) if i in [1, num_layers // 2]]
    assert REDUCTIONS.get("selector").default_layers(num_layers) == wanted


def test_defaults_are_a_bert_with_upstreams_reductions():
    config = TRBertConfig()
    assert config.backbone.model_type == "bert"
    assert config.reduction_layers == [1, 6]
    assert config.selector_size == 32
    assert config.selection.mode == "policy"


@pytest.mark.parametrize("layers", [[2, 1], [1, 1], [-1], [12], [1, 6, 12]])
def test_reduction_layers_out_of_order_or_range_are_refused(layers):
    with pytest.raises(CheckpointError, match="ascending layer numbers between 0 and 11"):
        TRBertConfig(reduction_layers=layers)


def test_other_backbones_are_refused():
    with pytest.raises(CheckpointError, match="'roberta' is not one of bert, distilbert"):
        TRBertConfig(backbone={"model_type": "roberta"})


@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_json_round_trip(tmp_path, backbone):
    config = TRBertConfig(
        backbone={"model_type": backbone, "vocab_size": 77},
        reduction_layers=[0, 2],
        keep=[0.5, 0.1],
        num_labels=4,
    )
    config.save_pretrained(tmp_path)
    again = TRBertConfig.from_pretrained(tmp_path)
    assert again.backbone.model_type == backbone
    assert again.backbone.vocab_size == 77
    assert again.reduction_layers == [0, 2]
    assert again.selection.fractions == (0.5, 0.1)
    assert again.num_labels == 4


def test_other_reductions_are_refused():
    with pytest.raises(CheckpointError, match="reduction 'none' is not one of selector"):
        TRBertConfig(reduction="none")


def test_keep_must_fit_the_reductions():
    with pytest.raises(InputError, match="2 reductions, but 3 keep fractions"):
        _ = TRBertConfig(keep=[0.5, 0.4, 0.3]).selection
