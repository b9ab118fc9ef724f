"""Our words and Acme's: tables and pure functions. No other module knows how Acme spells anything."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from exec_core.broker import View
from exec_core.fills import Commission, Fill
from exec_core.instruments import Instrument
from exec_core.orders import Order, OrderType, TimeInForce
from exec_core.reports import FillReport, OrderReport, OrderTerms, ReportStatus
from exec_core.sides import Side

Row = Mapping[str, Any]

SIDES: Final = {Side.BUY: "B", Side.SELL: "S"}
OUR_SIDES: Final = {theirs: ours for ours, theirs in SIDES.items()}
ORDER_TYPES: Final = {OrderType.MARKET: "MKT", OrderType.LIMIT: "LMT", OrderType.STOP: "STP"}
TIMES_IN_FORCE: Final = {TimeInForce.DAY: "DAY", TimeInForce.GTC: "GTC"}
STATUSES: Final = {
    "WAIT": ReportStatus.HELD,
    "ACK": ReportStatus.WORKING,
    "PART": ReportStatus.WORKING,
    "DONE": ReportStatus.FILLED,
    "REJ": ReportStatus.REJECTED,
    "CXL": ReportStatus.CANCELLED,
    "EXP": ReportStatus.EXPIRED,
}


def order_body(order: Order) -> dict[str, str | None]:
    """The order as Acme wants it; its numbers as text, because those of JSON are not exact everywhere."""
    request = order.request
    numbers = {"qty": request.quantity, "limit": request.limit_price, "stop": request.stop_price}
    return {
        "ref": order.client_order_id,
        "symbol": request.instrument.symbol,
        "side": SIDES[request.side],
        "type": ORDER_TYPES[request.order_type],
        "tif": TIMES_IN_FORCE[request.time_in_force or TimeInForce.DAY],
        **{name: None if value is None else format(value, "f") for name, value in numbers.items()},
    }


def status(row: Row) -> ReportStatus:
    """Where the order stands; a word that Acme's documents do not name ends nothing."""
    return STATUSES.get(row["status"], ReportStatus.WORKING)


def order_report(row: Row) -> OrderReport:
    """The order as it stands, on the terms that it has now; its `ref` is None if a person entered it."""
    limit, stop = (None if row[name] is None else Decimal(row[name]) for name in ("limit", "stop"))
    terms = OrderTerms(Decimal(row["qty"]), limit, stop, OUR_SIDES[row["side"]], Instrument(row["symbol"]))
    filled, at = Decimal(row["cum"]), moment(row["updated"])
    return OrderReport(status(row), row["ref"], row["id"], filled, row["reason"], at, terms=terms)


def fill_report(row: Row, trade: Row) -> FillReport:
    """One execution of the order, in its newest version, with what it cost if that is known."""
    fee = None if trade["fee"] is None else Commission(Decimal(trade["fee"]), row["ccy"])
    quantity, price, at = Decimal(trade["qty"]), Decimal(trade["px"]), moment(trade["at"])
    fill = Fill(trade["id"], OUR_SIDES[row["side"]], quantity, price, at, fee, trade["rev"])
    return FillReport(fill, row["ref"], row["id"])


def fill_reports(rows: list[Row]) -> list[FillReport]:
    """All executions of the orders."""
    return [fill_report(row, trade) for row in rows for trade in row["trades"]]


def view(answer: Row, asked_at: datetime) -> View:
    """How much the answer proves: Acme says whether it is partial, and since when it would show every order."""
    return View(asked_at, not answer["partial"], moment(answer["since"]) if "since" in answer else None)


def moment(value: str) -> datetime:
    """A time of Acme's, which is New York's, in UTC."""
    return datetime.fromisoformat(value).astimezone(UTC)
