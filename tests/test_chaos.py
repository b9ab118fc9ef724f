"""The chaos run's own parts: the judge of who was at the venue's door, wrong clocks, and a short run of two workers."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import chaos
import pytest
from chaos_door import WORKER_SIDE, Door, Loss, shares
from chaos_events import Plan
from harness import PATIENCE, World

ACCOUNTS = ("acc_1", "acc_2", "acc_3", "acc_4")


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path / "door")


def noted(door: Door, pid: int, *lines: tuple[float, str, str | None]) -> None:
    """What the process has noted of its account."""
    with (door.directory / f"{pid}.jsonl").open("a") as file:
        for at, what, order_id in lines:
            file.write(json.dumps({"at": at, "account": "acc_1", "what": what, "order": order_id}) + "\n")


def visit(door: Door, pid: int, begin: float, end: float | None = None) -> None:
    noted(door, pid, (begin, "opening", None), (begin + 0.1, "open", None))
    if end is not None:
        noted(door, pid, (end, "closed", None))


def test_one_worker_after_the_other_is_right(door: Door) -> None:
    visit(door, 1, 10, 20)
    noted(door, 1, (15, "place", "A"))
    door.losses.append(Loss("stopped", 1, 19.0, ("acc_1",)))
    visit(door, 2, 21)
    noted(door, 2, (30, "place", "B"))
    assert door.wrong() == []
    assert door.holders() == {"acc_1": {2}}
    assert door.accounts_of(2) == ("acc_1",)
    assert door.take_overs() == {"stopped": [pytest.approx(2.1)]}


def test_two_sessions_at_once_are_found_unless_nobody_could_know(door: Door) -> None:
    visit(door, 1, 10)
    visit(door, 2, 20)
    noted(door, 1, (22, "closed", None))
    assert door.wrong() == ["acc_1: process 2 opened a session 2.000 s before that of 1 was closed"]
    for silence in ((2, 15.0, 25.0), (1, 21.0, 25.0)):
        door.silences.append(silence)
        assert len(door.wrong()) == 1
    door.silences.append((1, 15.0, 25.0))
    assert door.wrong() == []


def test_a_session_ends_with_its_process(door: Door) -> None:
    visit(door, 1, 10)
    door.ended(1, 19.0)
    visit(door, 2, 20)
    assert door.wrong() == []


def test_what_is_sent_for_an_account_that_is_anothers_is_found_unless_it_was_being_sent(door: Door) -> None:
    visit(door, 1, 10)
    visit(door, 2, 20)
    door.silences.append((1, 15.0, 25.0))
    noted(door, 1, (21, "place", "A"), (21.5, "cancel", "B"), (22, "closed", None))
    assert door.wrong() == ["acc_1: process 1 sent A 0.900 s after another had taken over"]
    assert [call.order_id for call, _ in door.late("cancel")] == ["B"]
    door.being_sent[1].add("A")
    assert door.wrong() == []


@pytest.mark.parametrize(
    ("holders", "wrong"),
    [
        ({"acc_1": {7}, "acc_2": {8}, "acc_3": {7}}, []),
        ({"acc_1": {7}, "acc_2": {8}}, ["acc_3: served by 0 live workers"]),
        ({"acc_1": {7}, "acc_2": {8}, "acc_3": {7, 8}}, ["acc_3: served by 2 live workers"]),
        ({"acc_1": {7}, "acc_2": {8}, "acc_3": {9}}, ["acc_3: served by 0 live workers"]),
        ({"acc_1": {7}, "acc_2": {7}, "acc_3": {7}}, ["3 accounts are shared unfairly: [0, 3]"]),
    ],
)
def test_each_account_has_one_live_worker_and_each_worker_its_share(
    holders: dict[str, set[int]], wrong: list[str]
) -> None:
    assert shares(holders, ("acc_1", "acc_2", "acc_3"), (7, 8)) == wrong


def test_a_workers_clock_is_as_wrong_as_its_file_says_and_the_venues_is_right(tmp_path: Path) -> None:
    (tmp_path / "clock").write_text("3600")
    program = (
        "import time\n"
        "from exec_broker_mock.book import Book\n"
        "from exec_core.clock import utc_now\n"
        "print(utc_now().timestamp(), time.time(), Book.in_memory().now() / 1e6)"
    )
    environment = {**os.environ, "PYTHONPATH": str(WORKER_SIDE), "CHAOS_CLOCK_FILE": str(tmp_path / "clock")}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True, timeout=PATIENCE
    )
    now = datetime.now(UTC).timestamp()
    assert [round((float(text) - now) / 3600) for text in done.stdout.split()] == [1, 1, 0]


@pytest.mark.timeout(900)  # each of its steps has a deadline of its own
async def test_two_workers_one_killed_and_one_paused_lose_and_double_nothing(tmp_path: Path) -> None:
    """A short run of `nox -s chaos -- --workers 2`."""
    variables = {
        "ACCOUNTS": json.dumps({name: {"broker": "mock"} for name in ACCOUNTS}),
        "UNKNOWN_SETTLE_SECONDS": "0.5",
        "MOCK_BROKER_PARTIAL_FILLS": "2",
    }
    plan = Plan(workers=2, kills=1, worker_pauses=1, patience_seconds=PATIENCE, lease_seconds=2)
    found, wrong = await chaos.run(World(tmp_path, variables), 60, plan, random.Random(12), accounts=ACCOUNTS)
    assert wrong == []
    assert found.orders == 60
