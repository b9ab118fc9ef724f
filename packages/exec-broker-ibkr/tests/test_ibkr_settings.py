"""The plugin's variables."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from exec_broker_ibkr.breaks import DEFAULT
from exec_broker_ibkr.orders import capabilities
from exec_broker_ibkr.settings import IbkrSettings
from exec_core.broker import BrokerConfig, BrokerPlugin
from exec_core.errors import ConfigurationError
from exec_core.plugins import plugin_settings

PLUGIN = BrokerPlugin("ibkr", IbkrSettings, lambda config, settings: None, capabilities(), 120.0)
NIGHT = datetime(2026, 11, 24, 5, 0, tzinfo=UTC)
SECRET = "value-that-nobody-may-see"


def settings(**given):
    return plugin_settings(PLUGIN, BrokerConfig("ibkr", "acc_1", settings=given))


def problems(**given):
    with pytest.raises(ConfigurationError) as caught:
        settings(**given)
    error = caught.value
    again = pickle.loads(pickle.dumps(error))
    assert again.problems == error.problems
    return error.problems


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_defaults_are_those_documented():
    assert settings().model_dump() == {
        "host": "127.0.0.1",
        "port": 4002,
        "client_id": 1,
        "account": None,
        "time_zone": None,
        "round_prices": False,
        "outside_rth": False,
        "breaks": DEFAULT,
        "connect_seconds": 15,
        "answer_seconds": 10,
        "heartbeat_seconds": 15,
        "sweep_seconds": 60,
    }
    assert settings().zone is None


def test_variables_come_from_the_environment_and_the_account_overrides_them(monkeypatch):
    monkeypatch.setenv("IBKR_HOST", "gateway")
    monkeypatch.setenv("IBKR_PORT", "7497")
    monkeypatch.setenv("IBKR_CLIENT_ID", "12")
    monkeypatch.setenv("IBKR_ACCOUNT", "")
    monkeypatch.setenv("IBKR_TIME_ZONE", "Europe/Berlin")
    monkeypatch.setenv("IBKR_ROUND_PRICES", "true")
    one = settings(port=4001)
    assert (one.host, one.port, one.client_id, one.account, one.round_prices) == ("gateway", 4001, 12, None, True)
    assert one.zone == ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("value", "windows"),
    [
        ("none", ()),
        (" NONE ", ()),
        (
            "daily 23:40-00:50 America/New_York; fri 22:55-sat 03:10 America/New_York;",
            ("daily 23:40-00:50 America/New_York", "fri 22:55-sat 03:10 America/New_York"),
        ),
    ],
)
def test_breaks_in_a_variable(monkeypatch, value, windows):
    monkeypatch.setenv("IBKR_BREAKS", value)
    assert settings().breaks == windows
    assert (settings().announced.now(NIGHT) is not None) == bool(windows)


@pytest.mark.parametrize("value", [["daily 23:40-00:50 America/New_York"], "none", ["none"], []])
def test_breaks_of_an_account(value):
    one = settings(breaks=value)
    assert len(one.breaks) == (1 if "daily" in str(value) else 0)
    assert len(one.announced.windows) == len(one.breaks)


def test_breaks_in_a_file(tmp_path):
    (tmp_path / "exec.toml").write_text('ibkr_breaks = ["daily 23:40-00:50 America/New_York"]\nibkr_port = 7496\n')
    assert (settings().breaks, settings().port) == (("daily 23:40-00:50 America/New_York",), 7496)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("port", 0, "greater than or equal to 1"),
        ("port", 65_536, "less than or equal to 65535"),
        ("client_id", 0, "must not be 0, to which TWS gives the orders that people enter by hand"),
        ("client_id", -1, "must be 1 or more"),
        ("host", "", "at least 1 character"),
        ("account", "", "at least 1 character"),
        ("time_zone", "Mars/Olympus", "names no time zone"),
        ("time_zone", "", "names no time zone"),
        ("breaks", ["daily 23:40-00:50 America/New_York", "daily 25:00"], "window 2 is not written like"),
        ("breaks", {"a": 1}, "must be a list of windows"),
        ("breaks", [1], "must be a list of windows"),
        ("connect_seconds", 0, "greater than 0"),
        ("answer_seconds", "inf", "finite"),
        ("heartbeat_seconds", -1, "greater than 0"),
        ("sweep_seconds", 100_000, "less than or equal"),
        ("round_prices", "perhaps", "boolean"),
    ],
)
def test_what_is_wrong_is_said_by_name(name, value, words):
    [problem] = problems(**{name: value})
    assert f"IBKR_{name.upper()}: " in problem
    assert words in problem


def test_all_mistakes_are_told_at_once_and_none_shows_a_value():
    wrong = dict.fromkeys(set(IbkrSettings.model_fields) - {"host", "account"}, SECRET)
    wrong |= {"host": {SECRET: SECRET}, "account": {SECRET: SECRET}, "unheard_of": SECRET}
    told = problems(**wrong)
    assert len(told) == len(wrong)
    assert all(any(name in problem.lower() for problem in told) for name in wrong)
    assert SECRET not in str(told)


def test_breaks_from_the_environment_that_cannot_be_read_are_one_problem_among_others(monkeypatch):
    monkeypatch.setenv("IBKR_BREAKS", f"daily {SECRET}")
    told = problems(port=0)
    assert len(told) == 2
    assert SECRET not in str(told)


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        settings().port = 1
