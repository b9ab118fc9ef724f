"""Rows of Kite's order book and trade book, read into reports. Pure.

A row is decided by its status, and then by its quantities; `pending_quantity` and `cancelled_quantity` are not to be
relied on (they differ between rows that have ended), `filled_quantity` is. A protected MARKET order is shown as a LIMIT
order. Trades carry no tag: whose they are is known from their order.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from exec_core.fills import Fill
from exec_core.identifiers import BrokerOrderId, ClientOrderId, ExecutionId
from exec_core.instruments import Instrument, InstrumentDetails
from exec_core.reports import FillReport, OrderReport, OrderTerms, ReportStatus

from exec_broker_zerodha import words
from exec_broker_zerodha.figures import figure, price
from exec_broker_zerodha.times import utc_time, was_ended_by_close

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]
#: What an instrument is called in our words, from its exchange and Kite's symbol.
Naming = Callable[[str, str], Instrument]

#: The ids that `exec_core.identifiers` derives. Others tag their orders as well, and Kite adds tags of its own.
_OURS: Final = re.compile(r"[A-Z2-7]{20}")


class BadRow(ValueError):
    """A row that cannot be read."""


def order_id_of(row: Any) -> BrokerOrderId:
    """The order's id: 15 or 19 digits, always as text. :raises BadRow: there is none."""
    value = row.get("order_id") if isinstance(row, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise BadRow("a row without an order_id")
    return BrokerOrderId(str(value).strip())


def tags_of(row: Row) -> frozenset[str]:
    """All tags of an order: Kite shows ours as `tag`, or only among `tags`, beside its own (``mktp``)."""
    tags = row.get("tags")
    found = {row.get("tag"), *(tags if isinstance(tags, list) else ())}
    return frozenset(tag for tag in found if isinstance(tag, str) and tag)


def our_tag(row: Row) -> ClientOrderId | None:
    """The tag that has the form of our ids; None if there is none, or more than one."""
    ours = [tag for tag in tags_of(row) if _OURS.fullmatch(tag)]
    return ClientOrderId(ours[0]) if len(ours) == 1 else None


def place_of(row: Row) -> tuple[str, str]:
    """Exchange and Kite's symbol."""
    return str(row.get("exchange") or ""), str(row.get("tradingsymbol") or "")


def status_of(row: Row) -> ReportStatus:
    """What has become of the order."""
    status = words.status_of(row.get("status"))
    if status is ReportStatus.CANCELLED and row.get("validity") == "DAY":
        registered, changed = utc_time(row.get("exchange_timestamp")), utc_time(row.get("exchange_update_timestamp"))
        if was_ended_by_close(str(row.get("exchange")), registered, changed):
            return ReportStatus.EXPIRED
    return status


def is_open(row: Row) -> bool:
    """Whether the order can still trade."""
    return status_of(row) not in words.ENDED


def filled_quantity(row: Row) -> Decimal:
    """How much of it Kite counts as filled: it may be ahead of the executions."""
    return figure(row.get("filled_quantity")) or Decimal(0)


def changed_at(row: Row) -> datetime | None:
    """When the order last changed, by the venue's clock."""
    names = ("order_timestamp", "exchange_timestamp", "exchange_update_timestamp")
    return max((time for name in names if (time := utc_time(row.get(name))) is not None), default=None)


def order_report(
    row: Row, client_order_id: ClientOrderId | None, naming: Naming, details: InstrumentDetails | None = None
) -> OrderReport:
    """The state of an order. :raises BadRow: it cannot be read."""
    status = status_of(row)
    reason = row.get("status_message") or row.get("status_message_raw")
    terms = None
    if status in (ReportStatus.HELD, ReportStatus.WORKING, ReportStatus.FILLED):
        quantity, side = figure(row.get("quantity")), words.SIDE_OF.get(str(row.get("transaction_type")))
        limit, stop = price(row.get("price")), price(row.get("trigger_price"))
        terms = OrderTerms(quantity, limit, stop, side, naming(*place_of(row)))
    return OrderReport(
        status,
        client_order_id,
        order_id_of(row),
        filled_quantity(row),
        str(reason).strip() or None if reason else None,
        changed_at(row),
        details,
        terms,
    )


def execution_id_of(trade: Row) -> ExecutionId:
    """What names an execution: the exchanges number theirs anew every day, and each for itself, so its order and its
    exchange belong to it. :raises BadRow: something of that is missing."""
    parts = (trade.get("exchange"), trade.get("trade_id"), trade.get("order_id"))
    if any(part is None or not str(part).strip() for part in parts):
        raise BadRow("a trade without exchange, trade_id or order_id")
    return ExecutionId(":".join(str(part).strip() for part in parts))


def fill_report(
    trade: Row, client_order_id: ClientOrderId | None, now: datetime, details: InstrumentDetails | None = None
) -> FillReport:
    """One execution. A time that cannot be read becomes `now`, said aloud: no execution is lost for that.

    :raises BadRow: what it needs to be booked is missing.
    """
    execution_id = execution_id_of(trade)
    side = words.SIDE_OF.get(str(trade.get("transaction_type")))
    quantity = figure(trade.get("quantity")) or figure(trade.get("filled"))  # the documentation calls it `filled`
    paid = figure(trade.get("average_price"))
    if side is None or quantity is None or quantity <= 0 or paid is None:
        raise BadRow(f"the trade {execution_id} has no side, quantity or price")
    time = utc_time(trade.get("fill_timestamp")) or utc_time(trade.get("exchange_timestamp"))
    if time is None:
        logger.error("The trade %s has no time that can be read: the present time is taken", execution_id)
    fill = Fill(execution_id, side, quantity, paid, time or now)
    return FillReport(fill, client_order_id, order_id_of(trade), details)
