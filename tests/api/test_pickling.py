"""Engines that go to other processes."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import trbert_deploy
from trbert_deploy.core.errors import TRBertError


@pytest.mark.parametrize("options", [{}, {"mode": "fused", "verify": False}, {"runtime": "torch"}])
def test_a_pickled_engine_is_reopened(bundle, options, monkeypatch, tmp_path):
    ids = [[2, 5, 9, 3]]
    monkeypatch.chdir(bundle.parent)
    with trbert_deploy.load(bundle.name, engines=Path("engines"), **options) as engine:
        pickled = pickle.dumps(engine)
        wanted = engine.run(input_ids=ids)["logits"]
    monkeypatch.chdir(tmp_path)  # as another process may stand elsewhere
    with pickle.loads(pickled) as again:
        np.testing.assert_array_equal(again.run(input_ids=ids)["logits"], wanted)
        assert type(again.runtime).__name__ == type(engine.runtime).__name__
        assert pickle.dumps(again) == pickled


def test_an_engine_works_in_the_workers_of_a_pool(bundle):
    with trbert_deploy.load(bundle) as engine, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        wanted = engine.run(input_ids=[[2, 5, 9, 3]])["logits"]
        given = pool.submit(run_in_worker, engine).result()
    np.testing.assert_array_equal(given, wanted)


def run_in_worker(engine):
    return engine.run(input_ids=[[2, 5, 9, 3]])["logits"]


def test_an_engine_that_cannot_be_pickled_says_why(bundle):
    with trbert_deploy.load(bundle) as engine:
        bare = trbert_deploy.Engine(engine.bundle, engine.runtime)
        with pytest.raises(TRBertError, match=r"made around a runtime cannot be pickled.*trbert_deploy\.load"):
            pickle.dumps(bare)
    with pytest.raises(TRBertError, match="the engine is closed, so it cannot be pickled"):
        pickle.dumps(engine)
