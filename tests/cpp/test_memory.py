"""The C++ library holds on to no more memory the longer it runs."""

from __future__ import annotations

import json
import random
import subprocess

import pytest
from resident import resident, takes_no_more


@pytest.mark.parametrize(("batches", "most"), [(50, 1.6), pytest.param(3000, 1.3, marks=pytest.mark.slow)])
def test_after_some_batches_it_takes_no_more(cpp, shipped_bundle, batches, most):
    """What the allocator finds scattered moves by a fifth from one hundred batches to the next."""
    chance = random.Random(0)
    words = [cpp.run, shipped_bundle, "--data", "-", "--batch-size", "4", "--threads", "2"]
    held = []
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for batch in range(1, batches + 1):
            for _ in range(4):
                text = "film " * min(500, int(chance.lognormvariate(4, 1)))
                process.stdin.write(json.dumps({"text": text}) + "\n")
            process.stdin.flush()
            for _ in range(4):
                assert json.loads(process.stdout.readline())["label"]
            if batch % (batches // 10) == 0:
                held.append(resident(process.pid))
        process.stdin.close()
    assert len(held) == 10
    assert takes_no_more(held, most)
