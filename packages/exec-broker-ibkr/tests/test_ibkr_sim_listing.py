"""What is listed at the simulated TWS, and how it finds it."""

from __future__ import annotations

from decimal import Decimal

import pytest
from exec_broker_ibkr.messages import TwsContract
from exec_broker_ibkr.simulator.listing import LISTING, RULES


def found(**query: object) -> list[int]:
    query = {"sec_type": "STK", "currency": "USD", "exchange": "SMART"} | query
    return [one.contract.con_id for one in LISTING.details(TwsContract(**query))]  # type: ignore[arg-type]


def test_a_stock_that_is_listed_once_is_found_once() -> None:
    assert found(symbol="AAPL") == [265598]


def test_without_an_exchange_there_is_a_row_for_each() -> None:
    exchanges = [one.contract.exchange for one in LISTING.details(TwsContract("STK", "AAPL"))]
    assert exchanges == ["SMART", "NASDAQ"]


@pytest.mark.parametrize(
    ("query", "con_ids"),
    [
        ({"symbol": "TWIN"}, [900000001, 900000002]),
        ({"symbol": "TWIN", "primary_exchange": "AMEX"}, [900000002]),
        ({"symbol": "TWIN", "exchange": "NYSE"}, [900000001]),
        ({"symbol": "VOD", "currency": "GBP"}, [137908894]),
        ({"symbol": "NOSUCH"}, []),
        ({"symbol": ""}, []),
        ({"symbol": "AAPL", "currency": "EUR"}, []),
        ({"sec_type": "", "con_id": 265598, "exchange": ""}, [265598, 265598]),
        ({"sec_type": "STK", "con_id": 265598, "exchange": "LSE"}, []),
    ],
)
def test_stocks(query: dict[str, object], con_ids: list[int]) -> None:
    assert found(**query) == con_ids


def test_the_third_friday_of_an_index_has_two_options() -> None:
    option = {"sec_type": "OPT", "symbol": "SPX", "expiry": "20271217", "strike": Decimal(6000), "right": "C"}
    assert len(found(**option)) == 2
    assert len(found(**option, trading_class="SPXW")) == 1


def test_the_chain_of_an_option_without_its_fields() -> None:
    assert len(found(sec_type="OPT", symbol="SPY")) == 4
    assert len(found(sec_type="OPT", symbol="SPY", right="CALL", strike=Decimal(600))) == 1


def test_a_contract_month_is_not_always_that_of_the_last_day() -> None:
    future = {"sec_type": "FUT", "symbol": "CL", "exchange": "NYMEX"}
    assert found(**future, expiry="202712") == [800000001]
    assert found(**future, expiry="20271119") == [800000001]
    assert found(**future, expiry="202711") == []


def test_two_sizes_under_one_symbol() -> None:
    future = {"sec_type": "FUT", "symbol": "SI", "exchange": "COMEX", "expiry": "202712"}
    assert len(found(**future)) == 2
    assert found(**future, multiplier=Decimal(1000)) == [800000012]


def test_each_kind_has_something_with_rules_that_exist_and_names_that_are_its_own() -> None:
    kinds = {one.contract.sec_type for one in LISTING}
    assert kinds == {"STK", "OPT", "FUT", "CASH", "CRYPTO"}
    con_ids = [one.contract.con_id for one in LISTING]
    assert len(set(con_ids)) == len(con_ids)
    for one in LISTING:
        assert {rule for _, rule in one.details.market_rules} <= set(RULES)
        steps = one.steps_at(one.contract.exchange)
        increment = [step.increment for step in steps if one.reference >= step.low_edge][-1]
        assert one.reference % increment == 0, one


def test_local_symbols_of_options_are_written_as_the_clearing_house_does() -> None:
    listed = LISTING.symbol_named("SPY   271217C00600000")
    assert listed is not None
    assert listed.contract.strike == 600
