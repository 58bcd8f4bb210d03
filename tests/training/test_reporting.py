"""What is told while a training runs, with a clock that is told what time it is."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from trbert_deploy.training.reporting import LineReporter, Progress, duration, lines
from trbert_deploy.training.time_left import Part, Tracker


class Clock:
    """Seconds."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Last(LineReporter):
    """Remembers the last progress."""

    def __init__(self):
        super().__init__(lambda line: None)
        self.last = None

    def progress(self, progress):
        self.last = progress


# -- lines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "less than a minute"),
        (29, "less than a minute"),
        (31, "about 1 min"),
        (3570, "about 1 h 0 min"),
        (3 * 3600 + 125, "about 3 h 2 min"),
        (50 * 3600, "about 2 days"),
    ],
)
def test_a_duration_is_as_exact_as_it_is_known(seconds, text):
    assert duration(seconds) == text


def test_a_line_says_part_steps_averages_and_time_left():
    progress = Progress("alpha 1 selectors", 12.75, 56, "steps", {"loss": 0.12345, "kept_1": 0.5}, 190.0)
    assert str(progress) == "alpha 1 selectors: 12 of 56 steps, loss 0.123, kept_1 0.500; about 3 min left"
    assert str(Progress("evaluating teacher", 0, 200, "rows")) == "evaluating teacher: 0 of 200 rows"


def test_lines_at_the_start_and_the_end_of_a_part_and_when_it_is_time():
    clock, written = Clock(), []
    reporter = LineReporter(written.append, clock)
    reporter.repeat()  # nothing has begun
    for done in range(5):
        reporter.progress(Progress("a", done, 4, "steps", seconds_left=100.0))
        if done == 2:
            clock.now += 70
            reporter.repeat()
    reporter.repeat()  # the part is over
    reporter.progress(Progress("b", 0, 4, "steps"))
    reporter.warn("look")
    assert written == [
        "a: 0 of 4 steps, about 2 min left",
        "a: 2 of 4 steps, less than a minute left",  # 70 seconds of the 100 are over
        "a: 4 of 4 steps, about 2 min left",
        "b: 0 of 4 steps",
        "warning: look",
    ]


def test_lines_come_however_long_a_step_takes():
    written, enough = [], threading.Event()

    def write(line):
        written.append(line)
        if len(written) == 4:
            enough.set()

    with lines(write, every=0.01) as reporter:
        reporter.progress(Progress("a", 0, 4, "steps"))
        assert enough.wait(30)  # nothing is reported meanwhile
    assert set(written) == {"a: 0 of 4 steps"}
    count = len(written)
    time.sleep(0.05)
    assert len(written) == count  # nobody writes behind the end


# -- the time left -------------------------------------------------------------------------------------------

PARTS = [Part("a", 10, "steps", 3.0), Part("b", 100, "rows", 0.1), Part("c", 20, "steps", 2.0)]


def test_parts_to_come_take_what_their_work_takes_at_the_pace_so_far():
    clock, reporter = Clock(), Last()
    tell = Tracker(PARTS, reporter, clock).begin("a")
    assert reporter.last == Progress("a", 0, 10, "steps")  # nothing is known yet
    clock.now += 6.0
    tell(0.5, 10, {"loss": 1.0})  # 1.5 of 30 in six seconds: 4 seconds each
    assert reporter.last.averages == {"loss": 1.0}
    assert reporter.last.seconds_left == pytest.approx((28.5 + 10 + 40) * 4)


def test_a_part_goes_on_at_its_own_pace_and_the_rest_at_that_of_all():
    clock, reporter = Clock(), Last()
    tracker = Tracker(PARTS, reporter, clock)
    tell = tracker.begin("a")
    clock.now += 30.0
    tell(10, 10, {})  # a second each
    clock.now += 500.0  # weights are written
    tell = tracker.begin("b")
    assert reporter.last.seconds_left == pytest.approx(10 + 40)
    clock.now += 20.0
    tell(50, 100, {})  # 4 seconds each
    assert reporter.last.seconds_left == pytest.approx(5 * 4 + 40 * (30 + 20) / (30 + 5))


def test_what_an_earlier_process_did_says_nothing_of_the_pace():
    clock, reporter = Clock(), Last()
    tell = Tracker(PARTS, reporter, clock).begin("c", done=15)
    assert reporter.last == Progress("c", 15, 20, "steps")
    clock.now += 10.0
    tell(16, 20, {})
    assert reporter.last.seconds_left == pytest.approx(40)


def test_a_part_is_finished_where_its_result_is_there(tmp_path):
    part = Part("a", 1, "steps", 1.0, tmp_path / "result")
    assert not part.finished
    Path(part.result).mkdir()
    assert part.finished
    assert not Part("a", 1, "steps", 1.0).finished
