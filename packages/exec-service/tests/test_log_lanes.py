"""The log sinks: files that rotate and fill up, consoles that are stuck; no line is lost, no sink stops another."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from exec_core import ConfigurationError
from exec_service.log_lanes import Lane
from exec_service.logs import configure, order_log

DEADLINE = 60.0
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| \[EXECUTION\] \| (.*)")

logger = logging.getLogger("exec_service.anything")


def messages(text: str) -> list[str]:
    """What the lines say; each must have the log's form."""
    found = []
    for line in text.splitlines():
        match = LINE.fullmatch(line)
        assert match, line
        found.append(match[1])
    return found


def of(path: Path) -> list[str]:
    return messages(path.read_text(encoding="utf-8"))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.01)


class TestFiles:
    def test_later_workers_have_files_of_their_own(self, tmp_path: Path) -> None:
        with configure(tmp_path / "logs", console=io.StringIO(), worker_number=2):
            order_log.info("Received order: sig_1", "sig_1")
        names = {path.name: of(path) for path in (tmp_path / "logs").iterdir()}
        assert names == {
            "execution_service.2.log": ["Received order: sig_1"],
            "signal_processing.2.log": ["Received order: sig_1"],
        }

    def test_the_parent_of_workers_has_one_file_of_its_own(self, tmp_path: Path) -> None:
        for number in (1, 2):
            with configure(tmp_path, console=io.StringIO(), worker_number=number, parent=True):
                logger.info("Worker %s died", number)
        assert {path.name: of(path) for path in tmp_path.iterdir()} == {
            "execution_service.workers.log": ["Worker 1 died"],
            "execution_service.workers.2.log": ["Worker 2 died"],
        }

    def test_lines_are_added_to_what_is_there(self, tmp_path: Path) -> None:
        for number in range(2):
            with configure(tmp_path, console=io.StringIO()):
                logger.info("start %s", number)
        assert of(tmp_path / "execution_service.log") == ["start 0", "start 1"]

    def test_a_large_file_is_rotated_without_losing_a_line(self, tmp_path: Path) -> None:
        numbers = [f"{number:06}" for number in range(3_000)]
        path = tmp_path / "execution_service.log"
        with configure(tmp_path, console=io.StringIO(), max_bytes=100_000, backups=10):
            for number in numbers:
                logger.info("%s %s", number, "x" * 100)
        parts = [tmp_path / f"execution_service.log.{n}" for n in range(10, 0, -1)]
        parts = [part for part in parts if part.exists()] + [path]
        assert len(parts) >= 4
        assert all(part.stat().st_size <= 100_000 for part in parts)
        assert [line.split()[0] for part in parts for line in of(part)] == numbers

    def test_only_so_many_old_files_are_kept(self, tmp_path: Path) -> None:
        with configure(tmp_path, console=io.StringIO(), max_bytes=70_000, backups=2):
            for number in range(5_000):
                logger.info("%s %s", number, "x" * 100)
        kept = sorted(path.name for path in tmp_path.glob("execution_service.log*"))
        assert kept == ["execution_service.log", "execution_service.log.1", "execution_service.log.2"]

    def test_a_file_that_cannot_be_rotated_is_written_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError("no")

        monkeypatch.setattr(os, "rename", refuse)
        with configure(tmp_path, console=io.StringIO(), max_bytes=70_000):
            for number in range(2_000):
                logger.info("%s %s", number, "x" * 100)
        assert len(of(tmp_path / "execution_service.log")) == 2_000

    def test_a_file_that_somebody_moved_away_is_made_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "execution_service.log"
        with configure(tmp_path, console=io.StringIO()):
            logger.info("before")
            wait_until(lambda: path.stat().st_size > 0)
            path.rename(tmp_path / "old.log")
            logger.info("after")
        assert of(tmp_path / "old.log") == ["before"]
        assert of(path) == ["after"]

    def test_a_directory_that_cannot_be_made_is_a_configuration_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigurationError, match=r"LOG_DIR: .*file.* cannot be made or written: Not a directory"):
            configure(tmp_path / "file" / "logs")

    def test_a_file_that_cannot_be_opened_is_a_configuration_error(self, tmp_path: Path) -> None:
        (tmp_path / "signal_processing.log").mkdir()
        handlers = list(logging.getLogger().handlers)
        with pytest.raises(ConfigurationError, match=r"LOG_DIR: .*signal_processing.log cannot be .* Is a directory"):
            configure(tmp_path)
        assert logging.getLogger().handlers == handlers

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_a_full_disk_is_told_once_on_the_console_and_loses_nothing_when_it_has_room_again(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "execution_service.log"
        path.symlink_to("/dev/full")
        console = io.StringIO()
        with configure(tmp_path, console=console):
            logger.info("first")
            wait_until(lambda: "cannot be written" in console.getvalue())
            order_log.info("Received order: sig_1", "sig_1")
            wait_until(lambda: of(tmp_path / "signal_processing.log") == ["Received order: sig_1"])
            path.unlink()
            wait_until(lambda: "can be written again" in console.getvalue())
            logger.info("last")
        assert of(path) == ["first", "Received order: sig_1", "last"]
        told = [line for line in messages(console.getvalue()) if "log file" in line]
        assert told == [
            f"WARNING: The log file {path} cannot be written: No space left on device; trying again",
            f"WARNING: The log file {path} can be written again",
        ]

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
    def test_a_disk_that_stays_full_does_not_stop_the_end(self, tmp_path: Path) -> None:
        (tmp_path / "execution_service.log").symlink_to("/dev/full")
        (tmp_path / "signal_processing.log").symlink_to("/dev/full")
        console = io.StringIO()
        with configure(tmp_path, console=console, flush_seconds=DEADLINE):
            order_log.info("Received order: sig_1", "sig_1")
        lines = messages(console.getvalue())
        assert "Received order: sig_1" in lines
        assert sum("cannot be written" in line for line in lines) == 2


@contextlib.contextmanager
def pipe() -> Iterator[tuple[int, io.TextIOWrapper]]:
    """A pipe: the end to read, and a stream on the end to write."""
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w", encoding="utf-8")
    try:
        yield reading, stream
    finally:
        with contextlib.suppress(OSError):
            stream.close()
        with contextlib.suppress(OSError):
            os.close(reading)


class TestAStuckConsole:
    async def test_a_pipe_that_nobody_reads_stops_neither_the_loop_nor_the_files(self, tmp_path: Path) -> None:
        with pipe() as (reading, stream):
            logs = configure(tmp_path, console=stream, capacity_bytes=400_000, flush_seconds=0.0)
            text = "x" * 1_000
            path = tmp_path / "signal_processing.log"
            written: list[str] = []
            for number in range(2_000):
                order_log.info(f"{number} {text}", "sig_1")
                if number % 100 == 99:  # the files must keep up by themselves: nothing of theirs is to be dropped
                    await asyncio.to_thread(wait_until, lambda count=number + 1: len(of(path)) == count)  # type: ignore[misc]
            written = [line.split()[0] for line in of(path)]
            assert written == [str(number) for number in range(2_000)]

            received = bytearray()
            while f"1999 {text}".encode() not in received:
                received += await asyncio.to_thread(os.read, reading, 1_000_000)
            lines = messages(received.decode())
            (note,) = [line for line in lines if "dropped" in line]
            match = re.fullmatch(r"WARNING: (\d+) log lines were dropped here", note)
            assert match
            numbers = [int(line.split()[0]) for line in lines if line != note]
            assert len(numbers) + int(match[1]) == 2_000
            gap = lines.index(note)
            assert numbers[gap] - numbers[gap - 1] - 1 == int(match[1]), "the note stands where lines are missing"
            assert len(numbers) < 2_000
            await asyncio.to_thread(logs.close)

    def test_a_process_with_a_stuck_console_still_ends_and_its_files_are_whole(self, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path\n"
            "from exec_service.logs import configure, order_log\n"
            "with configure(Path(sys.argv[1]), flush_seconds=0.5):\n"
            "    for number in range(500):\n"
            "        order_log.info(f'{number} ' + 'x' * 1000, 'sig_1')\n"
        )
        with pipe() as (_, stream):
            run = subprocess.run(
                [sys.executable, "-c", code, str(tmp_path)],
                stdout=stream,
                stderr=subprocess.PIPE,
                text=True,
                timeout=DEADLINE,
                check=False,
            )
        assert (run.returncode, run.stderr) == (0, "")
        assert len(of(tmp_path / "signal_processing.log")) == 500

    def test_a_console_that_is_gone_is_told_in_the_file(self, tmp_path: Path) -> None:
        with pipe() as (reading, stream):
            os.close(reading)
            with configure(tmp_path, console=stream):
                logger.info("hello")
                path = tmp_path / "execution_service.log"
                wait_until(lambda: len(of(path)) == 2)
        assert sorted(of(path)) == [
            "WARNING: The console cannot be written: Broken pipe; trying again",
            "hello",
        ]

    def test_processes_that_share_a_pipe_do_not_break_each_others_lines(self, tmp_path: Path) -> None:
        """Several workers have one console; it is read only when both wait for room in it."""
        code = (
            "import sys; from pathlib import Path\n"
            "from exec_service.logs import configure, order_log\n"
            "with configure(Path(sys.argv[1]) / sys.argv[2], flush_seconds=600):\n"
            "    for number in range(1500):\n"
            "        order_log.info(f'{sys.argv[2]} {number} ' + 'x' * (number % 500) + ' end', 'sig_1')\n"
        )
        with pipe() as (reading, stream):
            writers = [
                subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name], stdout=stream) for name in "ab"
            ]
            for name in "ab":
                path = tmp_path / name / "signal_processing.log"
                wait_until(lambda path=path: path.exists() and path.read_bytes().count(b"\n") == 1_500)  # type: ignore[misc]
            received = bytearray()
            while received.count(b"\n") < 3_000:
                received += os.read(reading, 1_000)
            assert [writer.wait(DEADLINE) for writer in writers] == [0, 0]
        lines = [line.split() for line in messages(received.decode())]
        assert all(line[-2:] == ["end", "(sig_1)"] for line in lines)
        for name in "ab":
            assert [int(line[1]) for line in lines if line[0] == name] == list(range(1_500))

    def test_a_console_that_was_made_non_blocking_gets_every_line(self, tmp_path: Path) -> None:
        with pipe() as (reading, stream):
            os.set_blocking(stream.fileno(), False)
            received = bytearray()
            with configure(tmp_path, console=stream, flush_seconds=DEADLINE):
                for number in range(300):
                    logger.info("%s %s", number, "x" * 1_000)
                while b" 299 x" not in received or not received.endswith(b"\n"):
                    received += os.read(reading, 1_000_000)
        assert [int(line.split()[0]) for line in messages(received.decode())] == list(range(300))


class Counting:
    """Takes everything, and counts."""

    name = "counting"

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def write(self, data: bytes) -> int:
        self.taken.append(data)
        return len(data)

    def close(self) -> None:
        """Nothing to let go of."""


def test_a_burst_is_written_together_and_a_lane_that_closes_does_not_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exec_service.log_lanes.REST_SECONDS", 10 * DEADLINE)
    sink = Counting()
    lane = Lane(sink, capacity_bytes=100_000, say=str, tell_others=lambda _lane, _text: None)
    lane.put("the first line")
    wait_until(lambda: bool(sink.taken))
    for number in range(100):
        lane.put(f"line {number}")
    lane.begin_closing()
    assert lane.finish_closing(time.monotonic() + DEADLINE)
    assert sink.taken == [b"the first line\n", "".join(f"line {number}\n" for number in range(100)).encode()]


def test_what_is_logged_while_a_lane_makes_a_line_is_a_line_as_well() -> None:
    def say(text: str) -> str:
        lane.put("from inside")
        return text

    sink, gate = Counting(), threading.Event()
    take, sink.write = sink.write, lambda data: (gate.wait(DEADLINE), take(data))[1]  # type: ignore[method-assign]
    lane = Lane(sink, capacity_bytes=20, say=say, tell_others=lambda _lane, _text: None)
    for number in range(100):
        lane.put(f"line {number:04}")
    gate.set()
    lane.begin_closing()
    assert lane.finish_closing(time.monotonic() + DEADLINE)
    text = b"".join(sink.taken).decode()
    assert "log lines were dropped here\n" in text
    assert "from inside\n" in text


def test_a_sink_that_takes_a_few_bytes_at_a_time_and_fails_between_gets_each_byte_once() -> None:
    class Trickle:
        name = "trickle"

        def __init__(self) -> None:
            self.taken = b""
            self.calls = 0

        def write(self, data: bytes) -> int:
            self.calls += 1
            if self.calls in (2, 3):
                raise OSError(28, "No space left on device")
            self.taken += data[:7]
            return len(data[:7])

        def close(self) -> None:
            self.taken += b"closed"

    sink, told = Trickle(), []
    lane = Lane(sink, capacity_bytes=1_000, say=str, tell_others=lambda _, text: told.append(text))
    lane.put("the first line")
    lane.put("the second line")
    wait_until(lambda: b"second line" in sink.taken)
    lane.begin_closing()
    assert lane.finish_closing(time.monotonic() + DEADLINE)
    assert sink.taken == b"the first line\nthe second line\nclosed"
    assert told == [
        "The trickle cannot be written: No space left on device; trying again",
        "The trickle can be written again",
    ]
