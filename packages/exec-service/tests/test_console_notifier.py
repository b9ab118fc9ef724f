"""The console notifier comes in through the same hook as a stranger's, and writes one line per notification."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from exec_core import ConfigurationError, Notification, Notifier
from exec_core.plugins import installed_plugins, load_notifier_plugins
from exec_service.notifiers import console

LOGGER = "exec_service.notifications"


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CONSOLE_NOTIFIER_ENABLED", "EXEC_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def test_it_is_found_by_its_entry_point() -> None:
    assert installed_plugins()["console"].distribution == "exec-service"
    assert console.exec_register_notifier() in load_notifier_plugins()


def test_it_is_a_notifier_and_switched_on_unless_told() -> None:
    plugin = console.exec_register_notifier()
    assert isinstance(plugin.create(plugin.settings()), Notifier)


def test_its_variable_switches_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSOLE_NOTIFIER_ENABLED", "false")
    plugin = console.exec_register_notifier()
    assert plugin.create(plugin.settings()) is None


def test_the_file_switches_it_off(tmp_path: Path) -> None:
    (tmp_path / "exec.toml").write_text("console_notifier_enabled = false\n")
    assert console.create(console.ConsoleSettings()) is None


async def test_a_notification_becomes_one_line(caplog: pytest.LogCaptureFixture) -> None:
    fields = (("Signal", "sig_1"), ("Order", "BUY 100 SPY @ $235.15"), ("Reason", "100% wrong\r\n%s"))
    with caplog.at_level(logging.INFO, LOGGER):
        async with console.ConsoleNotifier() as notifier:
            await notifier.send(Notification("id", "✅ Order Filled", fields, prefix="[PAPER]"))
    line = "[PAPER] ✅ Order Filled | Signal: sig_1 | Order: BUY 100 SPY @ $235.15 | Reason: 100% wrong | %s"
    assert [(record.name, record.getMessage()) for record in caplog.records] == [(LOGGER, line)]


def test_a_wrong_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSOLE_NOTIFIER_ENABLED", "perhaps")
    with pytest.raises((ConfigurationError, ValueError), match="enabled"):
        console.ConsoleSettings()
