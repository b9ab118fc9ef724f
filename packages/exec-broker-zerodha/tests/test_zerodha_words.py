"""Our words and Kite's, the lists of instruments, and what is sent for an order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from exec_broker_zerodha import instruments, words
from exec_broker_zerodha.dump import Catalogue, Shelf
from exec_broker_zerodha.instruments import BadList, ListOf
from exec_broker_zerodha.placing import Prepared, prepare
from exec_broker_zerodha.settings import ZerodhaSettings
from exec_core.errors import BrokerError, ConnectionFailed, NotSent, OrderRejected, OrderUnsupported
from exec_core.instruments import AssetClass, Instrument, Right
from exec_core.orders import Order, OrderRequest, OrderType, TimeInForce
from exec_core.reports import ReportStatus
from exec_core.sides import Side

HEADER = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,"
    "instrument_type,segment,exchange\n"
)
LISTS = {
    "NSE": HEADER
    + "408065,1594,INFY,INFOSYS,0,,0,0.05,1,EQ,NSE,NSE\n"
    + '519937,2031,M&M,"MAHINDRA, & MAHINDRA",0,,0,0.1,1,EQ,NSE,NSE\n'
    + "2707457,10576,NIFTYBEES,NIPPON ETF,0,,0,0.01,1,EQ,NSE,NSE\n",
    "BSE": HEADER + "128209924,500209,INFY,INFOSYS,0,,0,0.05,1,EQ,BSE,BSE\n",
    "NFO": HEADER
    + '1,1,NIFTY26DECFUT,"NIFTY",0,2026-12-29,0,0.1,75,FUT,NFO-FUT,NFO\n'
    + '2,2,NIFTY26DEC25000CE,"NIFTY",0,2026-12-29,25000,0.05,75,CE,NFO-OPT,NFO\n'
    + '3,3,NIFTY26DEC25000PE,"NIFTY",0,2026-12-29,25000,0.05,75,PE,NFO-OPT,NFO\n'
    + '4,4,INFY26NOVFUT,"INFY",0,2026-11-20,0,0.05,400,FUT,NFO-FUT,NFO\n',
    "BFO": HEADER + '5,5,SENSEX26DECFUT,"SENSEX",0,2026-12-24,0,0.05,20,FUT,BFO-FUT,BFO\n',
    "MCX": HEADER + '6,6,GOLDM26DECFUT,"GOLDM",0,2026-12-05,0,1,1,FUT,MCX-FUT,MCX\n',
    "CDS": HEADER
    + '7,7,USDINR26D04FUT,"USDINR",0,2026-12-04,0,0.0025,1,FUT,CDS-FUT,CDS\n'
    + '8,8,USDINR26D11FUT,"USDINR",0,2026-12-11,0,0.0025,1,FUT,CDS-FUT,CDS\n',
}
NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)  # half past ten in India


class Kite:
    """Gives lists, and counts how often."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.is_away = False
        self.lists = dict(LISTS)

    async def fetch(self, exchange: str) -> bytes:
        self.fetched.append(exchange)
        if self.is_away:
            raise ConnectionFailed("away")
        return self.lists[exchange].encode()


@pytest.fixture
def kite() -> Kite:
    return Kite()


class Day:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def day() -> Day:
    return Day()


@pytest.fixture
def catalogue(tmp_path: Path, kite: Kite, day: Day) -> Catalogue:
    return new_catalogue(tmp_path, kite, day)


def files(path: Path) -> list[Path]:
    return list(path.rglob("*.csv"))


def new_catalogue(path: Path, kite: Kite, day: Day, root: str = "https://api.kite.trade") -> Catalogue:
    async def run(call: Callable[[], Any]) -> Any:
        return call()

    return Catalogue(Shelf(path, root), kite.fetch, run, day)


@pytest.fixture
def prepared(catalogue: Catalogue, tmp_path: Path, day: Day) -> Callable[..., Awaitable[Prepared]]:
    async def make(
        instrument: Instrument,
        order_type: OrderType = OrderType.LIMIT,
        settings: dict[str, Any] | None = None,
        **more: Any,
    ) -> Prepared:
        values: dict[str, Any] = {"quantity": Decimal(75 if instrument.expiry else 1), "side": Side.BUY} | more
        if order_type.has_limit:
            values.setdefault("limit_price", Decimal("1500.10"))
        if order_type.has_stop:
            values.setdefault("stop_price", Decimal("1500.10"))
        request = OrderRequest("s", "a", "strategy", instrument, order_type=order_type, **values)  # type: ignore[arg-type]
        known = ZerodhaSettings(api_key="k", access_token="t", _env_file=None, **(settings or {}))  # type: ignore[arg-type,call-arg]
        return await prepare(Order.new(request), catalogue, known, day)

    return make


INFY = Instrument("INFY")
CALL = Instrument("NIFTY", AssetClass.OPTION, expiry="20261229", strike=Decimal("25000.0"), right=Right.CALL)
FUTURE = Instrument("NIFTY", AssetClass.FUTURE, expiry="202612")


async def test_a_limit_order(prepared: Any) -> None:
    found = await prepared(INFY)
    assert found.order.parameters == {
        "variety": "regular",
        "exchange": "NSE",
        "tradingsymbol": "INFY",
        "transaction_type": "BUY",
        "quantity": 1,
        "product": "CNC",
        "order_type": "LIMIT",
        "validity": "DAY",
        "tag": found.order.tag,
        "price": "1500.10",
    }
    assert found.status is ReportStatus.WORKING
    assert found.details.price_increment == Decimal("0.05")


@pytest.mark.parametrize(
    ("instrument", "order_type", "expected"),
    [
        (INFY, OrderType.MARKET, {"order_type": "MARKET", "market_protection": "-1"}),
        (INFY, OrderType.STOP_LIMIT, {"order_type": "SL", "price": "1500.10", "trigger_price": "1500.10"}),
        (INFY, OrderType.STOP, {"order_type": "SL-M", "trigger_price": "1500.10", "market_protection": "-1"}),
        # No stop-market orders there: a limit two per cent beyond the trigger, on a tick.
        (CALL, OrderType.STOP, {"order_type": "SL", "trigger_price": "1500.10", "price": "1530.15"}),
        (FUTURE, OrderType.STOP, {"order_type": "SL-M", "trigger_price": "1500.10", "market_protection": "-1"}),
    ],
)
async def test_types_and_their_prices(
    prepared: Any, instrument: Instrument, order_type: OrderType, expected: dict[str, str]
) -> None:
    found = (await prepared(instrument, order_type)).order.parameters
    names = ("order_type", "price", "trigger_price", "market_protection")
    assert {name: found[name] for name in names if name in found} == expected


async def test_stop_orders_on_bse_have_a_limit_and_are_held(prepared: Any) -> None:
    instrument = Instrument("INFY", exchange="BSE")
    found = await prepared(instrument, OrderType.STOP, side=Side.SELL, settings={"stop_offset": "0.1"})
    assert found.order.parameters["order_type"] == "SL"
    assert found.order.parameters["price"] == "1350.05"
    assert "market_protection" not in found.order.parameters
    assert found.status is ReportStatus.HELD


@pytest.mark.parametrize(
    ("stop", "side", "limit"),
    [("10", Side.BUY, "10.2"), ("0.10", Side.SELL, "0.05"), ("0.05", Side.SELL, "0.05"), ("0.10", Side.BUY, "0.15")],
)
def test_the_limit_beyond_a_trigger_is_a_price(stop: str, side: Side, limit: str) -> None:
    assert words.beyond(Decimal(stop), side, Decimal("0.02"), Decimal("0.05")) == Decimal(limit)


async def test_figures_are_written_out(prepared: Any) -> None:
    found = await prepared(INFY, limit_price=Decimal("1.5E+3"), quantity=Decimal("1E+1"))
    assert (found.order.parameters["price"], found.order.parameters["quantity"]) == ("1500", 10)


async def test_products(prepared: Any) -> None:
    assert (await prepared(CALL)).order.product == "NRML"
    assert (await prepared(INFY, product="mis")).order.product == "MIS"
    assert (await prepared(INFY, settings={"product": "MIS"})).order.product == "MIS"
    by_kind = {"product": {"STOCK": "MTF", "OPTION": "MIS"}}
    assert (await prepared(INFY, settings=by_kind)).order.product == "MTF"
    assert (await prepared(CALL, settings=by_kind)).order.product == "MIS"
    assert (await prepared(FUTURE, settings=by_kind)).order.product == "NRML"
    assert (await prepared(INFY, product="CNC", settings=by_kind)).order.product == "CNC"


async def test_after_market_orders_are_held(prepared: Any) -> None:
    found = await prepared(INFY, variety="AMO")
    assert (found.order.variety, found.status) == ("amo", ReportStatus.HELD)


REFUSED: list[tuple[Instrument, dict[str, Any], type[BrokerError], str]] = [
    (INFY, {"limit_price": Decimal("1500.13")}, OrderRejected, "tick size"),
    (INFY, {"limit_price": Decimal(0)}, OrderRejected, "above zero"),
    (CALL, {"quantity": Decimal(50)}, OrderRejected, "lot size"),
    (INFY, {"product": "NRML"}, OrderRejected, "derivatives"),
    (CALL, {"product": "CNC"}, OrderRejected, "shares"),
    (INFY, {"product": "BO"}, OrderRejected, "CNC, MIS, MTF, NRML"),
    (INFY, {"variety": "iceberg"}, OrderUnsupported, "regular, amo"),
    (INFY, {"variety": "amo", "time_in_force": TimeInForce.IOC}, OrderRejected, "IOC"),
    (Instrument("INFX"), {}, OrderRejected, "NSE list no STOCK INFX"),
    (Instrument("INFY", exchange="NYSE"), {}, OrderRejected, "NYSE"),
    (Instrument("INFY", exchange="NFO"), {}, OrderRejected, "NFO"),
    (Instrument("INFY", currency="USD"), {}, OrderUnsupported, "INR"),
    (Instrument("INFY", AssetClass.FUTURE, expiry="202611"), {"quantity": Decimal(400)}, OrderRejected, "expired"),
    (Instrument("NIFTY26DECFUT", AssetClass.OPTION, exchange="NFO"), {}, OrderRejected, "is no OPTION"),
    (Instrument("USDINR", AssetClass.FUTURE, expiry="202612"), {"quantity": Decimal(1)}, OrderRejected, "give the day"),
    (
        Instrument("NIFTY", AssetClass.OPTION, expiry="20261230", strike=Decimal(25000), right=Right.CALL),
        {},
        OrderRejected,
        "NIFTY 20261230 25000 C",
    ),
    (
        Instrument("GOLDM", AssetClass.FUTURE, expiry="202612"),
        {"limit_price": Decimal(9), "time_in_force": TimeInForce.IOC},
        OrderRejected,
        "MCX takes no IOC",
    ),
]


@pytest.mark.parametrize(("instrument", "changes", "kind", "text"), REFUSED)
async def test_what_kite_would_refuse_is_not_sent(
    prepared: Any, instrument: Instrument, changes: dict[str, Any], kind: type[BrokerError], text: str
) -> None:
    with pytest.raises(kind, match=text):
        await prepared(instrument, **changes)


@pytest.mark.parametrize(
    ("instrument", "place"),
    [
        (Instrument("infy"), ("NSE", "INFY")),
        (Instrument("M&M"), ("NSE", "M&M")),
        (Instrument("INFY", exchange="bse"), ("BSE", "INFY")),
        (Instrument("NIFTYBEES", AssetClass.ETF), ("NSE", "NIFTYBEES")),
        (CALL, ("NFO", "NIFTY26DEC25000CE")),
        (FUTURE, ("NFO", "NIFTY26DECFUT")),
        (Instrument("NIFTY26DEC25000PE", AssetClass.OPTION, exchange="NFO"), ("NFO", "NIFTY26DEC25000PE")),
        (
            Instrument(
                "NIFTY26DEC25000PE",
                AssetClass.OPTION,
                "NFO",
                expiry="20261229",
                underlying="NIFTY",
                strike=Decimal(25000),
                right=Right.PUT,
            ),
            ("NFO", "NIFTY26DEC25000PE"),
        ),
        (Instrument("SENSEX", AssetClass.FUTURE, expiry="20261224"), ("BFO", "SENSEX26DECFUT")),
        (Instrument("USDINR", AssetClass.FUTURE, expiry="20261211"), ("CDS", "USDINR26D11FUT")),
    ],
)
async def test_instruments_are_found(catalogue: Catalogue, instrument: Instrument, place: tuple[str, str]) -> None:
    found = await catalogue.find(instrument)
    assert (found.exchange, found.tradingsymbol) == place


async def test_a_listed_instrument_in_our_words(catalogue: Catalogue) -> None:
    option = await catalogue.find(CALL)
    assert option.instrument.key == "OPTION|NIFTY|NFO|INR|20261229|25000|C"
    assert [name.symbol for name in option.other_names] == ["NIFTY26DEC25000CE"]
    future = await catalogue.find(FUTURE)
    assert future.instrument.key == "FUTURE|NIFTY|NFO|INR|20261229||"
    assert "202612" in {name.expiry for name in future.other_names}
    assert (future.details.multiplier, future.details.quantity_increment) == (1, 75)
    gold = await catalogue.find(Instrument("GOLDM", AssetClass.FUTURE, expiry="202612"))
    # What a lot is worth is not in the list: not told, rather than 1.
    assert (gold.details.multiplier, gold.details.quantity_increment) == (None, 1)


def test_what_is_not_listed_is_guessed_by_its_symbol() -> None:
    assert instruments.guess("NSE", "INFY").asset_class is AssetClass.STOCK
    assert instruments.guess("NFO", "NIFTY26DEC25000CE").asset_class is AssetClass.OPTION
    assert instruments.guess("MCX", "GOLDM26DECFUT").asset_class is AssetClass.FUTURE


# The lists on disk


async def test_a_list_is_fetched_once_a_day_and_shared(tmp_path: Path, kite: Kite, day: Day) -> None:
    await asyncio.gather(*(new_catalogue(tmp_path, kite, day).find(INFY) for _ in range(1)))
    one = new_catalogue(tmp_path, kite, day)
    await asyncio.gather(*(one.find(INFY) for _ in range(5)))
    assert kite.fetched == ["NSE"]
    day.now = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)  # half past seven in India: the lists are still those of before
    await one.find(INFY)
    assert kite.fetched == ["NSE"]
    day.now = datetime(2026, 11, 24, 3, 30, tzinfo=UTC)
    await one.find(INFY)
    assert kite.fetched == ["NSE", "NSE"]


async def test_another_venues_lists_are_not_ours(tmp_path: Path, kite: Kite, day: Day) -> None:
    await new_catalogue(tmp_path, kite, day, "http://127.0.0.1:4000").find(INFY)
    await new_catalogue(tmp_path, kite, day).find(INFY)
    assert kite.fetched == ["NSE", "NSE"]


async def test_an_older_list_serves_and_proves_no_absence(tmp_path: Path, kite: Kite, day: Day) -> None:
    await new_catalogue(tmp_path, kite, day).find(INFY)
    day.now = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
    kite.is_away = True
    later = new_catalogue(tmp_path, kite, day)
    assert (await later.find(INFY)).tradingsymbol == "INFY"
    with pytest.raises(NotSent):
        await later.find(Instrument("NEWLISTED"))
    kite.is_away = False
    with pytest.raises(OrderRejected):
        await later.find(Instrument("NEWLISTED"))


async def test_without_any_list_nothing_is_sent(catalogue: Catalogue, kite: Kite) -> None:
    kite.is_away = True
    with pytest.raises(NotSent):
        await catalogue.find(INFY)


async def test_a_broken_file_is_fetched_again(tmp_path: Path, kite: Kite, day: Day) -> None:
    await new_catalogue(tmp_path, kite, day).find(INFY)
    (path,) = files(tmp_path)
    path.write_text("tradingsymbol,na")
    assert (await new_catalogue(tmp_path, kite, day).find(INFY)).tradingsymbol == "INFY"
    assert kite.fetched == ["NSE", "NSE"]
    assert "INFY" in path.read_text()


async def test_what_is_no_list_is_not_kept(tmp_path: Path, kite: Kite, day: Day) -> None:
    kite.lists["NSE"] = "<html>Bad gateway</html>"
    with pytest.raises(NotSent):
        await new_catalogue(tmp_path, kite, day).find(INFY)
    assert files(tmp_path) == []


async def test_a_disk_that_refuses_costs_no_order(tmp_path: Path, kite: Kite, day: Day) -> None:
    path = tmp_path / "file"
    path.write_text("no folder")
    assert (await new_catalogue(path, kite, day).find(INFY)).tradingsymbol == "INFY"


def test_an_empty_list_is_none() -> None:
    with pytest.raises(BadList):
        ListOf.parse("NSE", date(2026, 11, 23), HEADER)


# Statuses


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("COMPLETE", ReportStatus.FILLED),
        ("CANCELLED", ReportStatus.CANCELLED),
        ("CANCEL", ReportStatus.CANCELLED),
        ("REJECTED", ReportStatus.REJECTED),
        ("TRIGGER PENDING", ReportStatus.HELD),
        ("AMO REQ RECEIVED", ReportStatus.HELD),
        ("OPEN", ReportStatus.WORKING),
        ("CANCEL PENDING", ReportStatus.WORKING),
        ("NOT CANCELLED", ReportStatus.WORKING),
        ("NOT MODIFIED", ReportStatus.WORKING),
        ("PUT ORDER REQ RECEIVED", ReportStatus.WORKING),
        ("SOMETHING CANCELLED NEW", ReportStatus.WORKING),
        (None, ReportStatus.WORKING),
    ],
)
def test_statuses(word: Any, status: ReportStatus) -> None:
    assert words.status_of(word) is status
