"""The documents say what the code does: their examples run, and they name every hook."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from exec_core import Broker, BrokerPlugin, NotifierPlugin, hookspecs

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("packages/*/README.md")])
HOOKS = sorted(name for name in vars(hookspecs) if name.startswith("exec_"))
PLUGINS = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_the_examples_run(document: Path) -> None:
    if "```python" not in document.read_text(encoding="utf-8"):
        return
    command = [sys.executable, str(ROOT / ".ci" / "run_examples.py"), str(document)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_broken_example_is_noticed(tmp_path: Path) -> None:
    document = tmp_path / "broken.md"
    document.write_text("Text.\n\n```python\nassert 1 + 1 == 2\n```\n\n```python\nassert 1 + 1 == 3\n```\n")
    command = [sys.executable, str(ROOT / ".ci" / "run_examples.py"), str(document)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{document}:3: exit code 0" in done.stdout
    assert f"{document}:7: exit code 1" in done.stdout


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_described_with_its_exact_signature(name: str) -> None:
    returned = inspect.signature(getattr(hookspecs, name)).return_annotation
    assert f"### `def {name}() -> {returned}`" in PLUGINS
    assert f"| `{name}` |" in PLUGINS


@pytest.mark.parametrize("record", [BrokerPlugin, NotifierPlugin])
def test_every_field_that_a_hook_hands_over_is_described(record: type[BrokerPlugin | NotifierPlugin]) -> None:
    table = PLUGINS.split(f"| field of `{record.__name__}` |", 1)[1].split("\n\n", 1)[0]
    described = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert described == {field.name for field in dataclasses.fields(record)}


def test_every_call_of_the_broker_contract_is_named() -> None:
    calls = {name for name, member in vars(Broker).items() if inspect.isfunction(member) and not name.startswith("_")}
    assert {name for name in calls if f"`{name}`" not in PLUGINS} == set()
