"""The model against transformers' own dense models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

from trbert_deploy.checkpoint import load_checkpoint
from trbert_deploy.core.errors import InputError
from trbert_deploy.model import TRBertConfig
from trbert_deploy.tasks import TASKS

NAMES = sorted(TASKS.names())


_BERT = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
}
_DISTILBERT = {
    "vocab_size": 120,
    "dim": 32,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.4,
}


@pytest.mark.parametrize("prefix", ["Bert", "DistilBert"])
@pytest.mark.parametrize(
    "suffix",
    ["ForSequenceClassification", "ForQuestionAnswering", "ForTokenClassification", "ForMultipleChoice"],
)
def test_dense_form_is_transformers_own_model(tmp_path, prefix, suffix):
    torch.manual_seed(3)
    sizes = _BERT if prefix == "Bert" else _DISTILBERT
    config_class = getattr(transformers, f"{prefix}Config")
    config = config_class(**sizes, num_labels={"ForMultipleChoice": 1, "ForQuestionAnswering": 2}.get(suffix, 5))
    theirs = getattr(transformers, f"{prefix}{suffix}")(config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1)  # initialised to zero, where a bias left out would go unseen
    theirs.save_pretrained(tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    assert not checkpoint.has_selectors
    assert checkpoint.source_class == f"{prefix}{suffix}"
    ours = checkpoint.model
    assert ours.config.reduction_layers == []
    assert ours.num_stages == 1

    shape = (4, 3, 17) if "Choice" in suffix else (4, 17)
    mask = torch.ones(shape, dtype=torch.int64)
    for row, length in enumerate((17, 1, 9, 2)):
        mask[row, ..., length:] = 0
    inputs = {"input_ids": torch.randint(0, 120, shape), "attention_mask": mask}
    if prefix == "Bert":
        inputs["token_type_ids"] = torch.randint(0, 2, shape)
    with torch.inference_mode():
        wanted, outputs = theirs(**inputs), ours(**inputs).outputs
    for name, tensor in outputs.items():
        real = torch.ones_like(tensor, dtype=torch.bool)
        if tensor.shape[:2] == mask.shape:
            real = (mask > 0).reshape(*mask.shape, *[1] * (tensor.dim() - 2)).expand_as(tensor)
        torch.testing.assert_close(tensor[real], wanted[name][real], rtol=0, atol=1e-5)
        assert tensor.std() > 0.01


@pytest.mark.parametrize("task", NAMES)
@pytest.mark.parametrize("backbone", ["bert", "distilbert"])
def test_a_budget_of_everything_is_dense(tiny_model, random_rows, batch_of, answer, task, backbone):
    model = tiny_model(task, backbone)
    dense = tiny_model(task, backbone, reduction_layers=[])
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("selectors.")}
    dense.load_state_dict(state)
    batch = batch_of(random_rows(model, [11, 1, 30]))
    wanted, none_kept = answer(dense, batch)
    outputs, kept = answer(model, batch, (1.0, 1.0))
    assert none_kept == []
    assert kept == [[list(range(11)), [0], list(range(30))]] * 2
    for name in wanted:
        np.testing.assert_allclose(outputs[name], wanted[name], rtol=0, atol=1e-5)


def test_dense_config_takes_no_keep():
    config = TRBertConfig(backbone={"model_type": "bert"}, reduction_layers=[], keep=[0.5])
    with pytest.raises(InputError, match="no selectors"):
        _ = config.selection
