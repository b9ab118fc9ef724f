"""The people of a soak run: those at the venue, who cancel, fill, expire, correct and move prices; and one at the desk,
who cancels with `exec-service cancel`. Whoever has nothing to do looks again soon.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from exec_broker_mock.book import Book
from exec_broker_mock.desk import Desk, ImpossibleAction
from exec_broker_mock.faults import Faults
from exec_broker_mock.reporting import effective
from exec_broker_mock.rows import OrderRow, micros, moment
from exec_broker_mock.venue import Venue
from exec_core.errors import ConnectionFailed
from exec_core.reports import ReportStatus
from harness import World
from soak_load import kind_of

LOOK_SECONDS = 0.5
#: An order is left alone for between this and that.
DWELL_SECONDS = (2, 10)
RECENT = timedelta(seconds=60)
#: What is done to orders that have ended: a price is corrected, an execution comes late.
AFTERWARDS = {("corrected", ReportStatus.FILLED), ("latefill", ReportStatus.CANCELLED)}


class People:
    """The venue's side of the book, and the one who asks for cancels."""

    def __init__(self, world: World, accounts: tuple[str, ...]) -> None:
        self._world = world
        self._accounts = accounts
        self._book = Book.in_file(world.book_file)
        self._venue = Venue(self._book)
        self._desk = Desk(self._venue)
        self.faults = Faults(self._book)
        self._done: set[str] = set()
        #: How many orders that have ended are still to be touched.
        self.left = 0
        #: What was done, by kind.
        self.acts: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> People:
        self._task = asyncio.create_task(self._run(), name="people")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await asyncio.to_thread(self._book.close)
        if self._task is not None and not self._task.cancelled():
            self._task.result()

    async def _run(self) -> None:
        while True:
            wanted = await asyncio.to_thread(self._round)
            for signal_id in wanted:
                await asyncio.to_thread(self._world.run, "cancel", signal_id, "--wait", "2", check=False)
                self.acts["command"] += 1
            await asyncio.sleep(LOOK_SECONDS)

    def _round(self) -> list[str]:
        """Look at every account once; the signals whose cancel is to be asked of the service."""
        asked: list[str] = []
        left = 0
        now = datetime.now(UTC)
        for account_id in self._accounts:
            try:
                with self._book.transaction(write=False):
                    rows = self._book.recent_orders(account_id, micros(now - RECENT))
                left += sum(
                    (kind_of(row.signal_id), row.status) in AFTERWARDS
                    for row in rows
                    if row.signal_id not in self._done
                )
                for row in rows:
                    if row.signal_id in self._done or (now - moment(row.accepted_at)).total_seconds() < _dwell(row):
                        continue
                    if kind_of(row.signal_id) == "command" and row.is_open:
                        asked.append(row.signal_id)
                    elif self._act(row):
                        self._done.add(row.signal_id)
                        self.acts[kind_of(row.signal_id)] += 1
            except (ImpossibleAction, ConnectionFailed):
                continue  # it has just ended, or the book is busy: the next look tells
        self.left = left
        return asked[:1]

    async def executions(self) -> set[str]:
        """The venue's executions as they count now, by the names that `invariants` gives them."""
        return await asyncio.to_thread(self._executions)

    def _executions(self) -> set[str]:
        with self._book.transaction(write=False):
            return {
                f"{self._book.execution_id(fill.execution)}#c{fill.correction}"
                if fill.correction
                else str(self._book.execution_id(fill.execution))
                for fill in effective(self._book.all_fills())
            }

    def _act(self, row: OrderRow) -> bool:
        """What its kind asks for now; whether that was all."""
        name = self._book.broker_order_id(row.number)
        match kind_of(row.signal_id), row.status:
            case "cancelled", _ if row.is_open:
                self._desk.cancel(name)
            case "expired", _ if row.is_open:
                self._desk.expire(name)
            case "refusedlate", _ if row.is_open:
                self._desk.reject(name)
            case "latefill", _ if row.is_open:
                self._desk.cancel(name)
                return False
            case "latefill", ReportStatus.CANCELLED:
                self._desk.fill(name, Decimal(1), row.arrival_price)
            case "byhand", _ if row.is_open:
                half = (row.quantity or Decimal(2)) // 2
                self._desk.fill(name, half if not row.filled_quantity else None, row.limit_price)
                return bool(row.filled_quantity)
            case (("stop" | "stoplimit"), ReportStatus.HELD):
                self._venue.set_price(row.symbol, row.stop_price or Decimal(1))
            case "corrected", ReportStatus.FILLED:
                self._desk.correct(name, price=row.arrival_price + 1)
            case _:
                return False
        return True


def _dwell(row: OrderRow) -> float:
    """How long the order is left alone: always the same for one order."""
    low, high = DWELL_SECONDS
    return low + zlib.crc32(row.signal_id.encode()) % 1000 / 1000 * (high - low)


def counted(acts: Counter[str]) -> dict[str, Any]:
    """For the record."""
    return dict(sorted(acts.items()))
