"""`plugins` shows what is installed, and what is wrong with what does not work."""

from __future__ import annotations

import json
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner
from exec_core import plugins as core_plugins
from exec_service.cli import main


@pytest.fixture
def add_plugin(monkeypatch: pytest.MonkeyPatch):
    """Install one more plugin, beside the real ones."""
    real = core_plugins.entry_points(group=core_plugins.ENTRY_POINT_GROUP)
    added: list[EntryPoint] = []

    def entry_points(*, group: str) -> list[EntryPoint]:
        return [*real, *added]

    def add(name: str, module: types.ModuleType | None) -> None:
        full_name = f"plugin_of_a_test_{name}"
        if module is not None:
            monkeypatch.setitem(sys.modules, full_name, module)
        added.append(EntryPoint(name, full_name, core_plugins.ENTRY_POINT_GROUP))

    monkeypatch.setattr(core_plugins, "entry_points", entry_points)
    return add


def rows() -> dict[str, dict[str, object]]:
    result = CliRunner().invoke(main, ["plugins", "--json"])
    assert result.exit_code == 0, result.output
    return {row["name"]: row for row in json.loads(result.stdout)}


def test_a_broker_is_shown_with_what_it_can_do() -> None:
    mock = rows()["mock"]
    assert (mock["kind"], mock["distribution"], mock["error"]) == ("broker", "exec-broker-mock", None)
    assert mock["capabilities"]["order_types"] == ["LIMIT", "MARKET", "STOP", "STOP_LIMIT"]
    assert mock["capabilities"]["idempotency"] == "CORRELATES"


def test_a_notifier_is_shown() -> None:
    console = rows()["console"]
    assert (console["kind"], console["distribution"]) == ("notifier", "exec-service")
    assert (console["capabilities"], console["error"]) == (None, None)


def test_a_plugin_that_cannot_be_imported_is_shown_beside_the_good_ones(add_plugin) -> None:
    add_plugin("broken", None)
    found = rows()
    assert "ModuleNotFoundError" in found["broken"]["error"]
    assert found["mock"]["error"] is None
    assert "ModuleNotFoundError" in CliRunner().invoke(main, ["plugins"]).stdout


def test_a_plugin_that_hands_over_something_else_is_shown_with_its_error(add_plugin) -> None:
    from exec_core import hookimpl

    @hookimpl
    def exec_register_broker() -> str:
        return "no broker"

    module = types.ModuleType("liar")
    module.exec_register_broker = exec_register_broker
    add_plugin("liar", module)
    assert "must hand over one broker" in rows()["liar"]["error"]


def test_a_module_that_registers_nothing_is_shown_with_its_error(add_plugin) -> None:
    add_plugin("empty", types.ModuleType("empty"))
    assert "neither a broker nor a notifier" in rows()["empty"]["error"]


def test_plugins_works_without_any_usable_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORDER_TIMEOUT_SECONDS", "soon")
    monkeypatch.setenv("ACCOUNTS", "{")
    assert CliRunner().invoke(main, ["plugins"]).exit_code == 0
    assert list(tmp_path.iterdir()) == []
