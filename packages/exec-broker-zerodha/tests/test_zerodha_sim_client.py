"""What the real client of Kite Connect sees of the simulator, when nothing is wrong and when it is refused."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from exec_broker_zerodha.simulator.desk import Desk
from exec_broker_zerodha.simulator.options import Options
from exec_broker_zerodha.simulator.server import Simulator
from exec_broker_zerodha.simulator.times import IST


class Rig:
    """A simulator, its desk, and a real client of it, whose calls run in threads."""

    def __init__(self, simulator: Simulator) -> None:
        from kiteconnect import KiteConnect

        self.simulator = simulator
        self.desk = Desk(simulator)
        options = simulator.options
        self.client = KiteConnect(options.api_key, options.access_token, root=simulator.api_root, timeout=60)
        # Whatever the machine's proxies and netrc say: this is about the simulator.
        self.client.reqsession.trust_env = False

    async def call(self, name: str, *args: Any, **named: Any) -> Any:
        return await asyncio.to_thread(getattr(self.client, name), *args, **named)

    async def place(self, symbol: str = "RELIANCE", variety: str = "regular", **changes: Any) -> str:
        values: dict[str, Any] = {
            "exchange": "NSE",
            "tradingsymbol": symbol,
            "transaction_type": "BUY",
            "quantity": 10,
            "product": "CNC",
            "order_type": "LIMIT",
            "price": "1400.10",
            "validity": "DAY",
        } | changes
        order_id: str = await self.call("place_order", variety, **values)
        return order_id

    async def row(self, order_id: str) -> dict[str, Any]:
        (found,) = [row for row in await self.call("orders") if row["order_id"] == order_id]
        return found

    async def refusal(self, name: str, *args: Any, **named: Any) -> tuple[str, int, str]:
        """The class, HTTP status and text of the error that the client raises."""
        from kiteconnect.exceptions import KiteException

        with pytest.raises(KiteException) as refused:
            await (self.place(*args, **named) if name == "place" else self.call(name, *args, **named))
        return type(refused.value).__name__, refused.value.code, str(refused.value)


Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    rigs: list[Rig] = []

    async def started(clock: Any = None, **changes: Any) -> Rig:
        options = Options(**({"is_resting": True, "keeps_limits": False} | changes))
        simulator = Simulator(options) if clock is None else Simulator(options, clock=clock)
        rigs.append(Rig(await simulator.__aenter__()))
        return rigs[-1]

    yield started
    for rig in rigs:
        rig.client.reqsession.close()
        await rig.simulator.__aexit__(None, None, None)


async def test_an_order_is_shown_with_the_fields_of_kite_and_its_time_in_india(start: Start) -> None:
    rig = await start()
    before = datetime.now(IST).replace(tzinfo=None, microsecond=0)
    order_id = await rig.place(tag="A" * 20)
    row = await rig.row(order_id)
    assert order_id.isdigit()
    assert len(order_id) == 19
    assert before <= row["order_timestamp"] <= datetime.now(IST).replace(tzinfo=None)
    assert isinstance(row["exchange_update_timestamp"], str)  # the client leaves this one as it is
    wanted = {
        "status": "OPEN",
        "variety": "regular",
        "exchange": "NSE",
        "tradingsymbol": "RELIANCE",
        "order_type": "LIMIT",
        "transaction_type": "BUY",
        "validity": "DAY",
        "product": "CNC",
        "quantity": 10,
        "price": 1400.1,
        "trigger_price": 0,
        "average_price": 0,
        "filled_quantity": 0,
        "pending_quantity": 10,
        "cancelled_quantity": 0,
        "market_protection": 0,
        "modified": False,
        "parent_order_id": None,
        "status_message": None,
        "placed_by": "AB1234",
        "tag": "A" * 20,
        "tags": ["A" * 20],
    }
    assert {name: row[name] for name in wanted} == wanted
    assert row["exchange_order_id"] is not None


async def test_a_protected_market_order_is_shown_as_a_limit_order_with_tags_that_say_so(start: Start) -> None:
    rig = await start()
    row = await rig.row(await rig.place(order_type="MARKET", price=None, market_protection=-1, tag="MINE"))
    assert (row["order_type"], row["price"], row["market_protection"]) == ("LIMIT", 1428, 0)
    assert row["tag"] == "MINE"
    assert row["tags"] == ["MINE", "mktp", "mktp:2.00"]
    untagged = await rig.row(
        await rig.place(order_type="MARKET", price=None, market_protection=1.5, transaction_type="SELL")
    )
    assert (untagged["price"], untagged["tag"], untagged["tags"]) == (1379, None, ["mktp", "mktp:1.50"])


async def test_the_history_has_every_step_of_an_order(start: Start) -> None:
    rig = await start()
    order_id = await rig.place()
    rig.desk.fill(order_id, 4, Decimal("1400.05"))
    rig.desk.cancel(order_id)
    history = await rig.call("order_history", order_id)
    assert [row["status"] for row in history] == [
        "PUT ORDER REQ RECEIVED",
        "VALIDATION PENDING",
        "OPEN PENDING",
        "OPEN",
        "OPEN",
        "CANCELLED",
    ]
    assert [row["filled_quantity"] for row in history[-2:]] == [4, 4]
    assert history[2]["exchange_order_id"] is None


async def test_a_trade_has_neither_tag_nor_commission_and_its_id_is_its_exchange_s(start: Start) -> None:
    rig = await start()
    first, second = await rig.place(tag="ONE"), await rig.place(exchange="BSE")
    rig.desk.fill(first, 4, Decimal("1400.05"))
    rig.desk.fill(first, 6, Decimal("1399.95"))
    rig.desk.fill(second, 10, Decimal(1400))
    trades = {(row["exchange"], row["trade_id"]): row for row in await rig.call("trades")}
    assert set(trades) == {("NSE", "10000001"), ("NSE", "10000002"), ("BSE", "10000001")}
    row = trades["NSE", "10000001"]
    assert set(row) == {
        "trade_id",
        "order_id",
        "exchange",
        "tradingsymbol",
        "instrument_token",
        "product",
        "average_price",
        "quantity",
        "exchange_order_id",
        "transaction_type",
        "fill_timestamp",
        "order_timestamp",
        "exchange_timestamp",
    }
    assert (row["quantity"], row["average_price"], row["order_id"]) == (4, 1400.05, first)
    assert isinstance(row["fill_timestamp"], datetime)
    assert len(row["order_timestamp"]) == len("09:15:00")
    assert {row["trade_id"] for row in await rig.call("order_trades", first)} == {"10000001", "10000002"}
    order = await rig.row(first)
    assert (order["status"], order["average_price"], order["filled_quantity"]) == ("COMPLETE", 1399.99, 10)


async def test_ended_rows_say_different_things_of_what_they_lack(start: Start) -> None:
    rig = await start()
    ids = [await rig.place() for _ in range(3)]
    rig.desk.fill(ids[0], 3, Decimal(1400))
    for order_id in ids[:2]:
        await rig.call("cancel_order", "regular", order_id)
    rig.desk.reject(ids[2], "Insufficient funds.", "RMS:Margin Exceeds")
    first, second, rejected = [await rig.row(order_id) for order_id in ids]
    names = ("status", "filled_quantity", "pending_quantity", "cancelled_quantity")
    assert [first[name] for name in names] == ["CANCELLED", 3, 7, 7]
    assert [second[name] for name in names] == ["CANCELLED", 0, 10, 0]
    assert [rejected[name] for name in names] == ["REJECTED", 0, 0, 0]
    assert (rejected["status_message"], rejected["status_message_raw"]) == ("Insufficient funds.", "RMS:Margin Exceeds")
    assert first["status_message"] is None


async def test_what_the_risk_management_rejects_was_answered_and_is_in_the_book(start: Start) -> None:
    rig = await start(checks_funds=True, cash=Decimal(10_000), checks_holdings=True)
    row = await rig.row(await rig.place())
    assert (row["status"], row["exchange_order_id"], row["exchange_timestamp"]) == ("REJECTED", None, None)
    assert row["status_message"].startswith("Insufficient funds. Required margin is 14001.00 but available")
    short = await rig.row(await rig.place(transaction_type="SELL", quantity=1))
    assert "Insufficient stock holding" in short["status_message"]
    blocked = await rig.row(
        await rig.place(
            exchange="BSE", quantity=1, order_type="SL-M", trigger_price=1450, price=None, market_protection=-1
        )
    )
    assert blocked["status"] == "REJECTED"
    assert "16052" in blocked["status_message_raw"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"order_type": "MARKET", "price": None}, "Market orders without market protection are not allowed via API."),
        ({"order_type": "MARKET", "price": None, "market_protection": 0}, "without market protection"),
        (
            {"order_type": "MARKET", "price": None, "market_protection": True},
            "failed to decode market_protection, got: True (expected decimal)",
        ),
        ({"price": "1400.05"}, "Tick size for this script is 0.10."),
        ({"exchange": "NFO", "symbol": "NIFTY", "product": "NRML"}, "has either expired or does not exist"),
        ({"symbol": "NOSUCH"}, "has either expired or does not exist"),
        ({"symbol": "NIFTY 50"}, "has either expired or does not exist"),
        ({"quantity": "10.0"}, "Invalid `quantity`."),
        ({"quantity": 0}, "Invalid `quantity`."),
        ({"tag": "A" * 21}, "Invalid `tag`."),
        ({"product": "NRML"}, "Invalid `product`."),
        ({"variety": "co"}, "Invalid `variety`."),
        ({"order_type": "SL", "trigger_price": "1410.00"}, "Trigger price can't be higher than price."),
        ({"exchange": "NYSE"}, "Invalid `exchange`."),
    ],
)
async def test_what_is_refused_at_once_has_no_id_and_is_not_in_the_book(
    start: Start, changes: dict[str, Any], text: str
) -> None:
    rig = await start()
    kind, status, message = await rig.refusal("place", **changes)
    assert (kind, status) == ("InputException", 400)
    assert text in message
    assert await rig.call("orders") == []


async def test_derivatives_are_checked_for_lots_freeze_quantity_and_expiry(start: Start) -> None:
    rig = await start()
    listed = await rig.call("instruments", "NFO")
    today = rig.simulator.counter.catalogue.today
    futures = [one for one in listed if one["name"] == "NIFTY" and one["instrument_type"] == "FUT"]
    (expired,) = [one["tradingsymbol"] for one in futures if one["expiry"] < today]
    living = max(futures, key=lambda one: one["expiry"])["tradingsymbol"]
    terms = {"exchange": "NFO", "product": "NRML", "price": "26000.05"}
    assert "expired" in (await rig.refusal("place", expired, quantity=75, **terms))[2]
    assert "lot size 75" in (await rig.refusal("place", living, quantity=100, **terms))[2]
    assert "maximum quantity of 1800 (24 lots)" in (await rig.refusal("place", living, quantity=1875, **terms))[2]
    assert (await rig.row(await rig.place(living, quantity=150, **terms)))["quantity"] == 150


async def test_modifying_changes_what_is_given_and_nothing_else(start: Start) -> None:
    rig = await start()
    order_id = await rig.place(tag="T")
    assert await rig.call("modify_order", "regular", order_id, quantity=20, price=1401.2) == order_id
    row = await rig.row(order_id)
    assert (row["quantity"], row["price"], row["modified"], row["status"]) == (20, 1401.2, True, "OPEN")
    rig.desk.fill(order_id, 15, Decimal(1400))
    assert (await rig.refusal("modify_order", "regular", order_id, quantity=14))[0] == "InputException"
    await rig.call("modify_order", "regular", order_id, quantity=15)
    assert (await rig.row(order_id))["status"] == "COMPLETE"
    assert "being processed" in (await rig.refusal("modify_order", "regular", order_id, quantity=20))[2]


async def test_a_modified_market_order_needs_protection_again_and_stays_protected_without_a_change(
    start: Start,
) -> None:
    rig = await start()
    market = await rig.place(order_type="MARKET", price=None, market_protection=-1)
    await rig.call("modify_order", "regular", market, quantity=20)
    row = await rig.row(market)
    assert (row["quantity"], row["price"], row["tags"]) == (20, 1428, ["mktp", "mktp:2.00"])
    limit = await rig.place()
    assert "protection" in (await rig.refusal("modify_order", "regular", limit, order_type="MARKET"))[2]


async def test_a_cancel_that_cannot_be_is_refused_with_one_text_for_all_reasons(start: Start) -> None:
    rig = await start()
    busy, done, after_hours = await rig.place(), await rig.place(), await rig.place(variety="amo")
    rig.desk.fill(done)
    rig.desk.hold_cancels()
    assert await rig.call("cancel_order", "regular", busy) == busy
    assert (await rig.row(busy))["status"] == "CANCEL PENDING"
    text = "Order cannot be cancelled as it is being processed. Try later."
    for order_id in (busy, done):
        assert await rig.refusal("cancel_order", "regular", order_id) == ("InputException", 400, text)
    rig.desk.fill(busy, 4, Decimal(1400))
    assert (await rig.row(busy))["filled_quantity"] == 4
    rig.desk.cancel(busy)
    assert (await rig.row(busy))["status"] == "CANCELLED"
    assert "Couldn't find" in (await rig.refusal("cancel_order", "regular", after_hours))[2]
    assert (await rig.row(after_hours))["status"] == "AMO REQ RECEIVED"


async def test_an_order_of_no_day_and_one_of_yesterday_are_unknown(start: Start) -> None:
    rig = await start()
    order_id, text = await rig.place(), "Couldn't find that `order_id`."
    rig.desk.fill(order_id, 3, Decimal(1400))
    rig.desk.new_day()
    for name, arguments in (
        ("order_history", ()),
        ("order_trades", ()),
        ("cancel_order", ("regular",)),
        ("modify_order", ("regular",)),
    ):
        for unknown in ("1953341975595868160", order_id):
            assert (await rig.refusal(name, *arguments, unknown))[::2] == ("GeneralException", text)
    assert await rig.call("orders") == []
    assert await rig.call("trades") == []
    (kept,) = rig.simulator.book.all_orders()
    assert (kept.status, kept.filled_quantity, kept.is_expired) == ("CANCELLED", 3, True)
    tomorrow = (datetime.now(IST) + timedelta(days=1)).date()
    assert (await rig.row(await rig.place()))["order_timestamp"].date() == tomorrow


async def test_the_order_book_is_not_sorted_and_can_be_reversed(start: Start) -> None:
    rig = await start()
    ids = [await rig.place() for _ in range(12)]
    shown = [row["order_id"] for row in await rig.call("orders")]
    assert sorted(shown) == sorted(ids)
    assert shown not in (ids, ids[::-1])
    rig.desk.reorder()
    assert [row["order_id"] for row in await rig.call("orders")] == shown[::-1]


async def test_lists_can_lag_behind_what_has_happened(start: Start) -> None:
    rig = await start()
    early = await rig.place()
    rig.desk.hide_new_orders()
    late = await rig.place()
    assert [row["order_id"] for row in await rig.call("orders")] == [early]
    rig.desk.hide_new_orders(False)
    rig.desk.fill(early, 2, Decimal(1400))
    rig.desk.hide_new_trades()
    rig.desk.fill(early, 3, Decimal(1400))
    assert (await rig.row(early))["filled_quantity"] == 5
    for trades in (await rig.call("trades"), await rig.call("order_trades", early)):
        assert [row["quantity"] for row in trades] == [2]
    rig.desk.hide_new_trades(False)
    assert len(await rig.call("trades")) == 2
    assert (await rig.row(late))["status"] == "OPEN"


async def test_a_lag_in_seconds_ends_by_itself(start: Start) -> None:
    now = datetime(2026, 11, 23, 5, tzinfo=UTC)
    rig = await start(clock=lambda: now, order_lag=8.0)
    order_id = await rig.place()
    assert await rig.call("orders") == []
    now += timedelta(seconds=8)
    assert (await rig.row(order_id))["status"] == "OPEN"


async def test_more_than_the_limits_allow_is_refused_and_not_taken(start: Start) -> None:
    now = datetime(2026, 11, 23, 5, tzinfo=UTC)
    rig = await start(clock=lambda: now, keeps_limits=True)
    for _ in range(10):
        await rig.place()
    assert await rig.refusal("place") == ("NetworkException", 429, "Too many requests")
    for _ in range(9):
        await rig.call("trades")
    assert len(await rig.call("orders")) == 10
    assert (await rig.refusal("orders"))[1] == 429
    now += timedelta(seconds=1)
    await rig.place()
    assert rig.desk.requests["order.place"] == 12
    assert rig.desk.refused_requests == 2


async def test_a_minute_takes_four_hundred_orders(start: Start) -> None:
    now = datetime(2026, 11, 23, 5, tzinfo=UTC)
    rig = await start(clock=lambda: now, keeps_limits=True)
    allowed = rig.simulator.limits.allows
    taken = 0
    for second in range(60):
        stamp = int((now + timedelta(seconds=second)).timestamp()) * 1_000_000
        taken += sum(allowed("order.cancel", stamp) for _ in range(11))
    assert taken == 400


async def test_a_token_that_is_no_longer_good_is_refused_until_it_is_renewed(start: Start) -> None:
    rig = await start()
    rig.desk.expire_token()
    for name in ("orders", "profile", "positions"):
        kind, status, _ = await rig.refusal(name)
        assert (kind, status) == ("TokenException", 403)
    assert (await rig.refusal("place"))[0] == "TokenException"
    rig.client.set_access_token(rig.desk.renew_token())
    assert await rig.call("orders") == []


async def test_a_login_needs_the_right_checksum_and_a_fresh_request_token(start: Start) -> None:
    rig = await start()
    token = rig.desk.log_in()
    assert (await rig.refusal("generate_session", token, "wrong"))[:2] == ("TokenException", 403)
    session = await rig.call("generate_session", token, rig.simulator.options.api_secret)
    assert session["user_id"] == "AB1234"
    assert isinstance(session["login_time"], datetime)
    assert session["access_token"] != rig.simulator.options.access_token
    assert await rig.call("orders") == []
    assert (await rig.refusal("generate_session", token, rig.simulator.options.api_secret))[0] == "TokenException"
    await rig.call("invalidate_access_token", session["access_token"])
    assert (await rig.refusal("orders"))[0] == "TokenException"


async def test_orders_are_not_taken_from_an_address_that_is_not_allowed_and_questions_are(start: Start) -> None:
    rig = await start()
    order_id = await rig.place()
    rig.desk.allow_address(False)
    text = "IP not allowed to place orders for this app"
    assert await rig.refusal("place") == ("PermissionException", 403, text)
    assert (await rig.refusal("cancel_order", "regular", order_id))[2] == text
    assert (await rig.row(order_id))["status"] == "OPEN"


async def test_the_list_of_instruments_has_every_exchange_and_expiries_to_come(start: Start) -> None:
    rig = await start()
    listed = await rig.call("instruments")
    today = rig.simulator.counter.catalogue.today
    assert {one["exchange"] for one in listed} == {"NSE", "BSE", "NFO", "BFO", "CDS", "MCX"}
    assert {one["exchange"] for one in await rig.call("instruments", "BFO")} == {"BFO"}
    assert len({one["instrument_token"] for one in listed}) == len(listed)
    assert {one["exchange"] for one in listed if one["tradingsymbol"] == "RELIANCE"} == {"NSE", "BSE"}
    for exchange in ("NFO", "BFO", "CDS", "MCX"):
        futures = [one for one in listed if one["exchange"] == exchange and one["instrument_type"] == "FUT"]
        assert any(one["expiry"] < today for one in futures)
        assert any(one["expiry"] > today + timedelta(days=28) for one in futures)
    options = [one for one in listed if one["instrument_type"] == "PE" and one["name"] == "NIFTY"]
    assert {float(one["strike"]) for one in options} >= {25900.0, 26000.0, 26100.0}
    assert all(one["tradingsymbol"].endswith(f"{one['strike']:.0f}PE") for one in options)


@pytest.mark.parametrize("day", [date(2026, 1, 1), date(2026, 12, 31), date(2028, 2, 29), date(2026, 11, 24)])
def test_the_list_can_be_made_on_any_day(day: date) -> None:
    from exec_broker_zerodha.simulator.catalogue import Catalogue

    found = Catalogue(day).all
    assert len({(one.exchange, one.symbol) for one in found}) == len(found)
    coming = sorted({one.expiry for one in found if one.name == "NIFTY" and one.kind == "FUT" and one.expiry})
    assert sum(expiry < day for expiry in coming) == 1
    assert len(coming) == 4
    assert all(expiry.weekday() == 1 for expiry in coming)


async def test_quotes_leave_out_what_they_do_not_know(start: Start) -> None:
    rig = await start(prices={"RELIANCE": Decimal("1405.5")})
    assert await rig.call("ltp", ["NSE:RELIANCE", "NSE:NOSUCH"]) == {
        "NSE:RELIANCE": {"instrument_token": 257793, "last_price": 1405.5}
    }
    quote = (await rig.call("quote", "BSE:SBIN"))["BSE:SBIN"]
    assert quote["last_price"] == 860.05
    assert quote["lower_circuit_limit"] < 860.05 < quote["upper_circuit_limit"]


async def test_charges_are_computed_for_the_order(start: Start) -> None:
    rig = await start()
    order = {
        "order_id": "1",
        "exchange": "NSE",
        "tradingsymbol": "RELIANCE",
        "transaction_type": "SELL",
        "variety": "regular",
        "product": "MIS",
        "order_type": "LIMIT",
        "quantity": 100,
        "average_price": 1400.5,
    }
    bought = order | {"transaction_type": "BUY", "product": "CNC", "quantity": 1}
    notes = await rig.call("get_virtual_contract_note", [order, bought])
    charges = notes[0]["charges"]
    assert (charges["brokerage"], charges["transaction_tax"], charges["stamp_duty"]) == (20, 35.01, 0)
    parts = ("brokerage", "transaction_tax", "exchange_turnover_charge", "sebi_turnover_charge", "stamp_duty")
    total = sum(Decimal(str(charges[name])) for name in parts) + Decimal(str(charges["gst"]["total"]))
    assert Decimal(str(charges["total"])) == total
    assert notes[1]["charges"]["brokerage"] == 0
    assert (await rig.refusal("get_virtual_contract_note", [{"exchange": "NSE"}]))[:2] == ("InputException", 400)


async def test_positions_are_of_today_and_what_is_delivered_becomes_a_holding(start: Start) -> None:
    rig = await start()
    bought, carried = await rig.place(), await rig.place(product="MIS", transaction_type="SELL")
    rig.desk.fill(bought, 10, Decimal(1400))
    rig.desk.fill(carried, 4, Decimal(1402))
    positions = await rig.call("positions")
    assert {row["product"]: row["quantity"] for row in positions["net"]} == {"CNC": 10, "MIS": -4}
    assert {row["product"]: row["average_price"] for row in positions["net"]} == {"CNC": 1400, "MIS": 1402}
    assert await rig.call("holdings") == []
    assert (await rig.call("margins"))["equity"]["net"] == 10_000_000 - 14_000 + 5_608
    assert (await rig.call("margins", "commodity"))["net"] == 0
    rig.desk.new_day()
    positions = await rig.call("positions")
    assert [(row["product"], row["overnight_quantity"]) for row in positions["net"]] == [("MIS", -4)]
    assert positions["day"] == []
    (holding,) = await rig.call("holdings")
    assert (holding["quantity"], holding["opening_quantity"], holding["average_price"]) == (10, 10, 1400)
    sold = await rig.place(transaction_type="SELL", quantity=3)
    rig.desk.fill(sold, 3, Decimal(1410))
    (holding,) = await rig.call("holdings")
    assert (holding["quantity"], holding["used_quantity"], holding["opening_quantity"]) == (7, 3, 10)


async def test_every_request_is_counted_by_its_endpoint(start: Start) -> None:
    rig = await start()
    order_id = await rig.place()
    await rig.call("orders")
    await rig.call("orders")
    await rig.call("cancel_order", "regular", order_id)
    await rig.refusal("place", quantity=0)
    assert rig.desk.requests == {"order.place": 2, "orders": 2, "order.cancel": 1}
    rig.desk.reset_requests()
    assert rig.desk.requests == {}


async def test_order_updates_come_by_websocket_and_nothing_is_told_again(start: Start) -> None:
    rig = await start()
    options = rig.simulator.options
    url = f"{rig.simulator.ws_root}?api_key={options.api_key}&access_token={options.access_token}"
    async with aiohttp.ClientSession() as session:
        missed = await rig.place()
        rig.desk.fill(missed)
        async with session.ws_connect(url) as socket:
            order_id = await rig.place(tag="T")
            rig.desk.fill(order_id, 4, Decimal(1400))
            rig.desk.fill(order_id, 6, Decimal(1400))
            told = [await _told(socket) for _ in range(2)]
            assert [one["type"] for one in told] == ["order", "order"]
            rows = [one["data"] for one in told]
            assert [row["order_id"] for row in rows] == [order_id] * 2
            assert [(row["status"], row["filled_quantity"]) for row in rows] == [("UPDATE", 4), ("COMPLETE", 10)]
            signed = f"{order_id}{rows[1]['order_timestamp']}{options.api_secret}"
            assert rows[1]["checksum"] == hashlib.sha256(signed.encode()).hexdigest()
            rig.desk.repeat()
            rig.desk.reorder()
            another = await rig.place()
            rig.desk.modify(another, quantity=20)
            rig.desk.cancel(another)
            told = [(await _told(socket))["data"] for _ in range(4)]
            assert [row["status"] for row in told] == ["CANCELLED", "CANCELLED", "UPDATE", "UPDATE"]
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(f"{rig.simulator.ws_root}?api_key={options.api_key}&access_token=wrong")


async def _told(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """The next frame of text; heartbeats are binary."""
    async with asyncio.timeout(60):
        while True:
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                found: dict[str, Any] = message.json()
                return found
            assert message.type is aiohttp.WSMsgType.BINARY
