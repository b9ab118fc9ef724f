"""What the book tells: events as they happen, the present state to a session that begins, and answers to questions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Final

from exec_core.fills import Commission, Fill
from exec_core.identifiers import ClientOrderId
from exec_core.reports import CommissionReport, FillReport, OrderReport, OrderTerms, Report, ReportStatus

from exec_broker_mock import faults
from exec_broker_mock.book import Book
from exec_broker_mock.faults import FaultKind, Target
from exec_broker_mock.matching import instrument_details
from exec_broker_mock.rows import FillRow, OrderRow, moment, span, to_sql

#: How long an ended order is still replayed to a session that begins.
REPLAY: Final = timedelta(hours=24)
BATCH: Final = 1000

_EVENTS: Final = (
    "SELECT sequence, order_number, at, status, filled_quantity, reason, fill_number, is_commission,"
    " quantity, limit_price, stop_price FROM events WHERE account_id = ? AND sequence > ? ORDER BY sequence LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Reports, and the event up to which they tell everything; `is_cut`: there may be more already."""

    reports: tuple[Report, ...]
    sequence: int
    is_cut: bool = False


def emit_order(book: Book, order: OrderRow, at: int) -> None:
    """Tell an order's state, unless the venue hides the order."""
    if not order.is_hidden(at):
        book.execute(
            "INSERT INTO events (account_id, order_number, at, status, filled_quantity, reason,"
            " quantity, limit_price, stop_price) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(order.account_id, order.number, at, order.status.value, str(order.filled_quantity), order.reason),
                *_terms_texts(order),
            ),
        )


def _terms_texts(order: OrderRow) -> list[object]:
    """The order's terms as SQLite keeps them."""
    return [to_sql(order.quantity), to_sql(order.limit_price), to_sql(order.stop_price)]


def emit_fill(book: Book, order: OrderRow, fill: FillRow, at: int) -> None:
    """Tell an execution."""
    if not order.is_hidden(at):
        _emit_execution(book, order, fill.number, at, is_commission=False)


def emit_commission(book: Book, order: OrderRow, fill_number: int | None, at: int) -> None:
    """Tell what an execution cost, apart from it."""
    if not order.is_hidden(at):
        _emit_execution(book, order, fill_number, at, is_commission=True)


def _emit_execution(book: Book, order: OrderRow, fill_number: int | None, at: int, *, is_commission: bool) -> None:
    book.execute(
        "INSERT INTO events (account_id, order_number, at, fill_number, is_commission) VALUES (?, ?, ?, ?, ?)",
        (order.account_id, order.number, at, fill_number, int(is_commission)),
    )


def reveal(book: Book, order: OrderRow, at: int) -> None:
    """Tell everything of an order that was hidden until now."""
    for fill in book.fills_of_order(order.number):
        emit_fill(book, order, fill, at)
        if fill.commission_at is not None and fill.commission_at < at:
            emit_commission(book, order, fill.number, at)
    emit_order(book, order, at)


def last_event(book: Book) -> int:
    """The newest event of the book."""
    return int(book.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchone()[0])


def present_state(book: Book, account_id: str, now: int) -> Batch:
    """What a session that begins is told: the executions and the state of orders that are open or were lately."""
    reports: list[Report] = []
    for order in book.recent_orders(account_id, now - span(REPLAY.total_seconds())):
        if order.is_hidden(now):
            continue
        for fill in book.fills_of_order(order.number):
            reports.append(fill_report(book, order, fill))
            if fill.commission_at is not None and fill.commission_at <= now:
                reports.append(commission_report(book, order, fill))
        reports.append(order_report(book, order))
    return Batch(tuple(reports), last_event(book))


def news(book: Book, account_id: str, after: int) -> Batch:
    """The events since then, at most `BATCH` of them."""
    rows = book.execute(_EVENTS, (account_id, after, BATCH)).fetchall()
    orders: dict[int, OrderRow | None] = {}
    reports: list[Report] = []
    for _, number, at, status, filled, reason, fill_number, is_commission, *terms in rows:
        if number not in orders:
            orders[number] = book.order(number)
        order = orders[number]
        if order is None:
            continue
        if status is not None:
            then = order._replace(
                status=ReportStatus(status), filled_quantity=Decimal(filled), reason=reason, updated_at=at
            )
            if terms != _terms_texts(order):
                # What an event does not say (an earlier format of the book) is as it is now.
                then = then.on_terms(*(None if term is None else Decimal(term) for term in terms))
            reports.append(order_report(book, then))
            continue
        fill = book.fill(fill_number)
        if fill is not None:
            reports.append((commission_report if is_commission else fill_report)(book, order, fill))
    return Batch(tuple(reports), rows[-1][0] if rows else after, len(rows) == BATCH)


def disturbed(book: Book, account_id: str, batch: Batch) -> Batch:
    """The batch as the faults want it delivered. Inside a write transaction."""
    reports: list[Report] = []
    for report in batch.reports:
        reports.append(report)
        if faults.consume(book, _target(book, account_id, report), FaultKind.DUPLICATE):
            reports.append(report)
    if len(reports) > 1:
        targets = dict.fromkeys(_target(book, account_id, report) for report in reports)
        if any(faults.consume(book, target, FaultKind.REORDER) for target in targets):
            reports.reverse()
    return Batch(tuple(reports), batch.sequence, batch.is_cut)


def _target(book: Book, account_id: str, report: Report) -> Target:
    number = book.order_number(report.broker_order_id or "")
    order = book.order(number) if number is not None else None
    if order is None:
        return Target(account_id, "", report.client_order_id or "", "")
    return Target(account_id, order.symbol, order.client_order_id, order.signal_id)


def order_report(book: Book, order: OrderRow) -> OrderReport:
    """The state of an order, as a broker tells it."""
    return OrderReport(
        order.status,
        ClientOrderId(order.client_order_id),
        book.broker_order_id(order.number),
        order.filled_quantity,
        order.reason,
        moment(order.updated_at),
        instrument_details(order.instrument, order.currency),
        _terms(order),
    )


def _terms(order: OrderRow) -> OrderTerms | None:
    """What an order is worked on; of one that has ended otherwise than filled nothing is said."""
    if not order.is_open and order.status is not ReportStatus.FILLED:
        return None
    return OrderTerms(order.quantity, order.limit_price, order.stop_price, order.side, order.instrument)


def fill_report(book: Book, order: OrderRow, fill: FillRow, now: int | None = None) -> FillReport:
    """An execution, as a broker tells it; with its commission only if that came with it, or is known by `now`."""
    commission = None
    if fill.commission_at is None or (now is not None and fill.commission_at <= now):
        commission = Commission(fill.commission, order.currency)
    return FillReport(
        Fill(
            book.execution_id(fill.execution),
            order.side,
            fill.quantity,
            fill.price,
            moment(fill.time),
            commission,
            fill.correction,
        ),
        ClientOrderId(order.client_order_id),
        book.broker_order_id(order.number),
        instrument_details(order.instrument, order.currency),
    )


def commission_report(book: Book, order: OrderRow, fill: FillRow) -> CommissionReport:
    """What an execution cost, told apart from it."""
    return CommissionReport(
        book.execution_id(fill.execution),
        Commission(fill.commission, order.currency),
        ClientOrderId(order.client_order_id),
        book.broker_order_id(order.number),
    )


def effective(fills: Iterable[FillRow]) -> list[FillRow]:
    """The newest version of each execution, in the order in which they happened; a busted one has quantity zero."""
    newest: dict[int, FillRow] = {}
    for fill in fills:
        known = newest.get(fill.execution)
        if known is None or fill.correction > known.correction:
            newest[fill.execution] = fill
    return list(newest.values())
