"""Move a trained TR-BERT along its trade-off: shift what its selectors keep until it saves a given ratio of FLOPs.

    python examples/checkpoints/shift_selectors.py RUN/alpha-1/model OUT --data train.jsonl --ratio 2.1

In policy mode a token goes on where its selector's logit is not negative. Adding one constant to the logits of all
selectors, which is to say to their last bias, lets more tokens go on or fewer, in the order that was learned. The
constant is found by bisection on rows of the training data, so that the evaluation data stay unseen. It takes a minute
or two and no training; where a quite different ratio is wanted, train with another `--alpha`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
from torch import nn

from trbert_deploy.checkpoint import load_checkpoint, load_tokenizer, save_checkpoint
from trbert_deploy.model import TRBertPreTrainedModel
from trbert_deploy.training.batches import TokenizedExamples
from trbert_deploy.training.data import read_examples
from trbert_deploy.training.evaluation import evaluate

ROWS = 512
STEPS = 8
FARTHEST = 4.0  # a probability of 0.98
TOLERANCE = 0.05


def last_biases(model: TRBertPreTrainedModel) -> list[nn.Parameter]:
    """The bias that is added to each selector's logits, [1] each."""
    linear = [[layer for layer in selector.modules() if isinstance(layer, nn.Linear)] for selector in model.selectors]
    return [layers[-1].bias for layers in linear]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="labelled rows, best those of the training")
    parser.add_argument("--ratio", type=float, required=True, help="exact FLOPs of the dense model over this one's")
    arguments = parser.parse_args()
    checkpoint = load_checkpoint(arguments.model)
    model = checkpoint.model
    examples = read_examples(arguments.data, model.config.label_names)
    some = np.random.default_rng(0).permutation(len(examples))[:ROWS]
    tokenizer, longest = load_tokenizer(checkpoint.folder), model.config.backbone.max_position_embeddings
    rows = TokenizedExamples(examples.take(np.sort(some)), tokenizer, longest)
    learned = [bias.item() for bias in last_biases(model)]

    def ratio_at(shift: float) -> float:
        for bias, value in zip(last_biases(model), learned, strict=True):
            bias.data.fill_(value + shift)
        ratio = evaluate(model, rows, keep=[]).flops_ratio
        print(f"shift {shift:+.4f}: {ratio:.3f}x", flush=True)
        return ratio

    low, high = -FARTHEST, FARTHEST  # a larger shift keeps more and saves less
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if ratio_at(middle) > arguments.ratio else (low, middle)
    reached = ratio_at(low)
    if abs(reached / arguments.ratio - 1) > TOLERANCE:
        sys.exit(f"error: no shift within {FARTHEST} saves {arguments.ratio}x, the nearest {reached:.3f}x")
    shutil.copytree(arguments.model, arguments.out)  # the tokenizer with it
    save_checkpoint(model, arguments.out)


if __name__ == "__main__":
    main()
