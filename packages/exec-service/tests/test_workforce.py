"""The parent of several workers, on small processes that only look like them: who is started again, how all end."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from exec_service.lifeline import STOP_SIGNALS
from exec_service.workforce import Workforce

DEADLINE = 120.0
#: What every fake begins with: it notes that it lives, and with which process id.
PREAMBLE = """
import os, signal, socket, stat, sys, threading, time
number, line, place = int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])), sys.argv[3]
with open(f"{place}/{number}", "a") as file:
    print(os.getpid(), file=file)
with open(f"{place}/{number}") as file:
    life = len(file.readlines())
def watch():
    line.recv(1)  # nothing ever comes but the end of the parent, where a test fails
    os._exit(9)
threading.Thread(target=watch, daemon=True).start()
def ready():
    line.send(b"ready\\n")
def serve(code=0):
    signal.sigwait({signal.SIGTERM})
    sys.exit(code)
def wait_for(name):
    while not os.path.exists(f"{place}/{name}"):
        time.sleep(0.01)
def is_socket(descriptor):
    try:
        return stat.S_ISSOCK(os.fstat(descriptor).st_mode)
    except OSError:
        return False
"""
GOOD = "(ready(), serve())"


class Trial:
    """A workforce of fakes, and what is said of it. `script` is what a fake does after the preamble."""

    def __init__(self, place: Path, caplog: pytest.LogCaptureFixture, script: str, count: int = 2) -> None:
        self.place = place
        self._caplog = caplog
        self.program = [sys.executable, "-I", "-S", "-c", PREAMBLE + script]
        self.force = Workforce(
            count, self.command, lambda number: f"w-{number}", patience_seconds=DEADLINE,
            first_wait_seconds=0.01, longest_wait_seconds=0.04,
        )  # fmt: skip
        self._running: asyncio.Task[int] | None = None

    def command(self, number: int, descriptor: int) -> list[str]:
        return [*self.program, str(number), str(descriptor), str(self.place)]

    def start(self) -> None:
        self._running = asyncio.create_task(self.force.run())

    async def ended(self) -> int:
        """Wait until all have ended; the exit code."""
        assert self._running is not None
        return await asyncio.wait_for(self._running, DEADLINE)

    @property
    def log(self) -> str:
        return self._caplog.text

    def lives(self, number: int) -> list[int]:
        """The process ids that the worker has had so far, oldest first."""
        path = self.place / str(number)
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, self.log
            await asyncio.sleep(0.01)

    async def says(self, text: str, times: int = 1) -> None:
        await self.until(lambda: self.log.count(text) >= times)


@pytest.fixture
async def trial(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Callable[..., Trial]:
    caplog.set_level("INFO", "exec_service.workforce")

    def made(script: str, count: int = 2) -> Trial:
        return Trial(tmp_path, caplog, script, count)

    return made


Made = Callable[..., Trial]


def is_alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


async def test_all_are_started_told_ready_and_stopped_in_good_order(trial: Made) -> None:
    running = trial(GOOD, count=3)
    running.start()
    await running.says("is ready: 3 of 3")
    assert [len(running.lives(number)) for number in (1, 2, 3)] == [1, 1, 1]
    running.force.stop()
    running.force.stop()  # the terminal's Ctrl-C and a supervisor's SIGTERM together
    assert await running.ended() == 0
    assert running.log.count("Stopping the workers") == 1
    assert not any(is_alive(running.lives(number)[0]) for number in (1, 2, 3))


async def test_a_stop_while_they_are_being_loaded_is_not_lost_and_in_good_order(trial: Made) -> None:
    """They are told before they could have a handler: the signal waits until they ask for it."""
    running = trial(GOOD)
    running.start()
    await running.says("is process", times=2)
    running.force.stop()
    assert await running.ended() == 0, running.log


async def test_a_stop_while_one_is_just_being_started_reaches_it_too(trial: Made) -> None:
    running = trial(GOOD, count=1)

    def command(number: int, descriptor: int) -> list[str]:
        running.force.stop()
        return running.command(number, descriptor)

    running.force.command = command
    running.start()
    assert await running.ended() == 0
    assert len(running.lives(1)) == 1


async def test_a_stop_before_the_start_starts_nobody(trial: Made) -> None:
    running = trial(GOOD)
    running.force.stop()
    assert await running.force.run() == 0
    assert running.lives(1) == []


async def test_a_killed_worker_is_started_again_and_the_others_go_on(trial: Made) -> None:
    running = trial(GOOD)
    running.start()
    await running.says("is ready: 2 of 2")
    (victim,), (other,) = running.lives(1), running.lives(2)
    os.kill(victim, signal.SIGKILL)
    await running.says("is ready: 2 of 2", times=2)
    assert f"Worker w-1 (process {victim}) was ended by SIGKILL: starting it again in 0.01 s" in running.log
    assert len(running.lives(1)) == 2
    assert running.lives(2) == [other]
    running.force.stop()
    assert await running.ended() == 0


@pytest.mark.parametrize("code", [0, 1, 2])
async def test_once_one_was_ready_whoever_ends_is_started_again_ever_more_slowly(trial: Made, code: int) -> None:
    running = trial(f"{GOOD} if number == 2 else (wait_for('go'), sys.exit({code}))")
    running.start()
    await running.says("Worker w-2 is ready")
    (running.place / "go").touch()
    await running.says("starting it again", times=5)
    running.force.stop()
    await running.ended()
    assert len(running.lives(2)) == 1
    lines = [line for line in running.log.splitlines() if "starting it again" in line][:5]
    for process_id, line in zip(running.lives(1), lines, strict=False):
        assert f"Worker w-1 (process {process_id}) ended with exit code {code}: " in line
    assert [line.rsplit(" in ", 1)[1] for line in lines] == ["0.01 s", "0.02 s", "0.04 s", "0.04 s", "0.04 s"]


@pytest.mark.parametrize("code", [1, 2])
async def test_a_failure_before_any_was_ready_ends_all_with_its_exit_code(trial: Made, code: int) -> None:
    running = trial(f"sys.exit({code}) if number == 2 else serve()")
    running.start()
    assert await running.ended() == code
    assert f"ended with exit code {code} before any worker was ready" in running.log
    assert "starting it again" not in running.log
    assert len(running.lives(2)) == 1


async def test_one_that_was_killed_before_any_was_ready_is_started_again(trial: Made) -> None:
    running = trial(f"{GOOD} if life == 2 else serve()", count=1)
    running.start()
    await running.until(lambda: len(running.lives(1)) == 1)
    os.kill(running.lives(1)[0], signal.SIGKILL)
    await running.says("is ready: 1 of 1")
    running.force.stop()
    assert await running.ended() == 0


@pytest.mark.parametrize(("clock", "waits"), [(lambda: 0.0, 3), (itertools.count(0.0, 1000.0).__next__, 1)])
async def test_a_worker_that_worked_for_long_is_started_again_soon(
    trial: Made, clock: Callable[[], float], waits: int
) -> None:
    running = trial("ready(); sys.exit(1)", count=1)
    running.force.clock = clock
    running.start()
    await running.says("starting it again", times=4)
    running.force.stop()
    await running.ended()
    lines = [line.rsplit(" in ", 1)[1] for line in running.log.splitlines() if "starting it again" in line][:4]
    assert lines == {3: ["0.01 s", "0.02 s", "0.04 s", "0.04 s"], 1: ["0.01 s"] * 4}[waits]


async def test_one_that_waits_to_be_started_again_is_not_started_any_more(trial: Made) -> None:
    running = trial(GOOD)
    running.force.first_wait_seconds = running.force.longest_wait_seconds = 100 * DEADLINE
    running.start()
    await running.says("is ready: 2 of 2")
    os.kill(running.lives(1)[0], signal.SIGKILL)
    await running.says("starting it again")
    running.force.stop()
    assert await running.ended() == 0
    assert len(running.lives(1)) == 1


async def test_one_that_does_not_stop_is_killed_and_that_is_a_failure(trial: Made) -> None:
    running = trial("ready(); signal.pause()", count=1)
    running.force.patience_seconds = 0.2
    running.start()
    await running.says("is ready: 1 of 1")
    running.force.stop()
    assert await running.ended() == 1
    assert f"Worker w-1 (process {running.lives(1)[0]}) has not ended within 0.2 s: killing it" in running.log
    assert not is_alive(running.lives(1)[0])


async def test_one_that_fails_while_it_stops_is_a_failure_and_is_told(trial: Made) -> None:
    running = trial("ready(); serve(1 if number == 2 else 0)")
    running.start()
    await running.says("is ready: 2 of 2")
    running.force.stop()
    assert await running.ended() == 1
    assert "ended with exit code 1 while it stopped" in running.log
    assert "starting it again" not in running.log


async def test_one_that_the_system_does_not_start_is_tried_again(trial: Made) -> None:
    running = trial(GOOD, count=1)
    program, running.program = running.program, ["/there/is/no/such/program"]
    running.start()
    await running.says("Worker w-1 cannot be started (No such file or directory): starting it again", times=2)
    running.program = program
    await running.says("is ready: 1 of 1")
    running.force.stop()
    assert await running.ended() == 0


async def test_the_parent_itself_hears_signals_while_it_starts_workers_again_and_again(trial: Made) -> None:
    running = trial(GOOD, count=5)
    running.start()
    await running.says("is ready: 5 of 5")
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(STOP_SIGNALS)
    running.force.stop()
    assert await running.ended() == 0


async def test_a_worker_has_its_own_end_of_the_line_and_no_other(trial: Made) -> None:
    """Else the death of the parent would show to none of them: each would hold the others' lines open."""
    script = "sockets = [number for number in range(3, 64) if is_socket(number)]\n"
    running = trial(f"{script}open(f'{{place}}/{{number}}.sockets', 'w').write(str(len(sockets))); {GOOD}", count=3)
    running.start()
    await running.says("is ready: 3 of 3")
    assert [(running.place / f"{number}.sockets").read_text() for number in (1, 2, 3)] == ["1", "1", "1"]
    running.force.stop()
    assert await running.ended() == 0
