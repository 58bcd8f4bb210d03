"""Bars of a training, on a terminal that is narrow."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trbert_deploy.cli.training_progress import BarReporter, make_bars
from trbert_deploy.training.reporting import Progress


@pytest.mark.parametrize("width", [80, 160])
def test_a_bar_says_what_is_under_way_how_far_it_is_and_how_long_it_still_takes(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, legacy_windows=False)
    averages = {"loss": 0.12345, "reward": -1.5, "accuracy": 0.75, "kept_1": 0.5, "kept_2": 0.25}
    bars = make_bars(console)
    reporter = BarReporter(bars)
    reporter.progress(Progress("fine-tuning", 4, 4, "steps", averages, 200.0))
    for done in (0, 12.75):
        reporter.progress(Progress("alpha 1 selectors", done, 56, "steps", averages, 190.0))
    over, under_way = lines_of(bars.get_renderable(), width)
    assert over.split()[0] == "fine-tuning"
    assert "4/4" in over
    assert "left" not in over
    assert under_way.startswith("alpha 1 selectors ")
    assert "12/56" in under_way
    assert "about 3 min left" in under_way
    assert ("kept_2 0.250" in under_way) == (width == 160)


def lines_of(renderable, width):
    """What stands on the terminal, without colours."""
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue().splitlines()
