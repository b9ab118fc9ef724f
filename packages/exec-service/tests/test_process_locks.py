"""Process locks: held as long as the process lives, by nobody else, and by no child of it."""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest
from exec_service.process_locks import ProcessLock, is_held, lock_path


def test_a_lock_belongs_to_one_holder(tmp_path: Path) -> None:
    path = lock_path(tmp_path, "worker/../1")
    lock = ProcessLock(path)
    assert not is_held(path)
    assert lock.acquire()
    assert lock.acquire()  # it has it
    assert not ProcessLock(path).acquire(patience_seconds=0)
    assert is_held(path)
    lock.release()
    assert not is_held(path)
    assert ProcessLock(path).acquire(patience_seconds=0)


def test_who_gets_the_lock_of_a_file_that_was_just_removed_takes_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lock_path(tmp_path, "w")
    holder = ProcessLock(path)
    holder.acquire()
    flock = fcntl.flock

    def release_first(descriptor: int, operation: int) -> None:
        holder.release()  # between the other's opening the file and locking it
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", release_first)
    assert ProcessLock(path).acquire(patience_seconds=0)
    monkeypatch.undo()

    assert is_held(path)


FORKING = """
import os, sys
from pathlib import Path
from exec_service.process_locks import ProcessLock

ProcessLock(Path(sys.argv[1])).acquire()
if os.fork() == 0:
    print("ready", flush=True)
    sys.stdin.read()
else:
    os.wait()
"""


def test_a_forked_child_does_not_keep_its_dead_parents_lock(tmp_path: Path) -> None:
    path = lock_path(tmp_path, "w")
    arguments = [sys.executable, "-c", FORKING, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert is_held(path)
        process.kill()
        process.wait()

        assert not is_held(path)  # while the child still waits for the end of its input


@pytest.mark.parametrize("names", [("a/b", "a_b"), ("", "."), ("x" * 300, "x" * 301), ("A", "a")])
def test_different_names_have_different_lock_files_inside_the_directory(tmp_path: Path, names: tuple[str, str]) -> None:
    paths = [lock_path(tmp_path, name) for name in names]

    assert str(paths[0]).lower() != str(paths[1]).lower()
    for path in paths:
        assert path.parent == tmp_path / "locks"
        assert ProcessLock(path).acquire()
