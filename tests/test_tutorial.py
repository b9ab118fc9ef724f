"""The tutorial leads to the example, exactly: its blocks are the example's files, and what they make passes the kit."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from exec_service.cli import main

ROOT = Path(__file__).parents[1]
TUTORIAL = ROOT / "docs" / "writing-a-broker.md"
EXAMPLE = ROOT / "examples" / "exec-broker-acme"
#: ```python src/package/module.py: what follows is that file, or its next part.
BLOCK = re.compile(r"^```(\w+) (\S+)\n(.*?)\n^```$", re.MULTILINE | re.DOTALL)
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Shown, and no part of the package.
BESIDE = "exec.toml"
#: Told in prose: a file without content.
EMPTY = "src/exec_broker_acme/py.typed"
PATIENCE = 300.0


def written() -> dict[str, str]:
    """The files that the blocks make; parts of one are a blank line apart, and two before what is not indented."""
    files: dict[str, str] = {}
    for _, name, text in BLOCK.findall(TUTORIAL.read_text(encoding="utf-8")):
        apart = "\n\n" if text.startswith(" ") else "\n\n\n"
        files[name] = f"{files[name]}{apart}{text}" if name in files else text
    return {name: f"{text}\n" for name, text in files.items()}


FILES = written()


def in_the_example() -> set[str]:
    """The names of the example's files."""
    made = ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", "dist")
    files = (path.relative_to(EXAMPLE) for path in EXAMPLE.rglob("*") if path.is_file())
    return {path.as_posix() for path in files if not set(path.parts) & set(made)}


def installed(directory: Path) -> dict[str, str]:
    """The environment in which the package of `directory` is installed, as an installer would leave its metadata."""
    project = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name = project["name"].replace("-", "_")
    metadata = directory / "site" / f"{name}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    lines = [f"Name: {project['name']}", f"Version: {project['version']}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in project["dependencies"]]
    (metadata / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]), encoding="utf-8")
    groups = configparser.ConfigParser(delimiters=("=",))
    groups.read_dict(project["entry-points"])
    with (metadata / "entry_points.txt").open("w", encoding="utf-8") as file:
        groups.write(file)
    path = os.pathsep.join([str(directory / "site"), str(directory / "src"), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The package, made from the tutorial alone."""
    for name, text in {**FILES, EMPTY: ""}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def run(package: Path, *arguments: str) -> str:
    """What Python prints in the package's directory, without an error."""
    command = [sys.executable, *arguments]
    environment = installed(package)
    done = subprocess.run(
        command, cwd=package, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tutorial_shows_every_file_of_the_example() -> None:
    assert {*FILES, EMPTY} - {BESIDE} == in_the_example()
    assert EMPTY in TUTORIAL.read_text(encoding="utf-8")
    assert (EXAMPLE / EMPTY).read_bytes() == b""


@pytest.mark.parametrize("name", sorted(set(FILES) - {BESIDE}))
def test_the_blocks_are_the_examples_file(name: str) -> None:
    assert FILES[name] == (EXAMPLE / name).read_text(encoding="utf-8")


def test_what_the_tutorial_makes_passes_the_kit(package: Path) -> None:
    tests = ("tests/test_conformance.py", "tests/test_account.py")
    printed = run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    assert re.search(r"^\d{2,} passed", printed, re.MULTILINE), printed
    assert "xfailed" not in printed


def test_what_the_tutorial_makes_works_under_the_service(package: Path) -> None:
    printed = run(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_service.py")
    assert re.search(r"^1 passed", printed, re.MULTILINE), printed


def test_the_account_shown_can_be_configured(package: Path) -> None:
    script = """
import os, tomllib
os.environ["ACME_TOKEN"] = "secret"
from exec_core import BrokerConfig
from exec_core.plugins import load_broker_plugin, plugin_settings
accounts = tomllib.load(open("exec.toml", "rb"))["accounts"]
for account, given in accounts.items():
    config = BrokerConfig(given["broker"], account, given["name"], given["mode"], given["settings"])
    print(plugin_settings(load_broker_plugin(config.broker), config))
"""
    assert "account='A-100234'" in run(package, "-c", script)


def test_the_commands_take_the_arguments_shown() -> None:
    fences = FENCE.findall(TUTORIAL.read_text(encoding="utf-8"))
    shown = [line for about, text in fences if not about for line in text.splitlines()]
    ours = [shlex.split(line)[1:] for line in shown if line.startswith("exec-service ")]
    assert ["conformance", "acme"] in ours
    for name, *arguments in ours:
        command = main.commands[name]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        given = {argument for argument in arguments if argument.startswith("-")}
        assert given <= known, f"exec-service {name} does not know {given - known}"
        takes_arguments = any(isinstance(parameter, click.Argument) for parameter in command.params)
        assert takes_arguments or set(arguments) == given, f"exec-service {name} takes no arguments"
