"""What executions cost, by Kite's calculator: an estimate, asked once per order, apart from everything else.

Kite bills by the day and tells nobody per trade, so the charges of an order that has ended are asked for (the brokerage
has a maximum per order, so parts of an order must not be asked for apart), and divided over its executions by quantity.
They are marked as estimated. What a depository charges for a sale is not in them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from exec_core.fills import Commission
from exec_core.identifiers import BrokerOrderId, ExecutionId
from exec_core.money import ZERO, exact
from exec_core.reports import CommissionReport, FillReport

from exec_broker_zerodha import rows
from exec_broker_zerodha.book import Book
from exec_broker_zerodha.client import Client
from exec_broker_zerodha.figures import figure
from exec_broker_zerodha.instruments import CURRENCY
from exec_broker_zerodha.rows import Row

logger = logging.getLogger(__name__)

#: Orders in one question.
MOST_AT_ONCE: Final = 20
#: How often an order is asked for whose charges are not told.
MOST_ATTEMPTS: Final = 5
_PLACES: Final = Decimal("0.0001")


@dataclass(slots=True, eq=False)
class Charger:
    """Asks in the background; `told` is called when there is something new in the book."""

    client: Client
    book: Book
    told: Callable[[], None]
    _asked: set[BrokerOrderId] = field(default_factory=set)
    _attempts: dict[BrokerOrderId, int] = field(default_factory=dict)
    _task: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Ask for what is due now, unless a question is under way."""
        if self._task is not None and not self._task.done():
            return
        due = [name for name in self.book.rows if self._is_due(name)][:MOST_AT_ONCE]
        if due:
            self._task = asyncio.get_running_loop().create_task(self._ask(due), name="charges of Kite's orders")

    async def close(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _is_due(self, name: BrokerOrderId) -> bool:
        """Whether an order of ours has ended, something of it was filled, and all its executions are known."""
        if name in self._asked or self._attempts.get(name, 0) >= MOST_ATTEMPTS:
            return False
        row = self.book.rows[name]
        is_ours = any(fill.client_order_id for fill in self.book.fills_of(name)) or rows.our_tag(row) is not None
        return is_ours and rows.filled_quantity(row) > 0 and not rows.is_open(row) and not self.book.lacks(name)

    async def _ask(self, names: Sequence[BrokerOrderId]) -> None:
        asked = [(name, self.book.rows[name], self.book.fills_of(name)) for name in names]
        reply = await self.client.charges([question(name, row, fills) for name, row, fills in asked])
        notes = reply.value if isinstance(reply.value, list) else []
        if reply.failure is not None or len(notes) != len(asked):
            logger.info("Kite's charges are not told: %s", reply.failure.text if reply.failure else "another answer")
        for number, (name, row, fills) in enumerate(asked):
            total = charged(notes[number], row) if len(notes) == len(asked) else None
            if total is None:
                self._attempts[name] = self._attempts.get(name, 0) + 1
                continue
            self._asked.add(name)
            owner = next((fill.client_order_id for fill in fills if fill.client_order_id), rows.our_tag(row))
            for execution_id, part in divided(total, fills):
                commission = Commission(part, CURRENCY, estimated=True)
                self.book.commissions[execution_id] = CommissionReport(execution_id, commission, owner, name)
        self.told()


def question(name: BrokerOrderId, row: Row, fills: Sequence[FillReport]) -> dict[str, Any]:
    """What Kite's calculator is asked of an order. It takes numbers only, so that its price is no exact one here."""
    with exact():
        quantity = sum((one.fill.quantity for one in fills), ZERO)
        average = sum((one.fill.quantity * one.fill.price for one in fills), ZERO) / quantity
    fields = ("exchange", "tradingsymbol", "transaction_type", "variety", "product", "order_type")
    known = {key: str(row.get(key)) for key in fields}
    return {"order_id": name, **known, "quantity": int(quantity), "average_price": float(round(average, 4))}


def charged(note: Any, row: Row) -> Decimal | None:
    """The total of the answer about one order; None if it is about another, or says none."""
    if not isinstance(note, dict) or rows.place_of(note) != rows.place_of(row):
        return None
    charges = note.get("charges")
    total = figure(charges.get("total")) if isinstance(charges, dict) else None
    return total if total is not None and total >= 0 else None


def divided(total: Decimal, fills: Sequence[FillReport]) -> list[tuple[ExecutionId, Decimal]]:
    """The parts of each execution, by quantity; they add up, and are the same whenever it is done."""
    ordered = sorted((one.fill for one in fills), key=lambda fill: fill.execution_id)
    parts, left = [], total
    with exact():
        quantity = sum((fill.quantity for fill in ordered), ZERO)
        for number, fill in enumerate(ordered):
            part = left if number == len(ordered) - 1 else (total * fill.quantity / quantity).quantize(_PLACES)
            parts.append((fill.execution_id, part))
            left -= part
    return parts
