"""What the simulator writes, as the real client library's decoder reads it, and `reading` what that makes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from exec_broker_ibkr.connection import reading
from exec_broker_ibkr.connection.sdk import Sdk
from exec_broker_ibkr.messages import (
    AccountValueTold,
    CommissionTold,
    CompletedShown,
    DetailsTold,
    ErrorTold,
    ExecutionTold,
    OrderShown,
    PositionTold,
    PriceStep,
    StatusTold,
)
from exec_broker_ibkr.simulator import outbound
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ibkr_samples import BAG, OPTION, STOCK, loaded_sdk

D = Decimal
AT = datetime(2026, 11, 23, 14, 30, 5, tzinfo=UTC)

SHOWN = OrderShown(
    7, 3, 1998, "ABCDEFGHIJKLMNOPQRST", "DU1", STOCK, "BUY", "LMT", "DAY", "Submitted", D("1.5"), None, D("187.31")
)
COMPLETED = CompletedShown(
    1998, "ABCDEFGHIJKLMNOPQRST", "DU1", STOCK, "SELL", "MKT", "GTC", "Cancelled", None, D("0.00000001"),
    completed_time="20261123 09:30:00 America/New_York", completed_status="Cancelled by Trader",
)  # fmt: skip
EXECUTION = ExecutionTold(
    7, 3, 1998, "REF", "DU1", OPTION, "0000e0d5.6a.01.01", "BOT", D("0.1"), D("0.05"), AT, D("1.1"), D("0.0455")
)
DETAILS = DetailsTold(
    replace(STOCK, primary_exchange="NASDAQ"), D("0.01"), (("SMART", 26), ("NYSE", 27)), D("0.0001"), D("0.0001"),
    "COMMON", "Zürich & Söhne \\ Co", price_magnifier=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def sdk() -> Sdk:
    """The client library of this environment."""
    return loaded_sdk()


class Recorder:
    """Stands where the library has its wrapper, and keeps what its decoder calls."""

    class Ib:
        TimezoneTWS = ""

    ib = Ib()
    defaultTimezone = UTC  # noqa: N815

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.calls.append((name, arguments))


@pytest.fixture
def decoded(sdk: Sdk, caplog: pytest.LogCaptureFixture) -> Callable[[list[str]], tuple[str, tuple[Any, ...]]]:
    """What the library's decoder makes of a message: one call, and no word of complaint."""

    def decode(fields: list[str]) -> tuple[str, tuple[Any, ...]]:
        recorder = Recorder()
        sdk.decoder(recorder, outbound.SERVER_VERSION).interpret(list(fields))
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
        (call,) = recorder.calls
        return call

    return decode


Decode = Callable[[list[str]], tuple[str, tuple[Any, ...]]]


@pytest.mark.parametrize(
    "shown",
    [
        SHOWN,
        replace(SHOWN, contract=OPTION, order_type="STP LMT", stop_price=D("3.05"), parent_id=6, warning="Careful"),
        replace(SHOWN, contract=BAG, limit_price=D(0), status="PreSubmitted"),
        replace(SHOWN, contract=BAG, limit_price=D("-0.35")),
        replace(SHOWN, order_type="MKT", limit_price=None, total_quantity=None, cash_quantity=D("1000.25")),
        replace(SHOWN, order_type="STP", limit_price=None, stop_price=D("100"), order_id=0, perm_id=0, tif="GTC"),
    ],
)
def test_an_open_order_is_read_as_it_was_shown(shown: OrderShown, decoded: Decode) -> None:
    name, arguments = decoded(outbound.encode(shown))
    assert name == "openOrder"
    assert reading.order_shown(*arguments) == shown


@pytest.mark.parametrize(
    "completed",
    [
        COMPLETED,
        replace(COMPLETED, contract=BAG, order_type="LMT", limit_price=D("-1.05"), filled=D(0)),
        replace(COMPLETED, contract=OPTION, order_type="STP", stop_price=D("1.05"), total_quantity=D(7), filled=None),
        replace(COMPLETED, cash_quantity=D("250.01"), filled=D("0.00412345"), status="Filled"),
    ],
)
def test_a_completed_order_is_read_as_it_was_shown(completed: CompletedShown, decoded: Decode) -> None:
    name, arguments = decoded(outbound.encode(completed))
    assert name == "completedOrder"
    assert reading.completed_shown(*arguments) == completed
    assert arguments[1].orderId == 0
    assert arguments[1].clientId == 0


@pytest.mark.parametrize(
    "told",
    [
        StatusTold(7, 3, 1998, "PreSubmitted", D(0), D(100), None, "trigger"),
        StatusTold(7, 3, 1998, "Submitted", D("0.5"), D("99.5"), D("187.3125")),
        StatusTold(7, 3, 1998, "Filled", D(1), D(0), D("-0.35")),
    ],
)
def test_a_status_is_read_as_it_was_told(told: StatusTold, decoded: Decode) -> None:
    name, arguments = decoded(outbound.encode(told))
    assert name == "orderStatus"
    order_id, status, filled, remaining, average, perm_id, parent_id, _last, client_id, why_held, _cap = arguments
    read = reading.status_told(order_id, status, filled, remaining, average, perm_id, client_id, why_held)
    assert read == told
    assert parent_id == 0


@pytest.mark.parametrize("request_id", [-1, 1_000_000_007])
@pytest.mark.parametrize("told", [EXECUTION, replace(EXECUTION, contract=BAG, price=D("-0.35"), side="SLD")])
def test_an_execution_is_read_as_it_was_told(told: ExecutionTold, request_id: int, decoded: Decode) -> None:
    # The seconds since 1970 are what our own decoder puts here, for both libraries read them alike.
    name, arguments = decoded(outbound.encode(told, request_id, str(int(AT.timestamp()))))
    assert (name, arguments[0]) == ("execDetails", request_id)
    # Of a combination an execution does not tell the legs.
    assert reading.execution_told(*arguments[1:]) == replace(told, contract=replace(told.contract, legs=()))


@pytest.mark.parametrize("commission", [D("1.0028"), D(0), D("-0.25"), None])
def test_a_commission_is_read_as_it_was_told(commission: Decimal | None, decoded: Decode) -> None:
    told = CommissionTold("0000e0d5.6a.01.01", commission, "USD" if commission is not None else "")
    name, arguments = decoded(outbound.encode(told))
    assert name == "commissionReport"
    assert reading.commission_told(*arguments) == told


def test_an_error_is_read_as_it_was_told(decoded: Decode) -> None:
    told = ErrorTold(7, 201, "Order rejected - reason: too much, by far", '{"rejects":[]}')
    assert decoded(outbound.encode(told)) == ("error", (7, 201, told.text, told.advanced))


def test_the_answers_are_read_as_they_were_told(decoded: Decode) -> None:
    position = PositionTold("DU1", OPTION, D("-2"), D("120.5"))
    name, arguments = decoded(outbound.position(position))
    assert (name, reading.position_told(*arguments)) == ("position", position)

    value = AccountValueTold("DU1", "NetLiquidation", "1000.50", "USD")
    assert decoded(outbound.account_summary(value, 9)) == (
        "accountSummary",
        (9, "DU1", "NetLiquidation", "1000.50", "USD"),
    )
    assert decoded(outbound.account_value(value)) == (
        "updateAccountValue",
        ("NetLiquidation", "1000.50", "USD", "DU1"),
    )
    assert decoded(outbound.account_update_multi(value, 9)) == (
        "accountUpdateMulti",
        (9, "DU1", "", "NetLiquidation", "1000.50", "USD"),
    )

    steps = (PriceStep(D(0), D("0.01")), PriceStep(D(3), D("0.05")))
    name, (rule, rows) = decoded(outbound.market_rule(26, steps))
    assert (name, rule, reading.price_steps(rows)) == ("marketRule", 26, steps)

    name, (epoch,) = decoded(outbound.current_time(AT))
    assert (name, reading.moment(epoch)) == ("currentTime", AT)


@pytest.mark.parametrize(
    "details",
    [
        DETAILS,
        DetailsTold(OPTION, None, (), None, None, contract_month="202712", price_magnifier=100, under_con_id=756733),
    ],
)
def test_contract_details_are_read_as_they_were_told(details: DetailsTold, decoded: Decode) -> None:
    name, (request_id, read) = decoded(outbound.contract_details(details, 12))
    assert (name, request_id) == ("contractDetails", 12)
    assert reading.details_told(read) == details


@pytest.mark.parametrize(
    ("message", "call"),
    [
        (outbound.next_valid_id(42), ("nextValidId", (42,))),
        (outbound.managed_accounts(["DU1", "DU2"]), ("managedAccounts", ("DU1,DU2",))),
        (outbound.open_order_end(), ("openOrderEnd", ())),
        (outbound.exec_details_end(7), ("execDetailsEnd", (7,))),
        (outbound.completed_orders_end(), ("completedOrdersEnd", ())),
        (outbound.contract_details_end(7), ("contractDetailsEnd", (7,))),
        (outbound.position_end(), ("positionEnd", ())),
        (outbound.account_summary_end(7), ("accountSummaryEnd", (7,))),
        (outbound.account_download_end("DU1"), ("accountDownloadEnd", ("DU1",))),
        (outbound.account_update_multi_end(7), ("accountUpdateMultiEnd", (7,))),
    ],
)
def test_the_short_messages(message: list[str], call: tuple[str, tuple[Any, ...]], decoded: Decode) -> None:
    assert decoded(message) == call


# Figures

figures = st.decimals(min_value=D("0.00000001"), max_value=D(1_000_000), places=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(quantity=figures, price=figures, negative=st.booleans())
def test_no_digit_of_an_execution_is_lost(sdk: Sdk, quantity: Decimal, price: Decimal, negative: bool) -> None:
    price = -price if negative else price
    recorder = Recorder()
    told = replace(EXECUTION, quantity=quantity, price=price)
    sdk.decoder(recorder, 176).interpret(outbound.encode(told, -1, "1700000000"))
    ((_, (_, contract, execution)),) = recorder.calls
    read = reading.execution_told(contract, execution)
    assert (read.quantity, read.price) == (quantity, price)


@pytest.mark.parametrize("unset", ["", "1.7976931348623157E308", "2147483647", None, 1.7976931348623157e308, "nan"])
def test_what_is_not_set_is_none(unset: object) -> None:
    assert reading.figure(unset) is None


def test_a_price_of_zero_is_none_where_the_type_has_no_such_price(decoded: Decode) -> None:
    _, arguments = decoded(outbound.encode(replace(SHOWN, order_type="MKT", limit_price=None, stop_price=None)))
    assert arguments[2].lmtPrice == 0.0
    assert arguments[2].auxPrice == 0.0
    read = reading.order_shown(*arguments)
    assert (read.limit_price, read.stop_price) == (None, None)


def test_an_execution_without_a_price_is_not_invented(decoded: Decode) -> None:
    message = outbound.encode(EXECUTION, -1, "1700000000")
    message[20] = "1.7976931348623157E308"
    _, (_, contract, execution) = decoded(message)
    with pytest.raises(ValueError, match=r"0000e0d5\.6a\.01\.01"):
        reading.execution_told(contract, execution)
