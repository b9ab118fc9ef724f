"""P7: a secret never reaches a log, an error text, a document or a notification; here a stranger's broker leaks it."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path

import pytest
from exec_service import logs
from messages import order
from rig import Rig

SECRET = "tok-9f8e7d6c5b4a"

PLUGIN = """
from exec_broker_mock.broker import PLUGIN as MOCK
from exec_core import BrokerPlugin, BrokerSettings, OrderRejected, OutcomeUnknown, hookimpl
from pydantic import SecretStr

class Settings(BrokerSettings):
    token: SecretStr

class Leaky:
    def __init__(self, config, settings):
        from exec_core import BrokerConfig
        from exec_core.plugins import plugin_settings
        self.token = settings.token.get_secret_value()
        plain = BrokerConfig("mock", config.account_id)
        self.inner = MOCK.create(plain, plugin_settings(MOCK, plain))
    def __getattr__(self, name):
        return getattr(self.inner, name)
    async def __aenter__(self):
        await self.inner.__aenter__()
        return self
    async def __aexit__(self, *args):
        await self.inner.__aexit__(*args)
    async def place_order(self, order):
        if order.request.instrument.symbol == "REFUSED":
            raise OrderRejected(f"https://api.example/orders?token={self.token} says no")
        if order.request.instrument.symbol == "ODD":
            raise ValueError(f"unexpected answer for token {self.token}")
        return await self.inner.place_order(order)

@hookimpl
def exec_register_broker():
    return BrokerPlugin("leaky", Settings, Leaky, MOCK.capabilities, 0.3, 0.2, 5)
"""


@pytest.fixture
def leaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the plugin, as pip would."""
    site = tmp_path / "site"
    info = site / "exec_broker_leaky-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "exec_broker_leaky.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: exec-broker-leaky\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[exec_core]\nleaky = exec_broker_leaky\n")
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("exec_broker_leaky", None)


async def test_what_a_broker_leaks_goes_no_further(rig: Rig, leaky: None, tmp_path: Path) -> None:
    rig.options["use_mock_broker"] = False
    rig.accounts = {"acc_1": {"broker": "leaky", "mode": "paper", "settings": {"token": SECRET}}}
    rig.redactor.add(SECRET)
    with logs.configure(tmp_path / "logs", "DEBUG", redactor=rig.redactor):
        async with rig.service():
            await rig.publish(order("refused", symbol="REFUSED"), order("odd", symbol="ODD"), order("good"))
            refused = await rig.reaches("refused", "REJECTED")
            await rig.reaches("odd", "REJECTED", seconds=30)
            await rig.reaches("good", "FILLED")
            confirmations = await rig.confirmations()
    assert refused["reason"] == "https://api.example/orders?token=*** says no"
    told = [note.text for note in rig.listener.heard]
    assert any("***" in text for text in told)
    assert SECRET not in json.dumps([confirmations, told])
    assert SECRET not in repr(rig.settings)
    assert _leaks(tmp_path) == []
    for name in ("store", "bus"):
        connection = sqlite3.connect(rig.directory / "data" / f"{name}.sqlite3")
        assert SECRET not in "\n".join(connection.iterdump())
        connection.close()


def _leaks(directory: Path) -> list[Path]:
    """The files that hold the secret, other than the plugin's own."""
    files = [file for file in sorted(directory.rglob("*")) if file.is_file() and "site" not in file.parts]
    return [file for file in files if SECRET.encode() in file.read_bytes()]
