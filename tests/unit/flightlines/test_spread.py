"""How the strips of lines are parted among workers."""

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsimap.flightlines._spread import runs_of


@given(st.sets(st.integers(0, 90)), st.integers(1, 9), st.integers(0, 300))
def test_runs_are_neighbours_and_hold_every_strip_once(strips, workers, after):
    wanted = sorted(strips)
    runs = runs_of(wanted, workers=workers, after=after)
    assert [strip for run in runs for strip in run] == wanted
    assert all(list(run) == list(range(run[0], run[0] + len(run))) for run in runs)
    assert all(len(run) <= 16 for run in runs)


def makespan(lines, workers, *, commit=2.0):
    """Return when all lines are done, and what their strips alone would take, shared evenly.

    A run takes a tile row more than it has strips, a whole line none more; a line ends with one
    part that follows its runs and goes before later lines.
    """
    n, free, ready, left = len(lines), [0.0] * workers, [], {}
    for i, strips in enumerate(lines):
        runs = runs_of(range(strips), workers=workers, after=(n - i - 1) * strips)
        left[i] = len(runs)
        ready += [(i, 1, k, len(run) + (len(runs) > 1)) for k, run in enumerate(runs)]
    heapq.heapify(ready)
    heapq.heapify(free)
    running, end = [], 0.0
    while ready or running:
        while ready and len(running) < workers:
            line, step, _, takes = heapq.heappop(ready)
            start = max(heapq.heappop(free), end)
            heapq.heappush(running, (start + takes, line, step))
        end, line, step = heapq.heappop(running)
        heapq.heappush(free, end)
        left[line] -= step
        if step and not left[line]:
            heapq.heappush(ready, (line, 0, 0, commit))
    return end, (sum(lines) + commit * n) / workers


@pytest.mark.parametrize(
    ("lines", "workers", "most"),
    [
        ([14] * 4, 2, 1.07),
        ([14] * 12, 2, 1.03),
        ([14] * 3, 2, 1.09),
        ([14], 2, 1.26),
        ([60], 2, 1.17),
        ([40] * 3, 2, 1.12),
        ([200], 4, 1.16),
        ([14] * 40, 8, 1.08),
        ([5, 30, 14, 9, 50], 2, 1.11),
    ],
)
def test_no_worker_waits_long_at_the_end(lines, workers, most):
    end, least = makespan(lines, workers)
    assert end <= most * least


def test_a_line_is_whole_while_others_keep_the_workers_busy():
    assert runs_of(range(14), workers=2, after=42) == [tuple(range(14))]
    assert [len(run) for run in runs_of(range(14), workers=2)] == [7, 7]
    assert [len(run) for run in runs_of(range(60), workers=2)] == [15, 15, 15, 8, 4, 3]
