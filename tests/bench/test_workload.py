import json

import numpy as np
import pytest

from trbert_deploy.bench.workload import (
    Dataset,
    data_workload,
    random_dataset,
    random_workload,
    read_dataset,
)
from trbert_deploy.bundle import open_bundle
from trbert_deploy.core.errors import InputError
from trbert_deploy.tasks import TASKS, Limits

TASK = TASKS.get("sequence-classification").spec(Limits(max_length=96, vocab_size=120, token_types=0))


def dataset(lengths):
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    return Dataset("rows", TASK, {"input_ids": mask * 7, "attention_mask": mask})


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def bundle(golden_bundle):
    return open_bundle(golden_bundle("bert-sequence-classification"))


def test_a_batch_is_cut_to_its_longest_row():
    batch = dataset([3, 9, 5]).batch(np.array([2, 0]))
    assert batch["input_ids"].tolist() == [[7, 7, 7, 7, 7], [7, 7, 7, 0, 0]]


def test_single_rows_are_drawn_without_repeating():
    workload = data_workload(dataset([4] * 50), 1, rounds=20, seed=1)
    assert len({int(rows[0]) for rows in workload.batches}) == 20
    assert workload.batch_size == 1


def test_batches_come_in_the_order_of_the_data_and_are_full():
    workload = data_workload(dataset([4] * 10), 4, rounds=20, seed=1)
    assert [rows.tolist() for rows in workload.batches] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert workload.rows_of_round(3).tolist() == [4, 5, 6, 7]


def test_little_data_fills_a_batch_by_repeating():
    workload = data_workload(dataset([4] * 3), 8, rounds=2, seed=1)
    assert [rows.tolist() for rows in workload.batches] == [[0, 1, 2, 0, 1, 2, 0, 1]]


def test_random_rows_have_exactly_that_length_and_are_repeatable(bundle):
    workload = random_workload(bundle, 3, 17, seed=5)
    assert workload.dataset.lengths.tolist() == [17, 17, 17]
    again = random_dataset(bundle, [17] * 3, seed=5)
    assert np.array_equal(again.inputs["input_ids"], workload.dataset.inputs["input_ids"])


def test_a_length_beyond_the_model_is_refused(bundle):
    with pytest.raises(InputError, match="the model takes 96"):
        random_dataset(bundle, [97], seed=0)


def test_labels_are_indices_or_names(bundle, tmp_path):
    lines = [{"input_ids": [2, 5, 3], "label": label} for label in (2, "LABEL_1", None)]
    assert read_dataset(bundle, write(tmp_path / "rows.jsonl", lines)).labels == [2, 1, None]


@pytest.mark.parametrize("label", [3, -1, "positive", True, 1.5])
def test_a_label_the_model_does_not_have_is_named_with_its_line(bundle, tmp_path, label):
    lines = [{"input_ids": [2, 5, 3], "label": 0}, {"input_ids": [2, 5, 3], "label": label}]
    with pytest.raises(InputError, match=r"rows\.jsonl, line 2: label .* none of the model's"):
        read_dataset(bundle, write(tmp_path / "rows.jsonl", lines))


def test_limit_and_empty_files(bundle, tmp_path):
    lines = [{"input_ids": [2, 5, 3]}] * 5
    assert len(read_dataset(bundle, write(tmp_path / "rows.jsonl", lines), limit=2)) == 2
    with pytest.raises(InputError, match="has no lines"):
        read_dataset(bundle, write(tmp_path / "empty.jsonl", []))
