"""Finding plugins: only the one named is imported, and what is wrong with it is said in one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib import invalidate_caches
from pathlib import Path
from typing import Any

import pytest
from exec_core.broker import BrokerConfig, Mode
from exec_core.errors import ConfigurationError, PluginError
from exec_core.guard import GuardedBroker
from exec_core.identifiers import AccountId
from exec_core.plugins import BrokerFactory, installed_plugins, load_broker_plugin, load_notifier_plugins

BROKER = """
from exec_core import BrokerPlugin, BrokerSettings, Capabilities, hookimpl
{extra}
class Session:
    def __init__(self, config, settings):
        self.config, self.settings = config, settings

class Settings(BrokerSettings):
    port: int = 1

@hookimpl
def exec_register_broker():
    {statement}
    return BrokerPlugin("{called}", Settings, Session, Capabilities(frozenset(), frozenset(), frozenset()), 5.0)
"""
NOTIFIER = """
from exec_core import NotifierPlugin, PluginSettings, hookimpl

@hookimpl
def exec_register_notifier():
    return NotifierPlugin("{called}", PluginSettings, lambda settings: None)
"""
Install = Callable[..., None]


def broker_source(called: str, *, extra: str = "", statement: str = "pass") -> str:
    return BROKER.format(called=called, extra=extra, statement=statement)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution with one module and one entry point; all gone afterwards."""
    monkeypatch.chdir(tmp_path)
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)

    def install(distribution: str, name: str, source: str, *, module: str | None = None) -> None:
        module = module or distribution.replace("-", "_")
        monkeypatch.delitem(sys.modules, module, raising=False)  # of another test's distribution of that name
        (site / f"{module}.py").write_text(source)
        info = site / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[exec_core]\n{name} = {module}\n")
        invalidate_caches()

    yield install
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_broker_is_made_by_its_name(install: Install) -> None:
    install("exec-broker-acme", "acme", broker_source("acme"))
    broker = BrokerFactory.create_broker({"broker": "acme", "account_id": "acc_1", "settings": {"port": 7}})
    assert isinstance(broker, GuardedBroker)
    session: Any = broker._broker
    assert session.config == BrokerConfig("acme", AccountId("acc_1"), settings={"port": 7})
    assert session.settings.port == 7
    assert broker.plugin is not None
    config = BrokerConfig("acme", AccountId("acc_1"), mode=Mode.PAPER)
    again: Any = BrokerFactory.create_broker(config)._broker
    assert again.config is config


def test_what_is_installed_is_listed_without_being_imported(install: Install) -> None:
    install("exec-broker-acme", "acme", "raise RuntimeError('imported')")
    plugin = installed_plugins()["acme"]
    assert (plugin.name, plugin.distribution, plugin.version) == ("acme", "exec-broker-acme", "1.2")


def test_only_the_plugin_named_is_imported(install: Install) -> None:
    install("exec-broker-acme", "acme", broker_source("acme"))
    install("exec-broker-other", "other", "raise RuntimeError('imported')")
    assert load_broker_plugin("acme").name == "acme"
    assert "exec_broker_other" not in sys.modules


def test_a_plugin_that_is_not_installed_names_the_command_that_installs_it(install: Install) -> None:
    install("exec-broker-acme", "acme", broker_source("acme"))
    with pytest.raises(PluginError, match=r"installed: .*acme.*pip install exec-broker-nowhere"):
        load_broker_plugin("nowhere")


def test_two_packages_that_claim_one_name_are_refused_and_named(install: Install) -> None:
    install("exec-broker-acme", "acme", broker_source("acme"))
    install("acme-tools", "acme", broker_source("acme"))
    with pytest.raises(PluginError, match=r"named 'acme'.*(exec-broker-acme and acme-tools|acme-tools and exec-bro)"):
        load_broker_plugin("acme")


def test_a_misspelt_hook_is_refused(install: Install) -> None:
    source = broker_source("acme").replace("def exec_register_broker", "def exec_register_brokre")
    install("exec-broker-acme", "acme", source)
    with pytest.raises(PluginError, match=r"'acme' \(exec-broker-acme 1\.2\) cannot be loaded: .*exec_register_brokre"):
        load_broker_plugin("acme")


def test_a_plugin_that_cannot_be_imported_says_why(install: Install) -> None:
    install("exec-broker-acme", "acme", broker_source("acme", extra="import no_such_sdk"))
    with pytest.raises(PluginError, match="cannot be loaded: ModuleNotFoundError: No module named 'no_such_sdk'"):
        load_broker_plugin("acme")


def test_a_plugin_that_calls_itself_otherwise_is_refused(install: Install) -> None:
    install("exec-broker-acme", "acme", broker_source("emca"))
    with pytest.raises(PluginError, match="calls itself 'emca'"):
        load_broker_plugin("acme")


def test_a_hook_that_fails_is_named(install: Install) -> None:
    install("exec-broker-acme", "acme", broker_source("acme", statement="raise RuntimeError('oh')"))
    with pytest.raises(PluginError, match="failed in its hook: oh"):
        load_broker_plugin("acme")


@pytest.mark.parametrize("statement", ["return None", "return 'acme'", "return Settings"])
def test_a_hook_must_hand_over_a_broker(install: Install, statement: str) -> None:
    install("exec-broker-acme", "acme", broker_source("acme", statement=statement))
    with pytest.raises(PluginError, match="must hand over one broker"):
        load_broker_plugin("acme")


def test_a_notifier_is_no_broker(install: Install) -> None:
    install("exec-notifier-bell", "bell", NOTIFIER.format(called="bell"))
    with pytest.raises(PluginError, match="must hand over one broker"):
        load_broker_plugin("bell")


def test_every_notifier_is_found_among_the_plugins(install: Install) -> None:
    install("exec-broker-acme", "acme", broker_source("acme"))
    install("exec-notifier-bell", "bell", NOTIFIER.format(called="bell"))
    names = {plugin.name for plugin in load_notifier_plugins()}
    assert "bell" in names
    assert "acme" not in names


def test_a_notifier_of_another_name_is_refused(install: Install) -> None:
    install("exec-notifier-bell", "bell", NOTIFIER.format(called="horn"))
    with pytest.raises(PluginError, match="calls itself 'horn'"):
        load_notifier_plugins()


def test_a_config_is_checked_whole() -> None:
    with pytest.raises(ConfigurationError) as caught:
        BrokerFactory.create_broker({"account": "acc_1", "mode": "real"})
    assert caught.value.problems == (
        "create_broker: broker is missing",
        "create_broker: account_id is missing",
        "create_broker: there is no key account",
        "create_broker: mode must be one of live, paper, mock, got 'real'",
    )


def test_a_config_may_name_the_account_and_its_mode(install: Install) -> None:
    install("exec-broker-acme", "acme", broker_source("acme"))
    config = {"broker": "acme", "account_id": "acc_1", "name": "Main", "mode": "paper", "settings": None}
    session: Any = BrokerFactory.create_broker(config)._broker
    assert (session.config.name, session.config.mode, session.config.settings) == ("Main", Mode.PAPER, {})
