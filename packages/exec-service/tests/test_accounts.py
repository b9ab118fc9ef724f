"""The accounts: what is refused, and who serves them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from exec_core import AccountId, BrokerConfig, ConfigurationError, Mode
from exec_service.settings import Account, Settings, load_settings

IBKR = {"name": "IBKR Main Account", "broker": "ibkr", "mode": "paper", "settings": {"port": 4002}}


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and none of our variables in the environment."""
    monkeypatch.chdir(tmp_path)
    ours = {name.upper() for name in Settings.model_fields} | {"EXEC_CONFIG"}
    for name in [name for name in os.environ if name.upper() in ours]:
        monkeypatch.delenv(name)
    return tmp_path


def refused(**command_line: object) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**command_line)  # type: ignore[arg-type]
    return caught.value.problems


def with_accounts(accounts: object, **more: object) -> Settings:
    return load_settings(embedded=True, accounts=accounts, **more)  # type: ignore[arg-type]


class TestAccounts:
    def test_an_account_is_read_whole(self) -> None:
        limits = {"max_order_value": 10_000.5, "max_daily_loss": "none", "allow_short": False, "trading_hours": "hold"}
        settings = with_accounts({"acc_abc123": {**IBKR, "limits": limits}})
        account = settings.account("acc_abc123")
        assert account == Account(
            id="acc_abc123",
            name="IBKR Main Account",
            broker="ibkr",
            mode=Mode.PAPER,
            settings={"port": 4002},
            limits=limits,
        )
        assert settings.account("IBKR Main Account") is None
        assert settings.account_names() == {"IBKR Main Account": "acc_abc123"}
        assert settings.accounts_or_mock == {"acc_abc123": account}
        assert settings.broker_config(account) == BrokerConfig(
            "ibkr", AccountId("acc_abc123"), "IBKR Main Account", Mode.PAPER, {"port": 4002}
        )

    def test_the_name_is_the_id_unless_given(self) -> None:
        assert with_accounts({"acc_1": {"broker": "mock"}}).account_names() == {"acc_1": "acc_1"}

    def test_limits_may_all_be_switched_off(self) -> None:
        assert with_accounts({"acc_1": {"broker": "mock", "limits": "none"}}).accounts["acc_1"].limits == "none"

    @pytest.mark.parametrize("mode", [None, "mock"])
    def test_an_account_of_the_mock_is_always_in_mode_mock(self, mode: str | None) -> None:
        raw = {"broker": "mock"} | ({"mode": mode} if mode else {})
        assert with_accounts({"acc_1": raw}).accounts["acc_1"].mode is Mode.MOCK

    @pytest.mark.parametrize(
        ("change", "where"),
        [
            ({"mode": "live", "broker": "mock"}, "mode"),
            ({"mode": "mock"}, "mode"),
            ({"mode": None}, "mode"),
            ({"mode": "real"}, "mode"),
            ({"broker": ""}, "broker"),
            ({"broker": None}, "broker"),
            ({"name": ""}, "name"),
            ({"name": "x" * 129}, "name"),
            ({"name": "two\nlines"}, "name"),
            ({"settings": []}, "settings"),
            ({"id": "acc_2"}, "id"),
            ({"modus": "paper"}, "modus"),
            ({"limits": "all"}, "limits"),
            ({"limits": {"max_order_valu": 1}}, "limits.max_order_valu"),
            ({"limits": {"max_order_value": -1}}, "limits.max_order_value"),
            ({"limits": {"max_order_value": True}}, "limits.max_order_value"),
            ({"limits": {"max_order_value": float("nan")}}, "limits.max_order_value"),
            ({"limits": {"max_order_value": "10"}}, "limits.max_order_value"),
            ({"limits": {"allow_short": 1}}, "limits.allow_short"),
            ({"limits": {"trading_hours": "maybe"}}, "limits.trading_hours"),
            ({"limits": {"exit_exceeds_position": "ignore"}}, "limits.exit_exceeds_position"),
        ],
    )
    def test_what_cannot_be_used_is_refused_by_its_place(self, change: dict[str, object], where: str) -> None:
        (problem,) = refused(embedded=True, accounts={"acc_1": {**IBKR, **change}})
        assert problem.startswith(f"ACCOUNTS.acc_1.{where}: ")

    def test_an_id_that_cannot_be_printed_is_refused(self) -> None:
        (problem,) = refused(embedded=True, accounts={"": IBKR})
        assert "must be 1 to 128 printable characters" in problem

    def test_two_accounts_with_one_name_are_refused(self) -> None:
        (problem,) = refused(embedded=True, accounts={"acc_1": IBKR, "acc_2": IBKR})
        assert problem == "ACCOUNTS.acc_2.name: 'IBKR Main Account' is the name of acc_1 too"

    def test_a_name_that_is_the_id_of_another_is_refused(self) -> None:
        (problem,) = refused(embedded=True, accounts={"acc_1": {**IBKR, "name": "acc_2"}, "acc_2": IBKR})
        assert problem == "ACCOUNTS.acc_1.name: 'acc_2' is the id of another account"


class TestTheMock:
    def test_it_serves_every_account_without_the_other_brokers_settings(self) -> None:
        accounts = {"acc_1": IBKR, "acc_2": {"broker": "mock", "settings": {"seed": 7}}}
        settings = with_accounts(accounts, use_mock_broker=True)
        served = settings.accounts_or_mock
        assert {(account.broker, account.mode) for account in served.values()} == {("mock", Mode.MOCK)}
        assert served["acc_1"].settings == {}
        assert served["acc_2"].settings == {"seed": 7}
        assert served["acc_1"].name == "IBKR Main Account"
        assert settings.account("acc_1") == served["acc_1"]
        assert settings.broker_config(settings.accounts["acc_1"]).broker == "mock"
        assert settings.broker_config(settings.accounts["acc_1"]).settings == {}

    def test_it_does_not_serve_an_account_that_is_not_configured(self) -> None:
        settings = with_accounts({"acc_1": IBKR}, use_mock_broker=True)
        assert not settings.serves_any_account
        assert settings.account("acc_2") is None

    def test_it_serves_any_account_where_none_is_configured(self) -> None:
        settings = load_settings(embedded=True, use_mock_broker=True, serving=True)
        assert settings.serves_any_account
        assert settings.accounts_or_mock == {}
        account = settings.account("whatever")
        assert account is not None
        assert (account.id, account.name, account.broker, account.mode) == ("whatever", "whatever", "mock", Mode.MOCK)
        assert settings.account("") is None

    def test_an_account_needs_neither_broker_nor_mode_under_it(self) -> None:
        settings = with_accounts({"acc_1": {"name": "Main"}, "acc_2": {"broker": "ibkr"}}, use_mock_broker=True)
        assert {account.broker for account in settings.accounts_or_mock.values()} == {"mock"}

    def test_without_it_an_account_is_needed_to_serve(self) -> None:
        settings = load_settings(embedded=True)
        assert not settings.serves_any_account
        assert settings.account("acc_1") is None
        with pytest.raises(ConfigurationError, match=r"No account is configured.*--use-mock-broker"):
            _ = settings.accounts_or_mock
        (problem,) = refused(embedded=True, serving=True)
        assert problem.startswith("No account is configured: ")
