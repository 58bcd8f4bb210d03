"""Load the service, hold every answer to the in-process one, and print throughput and latency.

    python examples/cpp_service/load.py BUNDLE --url http://127.0.0.1:8080 --connections 16 --seconds 30

Answers of the same bundle in this process (Python, ONNX Runtime) are computed first. A request that gets 429 is counted
and sent again after a pause. Exit code 1 where an answer is wrong or a request was dropped. A service that wants an API
key gets the one in the environment variable TRBERT_API_KEY.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import math
import os
import ssl
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trbert_deploy
from trbert_deploy.calib_data import evaluation_file
from trbert_deploy.text.json_lines import read_json_lines

TOLERANCE = 1e-5


@dataclass
class Load:
    """What came back.

    Attributes:
        seconds: of each request that was answered.
        statuses: how often each came back.
        complaints: answers that differ, and requests that were dropped.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)


def same(given: Any, wanted: Any) -> bool:
    """Whether two answers are equal, numbers up to `TOLERANCE`."""
    if isinstance(wanted, dict):
        return (
            isinstance(given, dict)
            and given.keys() == wanted.keys()
            and all(same(given[key], wanted[key]) for key in wanted)
        )
    if isinstance(wanted, list):
        return isinstance(given, list) and len(given) == len(wanted) and all(map(same, given, wanted))
    if isinstance(wanted, float):
        return isinstance(given, int | float) and math.isclose(given, wanted, rel_tol=0, abs_tol=TOLERANCE)
    return bool(given == wanted)


def connect(url: str, certificate: Path | None) -> http.client.HTTPConnection:
    """To the service; certificate: the one that it has to show over HTTPS, where the system knows nobody behind it."""
    address = urlsplit(url)
    if address.scheme == "https":
        context = ssl.create_default_context(cafile=certificate)
        return http.client.HTTPSConnection(address.hostname or "", address.port, timeout=120, context=context)
    return http.client.HTTPConnection(address.hostname or "", address.port, timeout=120)


def run(
    url: str,
    items: Sequence[dict[str, Any]],
    wanted: Sequence[dict[str, Any]],
    *,
    connections: int,
    seconds: float,
    certificate: Path | None = None,
    key: str | None = None,
) -> Load:
    """Send the items, over and over, on that many connections for that long."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    bodies = [json.dumps(item) for item in items]
    load, lock = Load(), threading.Lock()
    end = time.monotonic() + seconds

    def work(first: int) -> None:
        connection = connect(url, certificate)
        for place in itertools.count(first, connections):
            if time.monotonic() > end:
                break
            number = place % len(items)
            start = time.monotonic()
            try:
                connection.request("POST", "/predict", bodies[number], headers)
                response = connection.getresponse()
                text = response.read()
            except (OSError, http.client.HTTPException) as problem:
                with lock:
                    load.complaints.append(f"item {number} was dropped: {problem}")
                connection.close()
                continue
            taken = time.monotonic() - start
            fine = response.status != 200 or same(json.loads(text), wanted[number])
            with lock:
                load.statuses[response.status] += 1
                if response.status == 200:
                    load.seconds.append(taken)
                elif response.status != 429:
                    load.complaints.append(f"item {number}: {response.status} {text!r}")
                if not fine:
                    load.complaints.append(f"item {number}: {text!r} is not {wanted[number]}")
            if response.status == 429:
                time.sleep(0.02)
        connection.close()

    threads = [threading.Thread(target=work, args=(first,)) for first in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return load


def main() -> int:
    """Parse, load, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="the bundle that the service serves")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--certificate", type=Path, help="of an HTTPS service, where it vouches for itself")
    parser.add_argument("--data", type=Path, default=evaluation_file(), help="JSON lines (default: film reviews)")
    parser.add_argument("--items", type=int, default=200, help="lines of it to use")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()

    items = list(itertools.islice(read_json_lines(options.data), options.items))
    items = [{key: value for key, value in item.items() if key != "label"} for item in items]
    with trbert_deploy.load(options.bundle) as engine:
        engine.predict(items[:4])
        start = time.perf_counter()
        wanted = engine.predict(items)
        alone = len(items) / (time.perf_counter() - start)
    load = run(
        options.url,
        items,
        wanted,
        connections=options.connections,
        seconds=options.seconds,
        certificate=options.certificate,
        key=os.environ.get("TRBERT_API_KEY"),
    )
    print(f"in-process (Python, batches of 32): {alone:.1f} items/s")
    if len(load.seconds) > 1:
        cuts = statistics.quantiles(load.seconds, n=100, method="inclusive")
        p50, p90, p99 = (1000 * cuts[percent - 1] for percent in (50, 90, 99))
        print(f"service, {options.connections} connections:       {len(load.seconds) / options.seconds:.1f} items/s")
        print(f"latency p50 {p50:.1f} ms, p90 {p90:.1f} ms, p99 {p99:.1f} ms")
    print("statuses: " + ", ".join(f"{status}: {count}" for status, count in sorted(load.statuses.items())))
    for complaint in load.complaints[:10]:
        print(complaint[:500], file=sys.stderr)
    print(f"{len(load.complaints)} complaints; every answer of status 200 was compared")
    return 1 if load.complaints or not load.seconds else 0


if __name__ == "__main__":
    sys.exit(main())
