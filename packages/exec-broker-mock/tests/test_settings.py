"""The plugin's variables."""

from __future__ import annotations

from decimal import Decimal

import pytest
from exec_broker_mock.settings import MockBrokerSettings
from exec_core import BrokerFactory, ConfigurationError


def test_the_defaults_are_those_documented():
    settings = MockBrokerSettings()
    assert settings.model_dump() == {
        "fill_delay_seconds": 0,
        "reject_probability": 0,
        "partial_fills": 1,
        "seed": 0,
        "commission": Decimal("1.00"),
        "prices": {},
        "state_file": None,
        "currency": "USD",
        "cancel_delay_seconds": 0,
        "cash": Decimal(1_000_000),
    }


def test_variables_come_from_the_environment_and_the_account_overrides_them(monkeypatch):
    monkeypatch.setenv("MOCK_BROKER_PRICES", '{"SPY": 235.15, "BTC": 30000}')
    monkeypatch.setenv("MOCK_BROKER_PARTIAL_FILLS", "3")
    monkeypatch.setenv("MOCK_BROKER_STATE_FILE", "")
    settings = MockBrokerSettings(partial_fills=2)
    assert settings.prices == {"SPY": Decimal("235.15"), "BTC": Decimal(30000)}
    assert settings.partial_fills == 2
    assert settings.state_file is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fill_delay_seconds", -1),
        ("fill_delay_seconds", "nan"),
        ("cancel_delay_seconds", -0.1),
        ("reject_probability", 1.1),
        ("partial_fills", 0),
        ("partial_fills", 1.5),
        ("commission", "-1"),
        ("commission", "Infinity"),
        ("prices", {"SPY": 0}),
        ("currency", "dollars"),
        ("seed", "x"),
    ],
)
def test_a_value_out_of_range_is_refused_naming_its_variable(name, value):
    with pytest.raises(ConfigurationError, match=f"MOCK_BROKER_{name.upper()}"):
        BrokerFactory.create_broker({"broker": "mock", "account_id": "a", "settings": {name: value}})
