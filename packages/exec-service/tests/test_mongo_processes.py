"""Proof that a process has ended: only of processes that can be seen from here, and whatever clocks say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from exec_service.stores import mongo_processes as module
from exec_service.stores.mongo_processes import Process, has_ended, is_here, this_process


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    code = "import sys; print(1, flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    yield process
    process.kill()
    process.communicate()


def of(pid: int) -> Process:
    found = module._stat(pid)
    assert found is not None
    return Process(this_process().machine, pid, found[1])


def test_this_process_is_here_and_lives() -> None:
    ours = this_process()

    assert ours == this_process()
    assert ours.process_id == os.getpid()
    assert is_here(ours)
    assert not has_ended(ours)


def test_a_process_that_ended_has_ended_even_before_it_is_buried(child: subprocess.Popen[bytes]) -> None:
    process = of(child.pid)
    assert not has_ended(process)

    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert has_ended(process)  # a zombie: its parent has not looked yet

    child.wait()
    assert has_ended(process)


def test_a_stopped_process_has_not_ended(child: subprocess.Popen[bytes]) -> None:
    os.kill(child.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)

    assert not has_ended(of(child.pid))


def test_another_process_under_the_same_number_is_another(child: subprocess.Popen[bytes]) -> None:
    process = of(child.pid)
    assert process.started is not None

    assert has_ended(replace(process, started=process.started - 1))


def test_nothing_is_known_of_processes_elsewhere(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    gone = Process(this_process().machine, child.pid, 1)
    assert has_ended(gone)

    for elsewhere in (replace(gone, machine="another"), replace(gone, machine=None), replace(gone, started=None)):
        assert not is_here(elsewhere)
        assert not has_ended(elsewhere)


def test_a_process_that_is_hidden_from_us_has_not_ended(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    process = of(child.pid)
    monkeypatch.setattr(module, "_stat", lambda _: None)
    assert not has_ended(process)

    def refuse(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr("os.kill", refuse)
    assert not has_ended(process)


def test_a_name_with_brackets_and_blanks_does_not_confuse() -> None:
    code = "import ctypes,sys; ctypes.CDLL(None).prctl(15, b') Z 1 (', 0, 0, 0); print(1, flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            assert not has_ended(of(process.pid))
        finally:
            process.kill()
