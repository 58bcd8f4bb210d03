"""Kills, full disks and several writers at once: nothing is damaged, and the next run leaves nothing behind.

One command, ten minutes or so on two idle cores, which prints its figures: ``pytest -m slow tests/campaigns -s``.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from forks import Ended, Forks
from writing_verbs import Verb, left_behind

KILLS = 50
FULL_DISKS = 20
ROUNDS = 10

pytestmark = pytest.mark.slow


def say(line: str) -> None:
    """A line of the report."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run_whole(forks: Forks, verb: Verb, place: Path) -> Ended:
    """Run the verb to its end, and see that its result is whole and that nothing else is there."""
    place.mkdir(exist_ok=True)
    ended = forks.run(*verb.words(place))
    assert ended.code == 0, ended.printed
    verb.check(place)
    assert verb.done(place)
    assert left_behind(place) == []
    return ended


@pytest.mark.parametrize("name", ["export", "predict", "build", "train"])
def test_killed_at_any_time(name, forks, verbs, tmp_path):
    verb, rng = verbs[name], random.Random(2021)
    first = run_whole(forks, verb, tmp_path / "first")
    killed = runs = leaving = 0
    while killed < KILLS:
        # One place for what replaces its result, another each time for what goes on with it.
        place = tmp_path / ("first" if name in ("export", "predict") else str(runs))
        place.mkdir(exist_ok=True)
        ended = forks.run(*verb.words(place), kill_after=rng.uniform(0, first.seconds))
        runs, killed = runs + 1, killed + (ended.code == -9)
        assert ended.code in (0, -9), ended.printed
        verb.check(place)
        leaving += bool(left_behind(place))
        run_whole(forks, verb, place)
    say(f"{name}: {killed} kills in {runs} runs, {leaving} left something, 0 damaged, 0 leftovers after the next run")


@pytest.mark.parametrize("name", ["export", "predict", "build", "train"])
def test_no_file_may_grow_any_more(name, forks, verbs, tmp_path):
    verb, rng = verbs[name], random.Random(2021)
    run_whole(forks, verb, tmp_path / "whole")
    largest = max(path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file())
    for number in range(FULL_DISKS):
        place = tmp_path / str(number)
        place.mkdir()
        refused(forks.run(*verb.words(place), most_bytes=rng.randrange(largest)), verb, place)
        run_whole(forks, verb, place)
    say(f"{name}: {FULL_DISKS} times a file of at most {largest} bytes could not grow, 0 damaged, 0 leftovers")


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A place for a small file system, taken away afterwards."""
    place = tmp_path / "disk"
    place.mkdir()
    yield place
    subprocess.run(["umount", place], check=False, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("name", ["export", "predict", "build", "train"])
def test_a_full_disk(name, forks, verbs, tmp_path, disk):
    verb, rng = verbs[name], random.Random(2021)
    run_whole(forks, verb, tmp_path / "whole")
    size = sum(path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file())
    for _ in range(FULL_DISKS):
        room = rng.randrange(4096, size)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", disk]
        mounted = subprocess.run(mount, check=False, capture_output=True, text=True)
        if mounted.returncode != 0:
            pytest.skip(f"no file system can be mounted here, which takes root: {mounted.stderr.strip()}")
        refused(forks.run(*verb.words(disk)), verb, disk)
        subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
        run_whole(forks, verb, disk)
        subprocess.run(["umount", disk], check=True)
    say(f"{name}: {FULL_DISKS} full disks of up to {size} bytes, 0 damaged, 0 leftovers")


def refused(ended: Ended, verb: Verb, place: Path) -> None:
    """See that a run that found no room said so, and took away what it had begun."""
    assert ended.code == 1, ended.printed
    assert "error: " in ended.printed
    assert "Traceback" not in ended.printed, ended.printed
    verb.check(place)
    assert not verb.done(place)
    assert left_behind(place) == []


def test_three_exporters_at_once(forks, verbs, tmp_path):
    verb = verbs["export"]
    for _ in range(ROUNDS):
        for ended in forks.together([verb.words(tmp_path)] * 3):
            assert ended.code == 0, ended.printed
        verb.check(tmp_path)
        assert left_behind(tmp_path) == []
    say(f"{ROUNDS} times three exporters at once: {3 * ROUNDS} ended well, 0 damaged, 0 leftovers")
