"""Help is light, errors are sentences, and a reader that has gone is no accident."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from exec_core.errors import ConfigurationError, PluginError
from exec_service.buses import BusUnavailable
from exec_service.cli import main
from exec_service.cli.program import Program
from exec_service.stores import StoreUnavailable, WorkerAlive

COMMANDS = [
    "run", "demo", "setup", "doctor", "submit", "status", "orders", "positions", "dead-letters", "plugins", "cancel",
    "resolve", "resume", "archive", "conformance",
]  # fmt: skip
#: What takes a quarter of a second to import, each; the embedded store and bus need none of it.
HEAVY = {"pymongo", "bson", "google.cloud.pubsub_v1", "google.pubsub_v1", "grpc", "aiohttp", "requests"}


def imported_by(*arguments: str) -> set[str]:
    """The modules that are loaded when `exec-service` with these arguments has ended."""
    script = (
        "import sys; from exec_service.cli import main; "
        f"main({list(arguments)!r}, standalone_mode=False); "
        "print('MODULES', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.partition("MODULES ")[2].split())


def test_help_imports_nothing_heavy() -> None:
    modules = imported_by("--help")
    assert modules & (HEAVY | {"pydantic", "rich", "sqlite3", "asyncio", "pluggy", "exec_core"}) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        "doctor --embedded --use-mock-broker", "status --embedded", "orders --embedded", "positions --embedded",
        "submit --embedded order.json", "archive --embedded --older-than 30d",
    ],
)  # fmt: skip
def test_on_the_embedded_components_nothing_heavy_is_imported(
    arguments: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MONGODB_URI", "mongodb://localhost/")
    monkeypatch.delenv("TELEGRAM_ENABLED", raising=False)
    (tmp_path / "order.json").write_text('{"signal_id": "sig_1"}')
    imported = imported_by("setup", "--embedded") | imported_by(*arguments.split())
    assert "sqlite3" in imported, "the command has done nothing"
    assert imported & HEAVY == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage:")


def test_the_list_of_commands_is_complete_and_readable() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert list(main.commands) == COMMANDS
    assert "..." not in result.stdout.partition("Commands:")[2], "a command's first sentence is cut off"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConfigurationError("A is missing"), 2, "Error: A is missing\n"),
        (ConfigurationError("A is missing", "B is wrong"), 2, "  A is missing\n  B is wrong\n"),
        (PluginError("no plugin named 'x'"), 2, "no plugin named 'x'"),
        (StoreUnavailable("the disk is full"), 1, "the disk is full"),
        (WorkerAlive("worker w is running already"), 1, "worker w is running already"),
        (BusUnavailable("the bus is away"), 1, "the bus is away"),
        (PermissionError(13, "Permission denied", "logs"), 1, "logs: Permission denied"),
    ],
)
def test_an_expected_error_is_a_sentence_with_its_exit_code(error: Exception, code: int, text: str) -> None:
    @click.group(cls=Program)
    def program() -> None:
        pass

    @program.command()
    def fail() -> None:
        raise error

    result = CliRunner().invoke(program, ["fail"])
    assert (result.exit_code, result.stdout) == (code, "")
    assert text in result.stderr
    assert "Traceback" not in result.stderr


def test_a_mistake_of_ours_is_not_hidden() -> None:
    @click.group(cls=Program)
    def program() -> None:
        pass

    @program.command()
    def fail() -> None:
        raise KeyError("oops")

    assert isinstance(CliRunner().invoke(program, ["fail"]).exception, KeyError)


@pytest.mark.parametrize("options", [["--json"], []], ids=["json", "table"])
def test_a_reader_that_has_gone_causes_no_traceback(options: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "exec_service", "plugins", *options]
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False, timeout=60)
    finally:
        os.close(writing)
    assert done.stderr == b""


def test_without_any_standard_output_commands_still_work(tmp_path: Path) -> None:
    for options in ("--json", ""):
        command = f"exec {sys.executable} -m exec_service plugins {options} >&-"
        done = subprocess.run(["/bin/sh", "-c", command], stderr=subprocess.PIPE, cwd=tmp_path, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"")


def test_a_piped_table_is_not_cut_and_has_no_colours(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "exec_service", "plugins"], capture_output=True, cwd=tmp_path, check=True, timeout=60
    )
    text = done.stdout.decode()
    assert "\x1b" not in text
    assert "exec-broker-mock" in text
    assert "LIMIT, MARKET, STOP, STOP_LIMIT" in text


def test_the_version_is_the_distributions() -> None:
    from importlib.metadata import version

    assert version("exec-service") in CliRunner().invoke(main, ["--version"]).stdout


def test_json_is_the_only_thing_on_standard_output(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "exec_service", "plugins", "--json"], capture_output=True, cwd=tmp_path, check=True
    )
    assert {row["name"] for row in json.loads(done.stdout)} >= {"mock", "console"}
