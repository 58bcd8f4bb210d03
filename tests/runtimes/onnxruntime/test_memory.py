"""What a process holds on to: after some requests it takes no more, whatever came before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from resident import takes_no_more

#: Random requests from several threads; prints what is resident after each tenth of them.
REQUESTS = """
import json, random, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import trbert_deploy
from resident import resident

bundle, requests, threads, options = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])

def one(seed):
    chance = random.Random(seed)
    lengths = [min(512, max(4, int(chance.lognormvariate(4, 1)))) for _ in range(chance.choice([1, 1, 2, 4, 8]))]
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    engine.run(input_ids=np.where(mask, chance.randrange(1000, 20000), 0), attention_mask=mask.astype(int))

with trbert_deploy.load(bundle, threads=2, **options) as engine, ThreadPoolExecutor(threads) as pool:
    held = []
    for tenth in range(10):
        list(pool.map(one, range(tenth * requests // 10, (tenth + 1) * requests // 10)))
        held.append(resident())
    whole = np.full((32, 512), 1000)
    engine.run(input_ids=whole)
    held.append(resident())
print(json.dumps(held))
"""


def held(bundle: Path, requests: int, threads: int, **options: object) -> list[float]:
    """MiB after each tenth of the requests, and at last after one of 32 x 512."""
    words = [str(bundle), str(requests), str(threads), json.dumps(options)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "support")}
    ran = subprocess.run([sys.executable, "-c", REQUESTS, *words], capture_output=True, text=True, env=environment)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("requests", [100, pytest.param(3000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_after_some_requests_a_process_takes_no_more(shipped_bundle, requests, threads):
    *ordinary, after_a_large_one = held(shipped_bundle, requests, threads)
    assert takes_no_more(ordinary, 1.6 if requests < 1000 else 1.3)  # the allocator's own share moves by a fifth
    assert after_a_large_one < max(ordinary) + 250  # what the allocator holds; an arena would hold some 900 more


def test_the_arena_keeps_what_a_large_request_took(shipped_bundle):
    """What the other test would see if memory were kept."""
    lean, arena, shrunk = (held(shipped_bundle, 10, 1, memory=memory)[-1] for memory in ("lean", "arena", "shrink"))
    assert arena > lean + 100
    assert shrunk < arena - 100
