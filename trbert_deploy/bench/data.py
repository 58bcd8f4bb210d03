"""Which rows are measured: the caller's, the reviews that ship with the package, or random ones."""

from __future__ import annotations

import numpy as np

from trbert_deploy.bench.labels import chooses_a_class
from trbert_deploy.bench.options import BenchOptions
from trbert_deploy.bench.workload import (
    Dataset,
    Workload,
    data_workload,
    random_dataset,
    random_workload,
    read_dataset,
)
from trbert_deploy.bundle import Bundle
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.core.errors import InputError
from trbert_deploy.text.items import takes_one_text

_RANDOM_ROWS = 64  # compared where there is no data: as many, of lengths up to the model's limit


def choose_dataset(bundle: Bundle, options: BenchOptions, notes: list[str]) -> Dataset:
    """The rows for accuracy and agreement, and for timing unless lengths were given.

    Args:
        bundle: what is measured.
        options: of which data, limit and seed are read.
        notes: is given a line on where the rows come from.

    Raises:
        InputError: the caller's data cannot be read.
    """
    if options.data is not None:
        return read_dataset(bundle, options.data, options.limit)
    manifest = bundle.manifest
    if takes_one_text(manifest.task) and manifest.tokenizer is not None:
        try:
            dataset = read_dataset(bundle, evaluation_file(), options.limit)
        except InputError as error:
            notes.append(f"the reviews that ship with the package do not fit this model: {error.message}")
        else:
            note = "data: IMDb movie reviews that ship with the package"
            if chooses_a_class(manifest.task):
                note += " (label 1: positive); the accuracy means something for models of sentiment only"
            notes.append(note)
            return dataset
    size, limit = options.limit or _RANDOM_ROWS, manifest.task.max_length
    rng = np.random.default_rng(options.seed)
    lengths = [int(length) for length in rng.integers(max(1, limit // 8), limit + 1, size)]
    notes.append(f"data: {size} rows of random tokens of random lengths (give real ones with --data)")
    return random_dataset(bundle, lengths, options.seed)


def choose_workloads(bundle: Bundle, dataset: Dataset, options: BenchOptions, notes: list[str]) -> list[Workload]:
    """What is timed: for every batch size rows of the data, or random rows of every length.

    Args:
        bundle: what is measured.
        dataset: the data.
        options: of which batch sizes, lengths, iterations and seed are read.
        notes: is told where rows are taken more than once.
    """
    sizes = list(dict.fromkeys(options.batch_sizes))
    if options.lengths:
        lengths = dict.fromkeys(options.lengths)
        return [random_workload(bundle, size, length, options.seed) for length in lengths for size in sizes]
    notes += [
        f"batch {size}: the data has {len(dataset)} rows only, so a batch holds some of them more than once"
        for size in sizes
        if size > len(dataset)
    ]
    return [data_workload(dataset, size, options.iterations, options.seed) for size in sizes]
