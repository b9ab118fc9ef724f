"""What an order costs in pure Python: no store, no bus, no network, each step by itself.

    python benchmarks/decisions.py [--orders 2000] [--rounds 5]

The figures are microseconds of CPU per order (of all threads), the best of some rounds. Machines differ and are
shared, so that a piece of fixed work stands at the head of the table, and each step's ratio to it beside the figure:
only ratios within one run mean anything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from exec_broker_mock.books import forget_books
from exec_broker_mock.broker import PLUGIN
from exec_broker_mock.settings import MockBrokerSettings
from exec_core import BrokerConfig, Order, ReportStatus, Side, lifecycle
from exec_core.events import Dispatched
from exec_core.fills import Commission, Fill
from exec_core.guard import GuardedBroker
from exec_core.identifiers import AccountId, BrokerOrderId, ExecutionId
from exec_core.instruments import InstrumentDetails
from exec_core.positions import Entry, Position, PositionKey, book
from exec_core.reports import FillReport, OrderReport, OrderTerms
from exec_service import logs, texts, wire
from exec_service.records import Accepted
from exec_service.redaction import Redactor

NOW = datetime(2026, 1, 3, 12, 51, 53, 123456, UTC)
DETAILS = InstrumentDetails(Decimal(1), Decimal("0.01"), Decimal(1), "USD")
SYMBOLS = 50


def message(number: int) -> bytes:
    """An order as a producer writes it."""
    fields = {
        "signal_id": f"bench_{number:06d}",
        "strategy_name": "bench",
        "account_id": "acc_0",
        "symbol": f"SYM{number % SYMBOLS}",
        "instrument_type": "STOCK",
        "side": "BUY",
        "quantity": 100,
        "order_type": "MARKET",
        "price": 235.15,
        "timestamp": NOW.isoformat(),
        "environment": "staging",
    }
    return json.dumps(fields).encode()


def parsed(data: bytes) -> Order:
    """The order that the message is."""
    found = wire.parse(
        data,
        message_id="1",
        published_at=NOW,
        received_at=NOW,
        sequence=1,
        attributes={},
        environment=None,
        accounts={"acc_0": "acc_0"},
    )
    if not isinstance(found, Accepted):
        raise TypeError(f"the benchmark's message is refused: {found}")
    return found.record.order


def calibrate(_number: int) -> None:
    """Fixed work of the kind that orders are made of: small objects, texts, decimals."""
    total = Decimal(0)
    for count in range(20):
        row = {"name": f"line {count}", "amount": Decimal(count) * Decimal("1.25")}
        total += row["amount"] if isinstance(row["amount"], Decimal) else 0


class Life:
    """The steps of one order's life, each from the order as the step before left it."""

    def __init__(self, count: int) -> None:
        self.messages = [message(number) for number in range(count)]
        self.fresh = [parsed(data) for data in self.messages]
        self.dispatched = [lifecycle.apply(order, Dispatched(), NOW).order for order in self.fresh]
        self.answers = [self._report(order, ReportStatus.WORKING, number) for number, order in enumerate(self.fresh)]
        self.answered = [self._after(self.dispatched, self.answers, number) for number in range(count)]
        self.fills = [self._fill(order, number) for number, order in enumerate(self.fresh)]
        self.filled = [self._after(self.answered, self.fills, number) for number in range(count)]
        self.ends = [self._report(order, ReportStatus.FILLED, number) for number, order in enumerate(self.fresh)]
        self.held: dict[str, Position] = {}

    @staticmethod
    def _after(orders: Sequence[Order], reports: Sequence[OrderReport | FillReport], number: int) -> Order:
        return lifecycle.apply(orders[number], reports[number], NOW).order

    @staticmethod
    def _report(order: Order, status: ReportStatus, number: int) -> OrderReport:
        terms = OrderTerms(Decimal(100), None, None, Side.BUY, order.request.instrument)
        done = Decimal(100) if status is ReportStatus.FILLED else Decimal(0)
        name = BrokerOrderId(f"mock-{number}")
        return OrderReport(status, order.client_order_id, name, done, None, NOW, DETAILS, terms)

    @staticmethod
    def _fill(order: Order, number: int) -> FillReport:
        cost = Commission(Decimal("1.00"), "USD")
        fill = Fill(ExecutionId(f"E-{number}"), Side.BUY, Decimal(100), Decimal("235.15"), NOW, cost)
        return FillReport(fill, order.client_order_id, BrokerOrderId(f"mock-{number}"), DETAILS)

    def parse(self, number: int) -> None:
        """A message becomes an order."""
        parsed(self.messages[number])

    def dispatch(self, number: int) -> None:
        """It is about to be sent."""
        lifecycle.apply(self.fresh[number], Dispatched(), NOW)

    def answer(self, number: int) -> None:
        """The broker has it."""
        lifecycle.apply(self.dispatched[number], self.answers[number], NOW)

    def repeat(self, number: int) -> None:
        """The same, told again by the session."""
        lifecycle.apply(self.answered[number], self.answers[number], NOW)

    def fill(self, number: int) -> None:
        """It is filled."""
        lifecycle.apply(self.answered[number], self.fills[number], NOW)

    def end(self, number: int) -> None:
        """The broker calls it complete as well."""
        lifecycle.apply(self.filled[number], self.ends[number], NOW)

    def position(self, number: int) -> None:
        """Its execution goes into the symbol's position."""
        request = self.fresh[number].request
        instrument = request.instrument
        key = PositionKey(request.strategy_name, request.account_id, instrument.key, request.product)
        booked = book(
            self.held.get(instrument.symbol),
            [Entry(self.fills[number].fill, Decimal("1.00"))],
            key=key,
            instrument=instrument,
            multiplier=Decimal(1),
            increment=Decimal(1),
            new_id=f"pos_{number}",
            at=NOW,
        )
        self.held[instrument.symbol] = booked.positions[-1]

    def lines(self, number: int) -> None:
        """The texts of its log lines."""
        texts.placing(self.dispatched[number])
        texts.log_lines(self.dispatched[number], self.answered[number])
        texts.log_lines(self.answered[number], self.filled[number])

    def log(self, number: int) -> None:
        """Four lines about it."""
        signal_id = self.fresh[number].request.signal_id
        logs.order_log.info(texts.received(signal_id), signal_id)
        logs.order_log.info("Placing order: BUY 100 SPY MARKET", signal_id)
        logs.order_log.info("Order submitted: mock-1", signal_id)
        logs.order_log.info("Order filled: 100 @ $235.15", signal_id)


def cpu_per_order(step: Callable[[int], None], count: int) -> float:
    """Seconds of CPU, of one round."""
    begin = time.process_time()
    for number in range(count):
        step(number)
    return (time.process_time() - begin) / count


def logged(life: Life, count: int, directory: Path) -> float:
    """The same for the log, through lanes to a console and two files, until everything is written."""
    redactor = Redactor(["a-secret-of-the-store", "mongodb://user:pass-word@host/db", "123456:telegram-token"])
    with ExitStack() as stack:
        console = stack.enter_context((directory / "console").open("w", encoding="utf-8"))
        opened = stack.enter_context(logs.configure(directory / "logs", console=console, redactor=redactor))
        begin = time.process_time()
        for number in range(count):
            life.log(number)
        opened.close()
        return (time.process_time() - begin) / count


async def placed(life: Life, count: int, at_once: int) -> float:
    """The same for the mock broker in memory: sending behind the guard, and every report of it."""
    forget_books()
    broker = GuardedBroker(PLUGIN.create(BrokerConfig("mock", AccountId("acc_0")), MockBrokerSettings()), PLUGIN)
    async with broker:
        ended = asyncio.Event()

        async def listen() -> None:
            left = count
            async for report in broker.reports():
                if isinstance(report, OrderReport) and report.status is ReportStatus.FILLED:
                    left -= 1
                    if not left:
                        break
            ended.set()

        begin = time.process_time()
        listening = asyncio.create_task(listen())
        for start in range(0, count, at_once):
            orders = life.dispatched[start : start + at_once]
            await asyncio.gather(*(broker.place_order(order) for order in orders))
        await ended.wait()
        spent = time.process_time() - begin
        await listening
    return spent / count


def measure(count: int, rounds: int, directory: Path) -> dict[str, float]:
    """Each step's best round, in seconds per order."""
    life = Life(count)
    steps: dict[str, Callable[[int], float]] = {
        name: lambda _round, step=step: cpu_per_order(step, count)  # type: ignore[misc]
        for name, step in {
            "calibration": calibrate,
            "parse a message": life.parse,
            "judge: about to be sent": life.dispatch,
            "judge: the broker has it": life.answer,
            "judge: the same again": life.repeat,
            "judge: filled": life.fill,
            "judge: complete as well": life.end,
            "book into the position": life.position,
            "texts of its log lines": life.lines,
        }.items()
    }
    steps["log four lines"] = lambda number: logged(life, count, directory / f"round{number}")
    steps["mock: place, report, 16 at once"] = lambda _: asyncio.run(placed(life, count, 16))
    steps["mock: place, report, one by one"] = lambda _: asyncio.run(placed(life, count, 1))
    found = dict.fromkeys(steps, float("inf"))
    for number in range(rounds):  # round by round, so that a busy moment of the machine meets every step
        (directory / f"round{number}").mkdir()
        for name, step in steps.items():
            found[name] = min(found[name], step(number))
    return found


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=1000, help="how many orders each round takes")
    parser.add_argument("--rounds", type=int, default=3, help="how many rounds, of which the best counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="exec-bench-") as directory:
        found = measure(options.orders, options.rounds, Path(directory))
    reference = found["calibration"]
    print(f"{options.orders} orders, best of {options.rounds}; {os.cpu_count()} processors, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}")
    print(f"{'step':32} {'us of CPU':>10} {'ratio':>7}")
    for name, seconds in found.items():
        print(f"{name:32} {seconds * 1e6:>10.1f} {seconds / reference:>7.2f}")
    total = sum(found.values()) - reference - found["mock: place, report, one by one"]
    print(f"{'in all':32} {total * 1e6:>10.1f} {total / reference:>7.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
