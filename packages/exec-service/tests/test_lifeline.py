"""The line between a worker and its parent: readiness one way, the end of the other side the other way."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from exec_core.errors import ConfigurationError
from exec_service import running
from exec_service.lifeline import READY, STOP_SIGNALS, Lifeline, stop_signals_heeded, stop_signals_held_back
from exec_service.settings import Settings
from exec_service.stores import WorkerAlive


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, Lifeline]]:
    """The parent's end, and the worker's."""
    ours, theirs = socket.socketpair()
    lifeline = Lifeline(theirs.detach())
    with ours:
        yield ours, lifeline
    lifeline.close()


async def test_the_end_of_the_parent_asks_for_a_stop_once(line: tuple[socket.socket, Lifeline]) -> None:
    parent, worker = line
    stops: list[asyncio.Event] = [asyncio.Event()]
    count = 0

    def stop() -> None:
        nonlocal count
        count += 1
        stops[0].set()

    with worker.watched(stop):
        worker.tell_ready()
        worker.tell_ready()
        await asyncio.sleep(0)
        assert count == 0
        assert parent.recv(64) == READY * 2
        parent.close()
        await asyncio.wait_for(stops[0].wait(), 60)
        worker.tell_ready()  # nobody is there to hear it
        for _ in range(10):
            await asyncio.sleep(0)
    assert count == 1


async def test_a_line_that_is_full_is_not_waited_for(line: tuple[socket.socket, Lifeline]) -> None:
    for _ in range(100_000):
        line[1].tell_ready()


def test_what_a_worker_starts_does_not_inherit_the_line() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        os.set_inheritable(theirs.fileno(), True)
        descriptor = theirs.detach()
        lifeline = Lifeline(descriptor)
        assert not os.get_inheritable(descriptor)
        lifeline.close()


def test_what_is_no_line_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(ConfigurationError, match="use --workers N"):
        Lifeline(file.fileno())
    with pytest.raises(ConfigurationError, match="use --workers N"):
        Lifeline(1_000_000)


def test_signals_are_held_back_and_come_afterwards() -> None:
    heard: list[int] = []
    before = [signal.signal(number, lambda number, _frame: heard.append(number)) for number in STOP_SIGNALS]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        with stop_signals_held_back():
            for number in STOP_SIGNALS:
                signal.raise_signal(number)
            assert heard == []
            with stop_signals_heeded():
                assert sorted(heard) == sorted(STOP_SIGNALS)
                signal.raise_signal(signal.SIGTERM)
                assert len(heard) == 3
            signal.raise_signal(signal.SIGTERM)
            assert len(heard) == 3
        assert len(heard) == 4
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask
    finally:
        for number, handler in zip(STOP_SIGNALS, before, strict=True):
            signal.signal(number, handler)


class TestAnEarlierStart:
    """A process under the same id that is still alive: of a parent that was killed, or of somebody else."""

    async def test_it_is_waited_for_and_told_once(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(running, "PREDECESSOR_SECONDS", 0.0)
        predecessor = running._Predecessor(Settings(embedded=True, use_mock_broker=True), asyncio.Event())
        for _ in range(3):
            assert await predecessor.may_end(WorkerAlive("worker w-1 is running already: process 7"))
        assert caplog.text.count("worker w-1 is running already: process 7") == 1

    async def test_it_is_not_waited_for_beyond_what_a_stop_may_take(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(running, "LAST_RESORT_SECONDS", -1_000.0)
        predecessor = running._Predecessor(Settings(embedded=True, use_mock_broker=True), asyncio.Event())
        assert not await predecessor.may_end(WorkerAlive("worker w-1 is running already: process 7"))

    async def test_a_stop_ends_the_wait(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(running, "PREDECESSOR_SECONDS", 100_000.0)
        stop = asyncio.Event()
        stop.set()
        predecessor = running._Predecessor(Settings(embedded=True, use_mock_broker=True), stop)
        assert await asyncio.wait_for(predecessor.may_end(WorkerAlive("worker w-1")), 60)
