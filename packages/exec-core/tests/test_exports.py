"""What the package hands over by name: each is where the types say that it is."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import exec_core
import pytest


def declared() -> dict[str, str]:
    """The names with their modules, as whoever checks types reads them."""
    assert exec_core.__file__ is not None
    tree = ast.parse(Path(exec_core.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if node.module is not None and node.module.startswith("exec_core.")]
    return {alias.name: str(node.module) for node in ours for alias in node.names}


def test_the_types_name_all_that_is_public() -> None:
    assert sorted(declared()) == sorted(exec_core.__all__)


@pytest.mark.parametrize("name", exec_core.__all__)
def test_a_name_is_what_the_types_say(name: str) -> None:
    assert getattr(exec_core, name) is getattr(importlib.import_module(declared()[name]), name)


def test_another_name_is_not_there() -> None:
    with pytest.raises(AttributeError, match="'exec_core' has no attribute 'Nonsense'"):
        exec_core.Nonsense  # noqa: B018  # asking is the test


def test_all_names_come_with_a_star() -> None:
    names: dict[str, object] = {}
    exec("from exec_core import *", names)
    assert set(exec_core.__all__) <= set(names)


def test_what_is_slow_to_import_is_imported_when_it_is_asked_for() -> None:
    script = "import sys, exec_core, exec_core.plugins; print('pydantic_settings' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"
