"""Kite's limits are kept in every window, and what is urgent always finds a place."""

from __future__ import annotations

from itertools import pairwise

import pytest
from exec_broker_zerodha.pacing import Limit, Pace, paces_of
from exec_broker_zerodha.rhythm import APART, FASTEST, PAUSE, QUIET, RESTING, YOUNG, YOUTH_SECONDS, Rhythm
from hypothesis import given
from hypothesis import strategies as st

LIMITS = (Limit(10, 1.0, 2), Limit(40, 60.0, 4))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def most(times: list[float], seconds: float) -> int:
    return max((sum(first <= one < first + seconds for one in times) for first in times), default=0)


def test_a_burst_is_spread_and_a_cancel_goes_at_once() -> None:
    clock = Clock()
    pace = Pace(LIMITS, clock)
    waits = [pace.book(urgent=False, longest=100) for _ in range(12)]
    assert waits[:8] == [0] * 8
    assert waits[8:] == pytest.approx([1.0] * 4)
    assert [pace.book(urgent=True, longest=100) for _ in range(2)] == [0, 0]
    assert pace.book(urgent=True, longest=100) == pytest.approx(1.0)


def test_what_would_wait_too_long_is_not_booked() -> None:
    clock = Clock()
    pace = Pace((Limit(1, 10.0, 0),), clock)
    assert pace.book(urgent=False, longest=5) == 0
    assert [pace.book(urgent=False, longest=5) for _ in range(3)] == [None] * 3
    clock.now += 10.001
    assert pace.book(urgent=False, longest=5) == 0


def test_the_minute_is_kept_as_well() -> None:
    clock = Clock()
    pace = Pace(LIMITS, clock)
    sent = []
    for _ in range(37):
        wait = pace.book(urgent=False, longest=1000)
        assert wait is not None
        sent.append(clock.now + wait)
    assert most(sent, 60.0) == 36
    assert sent[36] == pytest.approx(sent[0] + 60)


@given(st.floats(0, 1e6), st.lists(st.tuples(st.booleans(), st.floats(0, 0.4)), max_size=60))
def test_no_window_ever_holds_more(start: float, requests: list[tuple[bool, float]]) -> None:
    clock = Clock()
    clock.now = start
    pace = Pace(LIMITS, clock)
    sent, usual = [], []
    for urgent, gap in requests:
        clock.now += gap
        wait = pace.book(urgent=urgent, longest=1000)
        assert wait is not None
        sent.append(clock.now + wait)
        if not urgent:
            usual.append(clock.now + wait)
    for limit in LIMITS:
        assert most(sent, limit.seconds) <= limit.count
        assert most(usual, limit.seconds) <= limit.count - limit.reserved
    assert all(first <= second for first, second in pairwise(usual))


def test_sessions_of_one_account_share_their_pace_and_others_do_not() -> None:
    first, _ = paces_of("root", "key of this test", per_second=10)
    again, questions = paces_of("root", "key of this test", per_second=10)
    other, _ = paces_of("root", "another key", per_second=10)
    assert first is again
    assert first is not other
    assert first is not questions
    assert [first.book(urgent=False, longest=0.5) for _ in range(9)] == [0] * 8 + [None]
    assert first.book(urgent=True, longest=0.5) == 0


def test_one_request_a_second_leaves_room_for_all() -> None:
    orders, _ = paces_of("root", "slow key", per_second=1)
    assert orders.book(urgent=False, longest=0.1) == 0
    assert orders.book(urgent=True, longest=0.1) is None


def test_looks_slow_down_while_nothing_happens_and_never_so_far_for_a_young_order() -> None:
    rhythm = Rhythm(None)
    waits = [rhythm.after(False, now=0) for _ in range(20)]
    assert waits == sorted(waits)
    assert waits[-1] == QUIET
    rhythm.has_open = True
    assert rhythm.after(False, now=0) == RESTING
    rhythm.sent_at = 5.0
    assert rhythm.after(False, now=6) == YOUNG
    assert rhythm.after(True, now=6) == FASTEST
    for _ in range(20):
        rhythm.after(False, now=6)
    assert rhythm.after(False, now=6) == YOUNG
    assert rhythm.after(False, now=6 + YOUTH_SECONDS) > YOUNG


def test_what_is_awaited_keeps_the_looks_fast() -> None:
    rhythm = Rhythm(None, is_awaiting=True)
    assert [rhythm.after(False, now=0) for _ in range(10)] == [FASTEST] * 10
    assert 2 / FASTEST + 1 / APART <= 8, "the fastest looks, and knocks between them, leave room for other questions"


def test_a_fixed_rhythm_is_kept_but_for_kites_sake() -> None:
    rhythm = Rhythm(0.2)
    rhythm.is_refused = True
    assert [rhythm.after(True, now=0) for _ in range(3)] == [PAUSE, 0.2, 0.2]
