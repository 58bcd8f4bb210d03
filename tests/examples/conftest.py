"""Repositories of models for Triton, and requests of token ids."""

from __future__ import annotations

import functools

import pytest
from triton_requests import REQUESTS, script

from trbert_deploy.bundle import open_bundle


@pytest.fixture(scope="session")
def bundle_of(text_bundle):
    """A bundle of a tiny random model of a task, with a tokenizer where it takes text."""

    @functools.cache
    def open_one(task, *, tokenizer=True, num_labels=3):
        return open_bundle(text_bundle(task, num_labels=num_labels, tokenizer=tokenizer and task in REQUESTS))

    return open_one


@pytest.fixture(scope="session")
def repository_of(tmp_path_factory, bundle_of):
    @functools.cache
    def make(task, **options):
        folder = tmp_path_factory.mktemp("repository") / "models"
        script.make_repository(bundle_of(task, **options), folder)
        return folder

    return make


@pytest.fixture(scope="session")
def id_requests(random_rows, batch_of, bundle_of, tiny_model):
    """For a task, requests of token ids of different lengths, as Triton's clients shape them, and as items."""

    def make(task):
        model = tiny_model(task, layers=2)
        requests, items = [], []
        for seed, lengths in enumerate(([9, 14], [5], [30])):
            rows = random_rows(model, lengths, seed)
            requests.append(batch_of(rows))
            items.append([{name: array[0].tolist() for name, array in row.items()} for row in rows])
        for request in requests:
            if "question_ends" in request:
                request["question_ends"] = request["question_ends"][:, None]
        return requests, items

    return make
