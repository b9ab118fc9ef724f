"""What the real client library writes, as the simulator understands it; and what cannot be written or understood."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from exec_broker_ibkr.connection import codec, writing
from exec_broker_ibkr.connection.sdk import Sdk
from exec_broker_ibkr.messages import TwsContract, TwsOrder
from exec_broker_ibkr.simulator import inbound, requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ibkr_samples import BAG, OPTION, STOCK, loaded_sdk

D = Decimal


@pytest.fixture(scope="module")
def sdk() -> Sdk:
    """The client library of this environment."""
    return loaded_sdk()


def spoken(sdk: Sdk, request: str, *arguments: object, client_id: int = 3) -> requests.Request:
    """What the simulator understands of a request of the real client."""
    payload = codec.Encoder(sdk, 176, client_id).spell(request, *arguments).decode()
    assert payload.endswith("\0")
    return inbound.decode(payload[:-1].split("\0"), 176)


def placed(sdk: Sdk, contract: TwsContract, order: TwsOrder) -> requests.PlaceOrder:
    made = (writing.contract(sdk.module, contract), writing.order(sdk.module, order))
    request = spoken(sdk, "placeOrder", 7, *made)
    assert isinstance(request, requests.PlaceOrder)
    return request


LIMIT = TwsOrder("BUY", "LMT", "DU1", "DAY", "REF", quantity=D("1.5"), limit_price=D("187.31"))


figures = st.decimals(min_value=D("0.00000001"), max_value=D(1_000_000), places=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(quantity=figures, price=figures, negative=st.booleans())
def test_no_digit_of_an_order_is_lost(sdk: Sdk, quantity: Decimal, price: Decimal, negative: bool) -> None:
    price = -price if negative else price
    request = placed(sdk, STOCK, replace(LIMIT, quantity=quantity, limit_price=price))
    assert (request.order.quantity, request.order.limit_price) == (quantity, price)


@pytest.mark.parametrize(
    ("contract", "order"),
    [
        (STOCK, LIMIT),
        (replace(STOCK, primary_exchange="NASDAQ"), replace(LIMIT, order_type="MKT", limit_price=None)),
        (
            OPTION,
            replace(
                LIMIT,
                order_type="STP LMT",
                stop_price=D("0.00000001"),
                outside_rth=True,
                transmit=False,
                parent_id=6,
                oca_group="group",
                oca_type=3,
                tif="GTC",
            ),
        ),
        (BAG, replace(LIMIT, limit_price=D("-0.35"), routing=(("NonGuaranteed", "1"), ("a", "b")))),
        (BAG, replace(LIMIT, limit_price=D(0))),
        (
            TwsContract("CRYPTO", "BTC", exchange="PAXOS", currency="USD"),
            replace(
                LIMIT, order_type="MKT", limit_price=None, quantity=None, cash_quantity=D("1000.25"), tif="Minutes"
            ),
        ),
        (replace(STOCK, exchange="IBKRATS"), replace(LIMIT, quantity=D("12345678901234567890.123456789"))),
    ],
)
def test_an_order_is_understood_as_it_was_meant(sdk: Sdk, contract: TwsContract, order: TwsOrder) -> None:
    assert placed(sdk, contract, order) == requests.PlaceOrder(7, contract, order)


def test_an_order_made_by_the_library_is_understood_too(sdk: Sdk) -> None:
    """With floats, and what its own constructors set."""
    contract = sdk.module.Stock("AAPL", "SMART", "USD")
    order = sdk.module.StopLimitOrder("SELL", 100, 187.3, 188.25, tif="GTC", account="DU1", orderRef="REF")
    meant = TwsOrder("SELL", "STP LMT", "DU1", "GTC", "REF", D(100), None, D("187.3"), D("188.25"))
    expected = TwsContract("STK", "AAPL", exchange="SMART", currency="USD")
    assert spoken(sdk, "placeOrder", 7, contract, order) == requests.PlaceOrder(7, expected, meant)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"whatIf": True}, "what-if"),
        ({"goodTillDate": "20261224 16:00:00"}, "good"),
        ({"goodAfterTime": "20261224 16:00:00"}, "good"),
        ({"algoStrategy": "Adaptive"}, "algorithm"),
        ({"hedgeType": "D", "hedgeParam": "0.5"}, "hedge"),
        ({"trailingPercent": 1.0}, "trailing"),
        ({"trailStopPrice": 1.0}, "trailing"),
        ({"scalePriceIncrement": 0.1}, "scale"),
        ({"deltaNeutralOrderType": "LMT"}, "delta"),
        ({"allOrNone": True}, "all or none"),
        ({"minQty": 10}, "least"),
        ({"orderType": "PEG MID"}, "PEG MID"),
        ({"conditions": ["price"]}, "conditions"),
    ],
)
def test_what_is_not_simulated_is_refused_by_name(sdk: Sdk, change: dict[str, Any], what: str) -> None:
    order = writing.order(sdk.module, LIMIT)
    for name, value in change.items():
        setattr(order, name, value)
    if "conditions" in change:
        order.conditions = [sdk.module.PriceCondition()]
    with pytest.raises(inbound.Unreadable, match=what) as refused:
        spoken(sdk, "placeOrder", 7, writing.contract(sdk.module, STOCK), order)
    assert refused.value.request_id == 7


def test_the_requests_of_clients(sdk: Sdk) -> None:
    query = replace(OPTION, con_id=0, local_symbol="", primary_exchange="CBOE")
    asked = writing.contract(sdk.module, query)
    bag = writing.contract(sdk.module, BAG)
    by_id = sdk.module.Contract(conId=265598)
    only = sdk.module.ExecutionFilter(clientId=3, acctCode="DU1", symbol="AAPL", side="BUY")
    summary = requests.AccountSummary(9, "All", ("NetLiquidation", "BuyingPower"))
    for request, arguments, meant in (
        ("startApi", (), requests.StartApi(3)),
        ("cancelOrder", (7,), requests.CancelOrder(7)),
        ("cancelOrder", (7, "20261123 10:00:00"), requests.CancelOrder(7)),
        ("reqGlobalCancel", (), requests.GlobalCancel()),
        ("reqOpenOrders", (), requests.OpenOrders()),
        ("reqAllOpenOrders", (), requests.AllOpenOrders()),
        ("reqAutoOpenOrders", (True,), requests.AutoOpenOrders(True)),
        ("reqCompletedOrders", (False,), requests.CompletedOrders(False)),
        ("reqCompletedOrders", (True,), requests.CompletedOrders(True)),
        ("reqExecutions", (9, sdk.module.ExecutionFilter()), requests.Executions(9)),
        ("reqExecutions", (9, only), requests.Executions(9, 3, "DU1", "", "AAPL", "", "", "BUY")),
        ("reqContractDetails", (9, asked), requests.ContractDetails(9, query)),
        ("reqContractDetails", (9, bag), requests.ContractDetails(9, replace(BAG, legs=()))),
        ("reqContractDetails", (9, by_id), requests.ContractDetails(9, TwsContract("", con_id=265598))),
        ("reqMarketRule", (26,), requests.MarketRule(26)),
        ("reqCurrentTime", (), requests.CurrentTime()),
        ("reqIds", (1,), requests.NextIds()),
        ("reqManagedAccts", (), requests.ManagedAccounts()),
        ("reqPositions", (), requests.Positions()),
        ("cancelPositions", (), requests.CancelPositions()),
        ("reqAccountSummary", (9, "All", "NetLiquidation,BuyingPower"), summary),
        ("cancelAccountSummary", (9,), requests.CancelAccountSummary(9)),
        ("reqAccountUpdates", (True, "DU1"), requests.AccountUpdates(True, "DU1")),
        ("reqAccountUpdatesMulti", (9, "DU1", "", False), requests.AccountUpdatesMulti(9, "DU1")),
    ):  # fmt: skip
        assert spoken(sdk, request, *arguments) == meant, request


@pytest.mark.parametrize(
    ("fields", "why", "about"),
    [
        (["3", "7", "0", "AAPL"], "ends after 4", 7),
        (["4", "1", "seven", ""], "'seven'", -1),
        (["4", "1", "7"], "ends after 3", 7),
        (["5", "1", "2"], "only 2", -1),
        (["7", "3", "9", "x", "", "", "", "", "", ""], "field 3", 9),
        (["99", ""], "", -1),
    ],
)
def test_a_message_that_is_none_says_what_is_wrong(fields: list[str], why: str, about: int) -> None:
    if fields[0] == "99":
        assert inbound.decode(fields, 176) == requests.CompletedOrders(False)
        return
    with pytest.raises(inbound.Unreadable, match=why) as refused:
        inbound.decode(fields, 176)
    assert refused.value.request_id == about


def test_an_order_cut_anywhere_is_refused_and_never_misread(sdk: Sdk) -> None:
    made = (writing.contract(sdk.module, BAG), writing.order(sdk.module, replace(LIMIT, routing=(("a", "b"),))))
    fields = codec.Encoder(sdk, 176, 3).spell("placeOrder", 7, *made).decode()[:-1].split("\0")
    for count in range(1, len(fields)):
        with pytest.raises(inbound.Unreadable):
            inbound.decode(fields[:count], 176)
    with pytest.raises(inbound.Unreadable):
        inbound.decode([*fields, ""], 176)


@pytest.mark.parametrize("fields", [[], ["1", "11"], ["banana"], [""], ["10000"]])
def test_an_unknown_message_is_not_understood(fields: list[str]) -> None:
    assert inbound.decode(fields, 176) == requests.NotUnderstood(tuple(fields))


# What cannot be said


@pytest.mark.parametrize(
    "order",
    [
        replace(LIMIT, quantity=None),
        replace(LIMIT, order_ref="A\0B"),
        replace(LIMIT, account="\0"),
        replace(LIMIT, limit_price=D("NaN")),
        replace(LIMIT, quantity=D("Infinity")),
        replace(LIMIT, routing=(("a\0", "b"),)),
    ],
)
def test_an_order_that_cannot_be_spelled_is_refused(sdk: Sdk, order: TwsOrder) -> None:
    with pytest.raises(ValueError):
        writing.order(sdk.module, order)


def test_a_contract_that_cannot_be_spelled_is_refused(sdk: Sdk) -> None:
    with pytest.raises(ValueError):
        writing.contract(sdk.module, replace(STOCK, symbol="A\0B"))
    with pytest.raises(ValueError):
        codec.Encoder(sdk, 176, 3).spell(
            "reqContractDetails", 9, writing.contract(sdk.module, replace(STOCK, symbol="\ud800"))
        )
