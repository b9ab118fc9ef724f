"""``cancel`` and ``resolve``: asks the service, by a command document in the store, and waits for its answer."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

import click

from exec_service.cli.options import EMBEDDED, JSON, LEG
from exec_service.cli.program import Failed
from exec_service.cli.reading import chosen_settings, existing_store, leg_of, orders_of

if TYPE_CHECKING:
    from exec_service.settings import Settings
    from exec_service.stores import Document, Store

RESOLUTIONS: Final = ("filled", "cancelled", "placed", "not-placed")
QUEUED: Final = "No service runs: this is queued, and will be carried out at the next start"

WAIT = click.option(
    "--wait", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS",
    help="How long to wait for the answer; 0 does not wait.",
)  # fmt: skip


def number(value: str) -> Decimal:
    """The exact number above zero that `value` spells. :raises click.BadParameter: it spells none."""
    try:
        found = Decimal(value)
    except InvalidOperation:
        raise click.BadParameter(f"{value} is not a number.") from None
    if not (found.is_finite() and found > 0):
        raise click.BadParameter(f"{value} is not a number above zero.")
    return found


@dataclass
class Asked:
    """One order that something is asked of, and what came of it."""

    order: Document
    arguments: Mapping[str, Any]
    command_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: str = "OPEN"
    answer: str | None = None
    status: str = ""

    def as_row(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "signal_id": self.order["signal_id"],
            "leg_index": self.order["leg_index"],
            "client_order_id": self.order["_id"],
            "command_id": self.command_id,
            "state": self.state,
            "answer": self.answer,
            "status": self.status,
        }


@click.command(short_help="Cancel an order.")
@click.argument("signal_id")
@LEG
@click.option("--reason", metavar="TEXT", help="Why; kept with the order.")
@WAIT
@EMBEDDED
@JSON
def cancel(signal_id: str, leg: int | None, reason: str | None, wait: float, embedded: bool, as_json: bool) -> None:
    """Cancel the order SIGNAL_ID; of a signal with several legs, all that have not ended."""
    import asyncio

    asyncio.run(_cancel(chosen_settings(embedded), signal_id, leg, reason, wait, as_json))


async def _cancel(
    settings: Settings, signal_id: str, leg: int | None, reason: str | None, wait: float, as_json: bool
) -> None:
    async with existing_store(settings) as store:
        open_orders = _not_ended(await orders_of(store, signal_id, leg))
        asked = [Asked(order, {"reason": reason}) for order in open_orders]
        await _ask(store, "cancel", asked, wait, until_ended=True)
    _report(asked, as_json, waited=wait > 0)


@click.command(short_help="Say what became of an order that nobody can tell.")
@click.argument("signal_id")
@click.option("--as", "resolution", type=click.Choice(RESOLUTIONS), required=True, help="What became of it.")
@click.option("--evidence", metavar="TEXT", required=True, help="How you know; kept with the order and your name.")
@click.option("--quantity", type=number, metavar="Q", help="With filled: how much; else all that remains.")
@click.option("--price", type=number, metavar="P", help="With filled: at what price.")
@LEG
@WAIT
@EMBEDDED
@JSON
def resolve(
    signal_id: str,
    resolution: str,
    evidence: str,
    quantity: Decimal | None,
    price: Decimal | None,
    leg: int | None,
    wait: float,
    embedded: bool,
    as_json: bool,
) -> None:
    """Say what became of the order SIGNAL_ID, when the broker can no longer say it.

    Look it up at the broker first: what you say is booked.
    """
    import asyncio

    if not evidence.strip():
        raise click.UsageError("--evidence must say how you know what became of the order.")
    if resolution == "filled" and price is None:
        raise click.UsageError("--as filled needs --price, and --quantity unless all of it was filled.")
    if resolution != "filled" and (quantity, price) != (None, None):
        raise click.UsageError(f"--as {resolution} takes neither --quantity nor --price.")
    arguments = {"as": resolution, "evidence": evidence, "quantity": quantity, "price": price}
    asyncio.run(_resolve(chosen_settings(embedded), signal_id, leg, arguments, wait, as_json))


async def _resolve(
    settings: Settings, signal_id: str, leg: int | None, arguments: dict[str, Any], wait: float, as_json: bool
) -> None:
    async with existing_store(settings) as store:
        found = await orders_of(store, signal_id, leg)
        if len(found) > 1:
            legs = ", ".join(str(leg_of(order)) for order in found)
            raise click.UsageError(f"{signal_id} has the legs {legs}: say which one with --leg.")
        asked = [Asked(order, arguments) for order in _not_ended(found)]
        await _ask(store, "resolve", asked, wait)
    _report(asked, as_json, waited=wait > 0)


def _not_ended(orders: list[Document]) -> list[Document]:
    """Those that have not ended. :raises Failed: all have."""
    found = [order for order in orders if not _is_final(order)]
    if not found:
        states = ", ".join(str(order["status"]) for order in orders)
        raise Failed(f"The order is {states} already: there is nothing to do.")
    return found


def _is_final(order: Document) -> bool:
    from exec_core.orders import OrderStatus

    return OrderStatus(order["status"]).is_final


async def _ask(store: Store, kind: str, asked: list[Asked], wait: float, *, until_ended: bool = False) -> None:
    """Write the commands, all or none, and wait for their answers as long as a service runs that could give them."""
    from exec_core.clock import utc_now

    from exec_service.commands import command_document
    from exec_service.stores import COMMANDS, Write

    writes = []
    for item in asked:
        order = item.order
        document = command_document(
            item.command_id, kind, order["_id"], order["account_id"], dict(item.arguments), user(), utc_now()
        )
        writes.append(Write(COMMANDS, item.command_id, 0, document))
    await store.commit(writes)
    await _await_answers(store, asked, wait, until_ended)


async def _await_answers(store: Store, asked: list[Asked], wait: float, until_ended: bool) -> None:
    import asyncio

    from exec_service.commands import DONE, OPEN
    from exec_service.stores import COMMANDS, ORDERS

    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while True:
        commands = {row["_id"]: row for row in await store.load(COMMANDS, {"_id": [item.command_id for item in asked]})}
        orders = {row["_id"]: row for row in await store.load(ORDERS, {"_id": [item.order["_id"] for item in asked]})}
        for item in asked:
            command = commands[item.command_id]
            item.state, item.answer = command["state"], command["answer"]
            item.order = orders[item.order["_id"]]
            item.status = item.order["status"]
        open_ = any(item.state == OPEN for item in asked)
        unended = until_ended and any(item.state == DONE and not _is_final(item.order) for item in asked)
        if not open_ and not unended:
            return
        alive = any(not worker.is_gone for worker in await store.workers())
        if open_ and not alive:
            for item in asked:
                item.answer = item.answer or QUEUED
            return
        remaining = deadline - loop.time()
        if remaining <= 0:
            return
        # At least once a second, for a service that has died meanwhile writes nothing.
        await store.wait_for_change(min(remaining, 1.0))


def _report(asked: list[Asked], as_json: bool, *, waited: bool) -> None:
    """Print what came of it. :raises Failed: something was refused, or not answered in time."""
    from exec_service.cli.output import print_json, printable
    from exec_service.commands import OPEN, REFUSED

    if as_json:
        print_json([item.as_row() for item in asked])
    failed = []
    for item in asked:
        name = item.order["signal_id"] + (f" leg {leg_of(item.order)}" if (item.order["total_legs"] or 1) > 1 else "")
        if item.state == REFUSED:
            failed.append(f"{name}: refused: {item.answer}.")
        elif item.state == OPEN and item.answer is None and waited:
            failed.append(
                f"{name}: the service has not answered yet; it is queued. See `exec-service status` and its log."
            )
        elif not as_json:
            answer = item.answer or "Asked for; the service will carry it out"
            ended = f" It is {item.status}." if item.state != OPEN and _is_final(item.order) else ""
            click.echo(printable(f"{name}: {answer}.{ended}"))
    if failed:
        raise Failed(printable(" ".join(failed)))


def user() -> str:
    """The user of the operating system."""
    import getpass
    import os

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name, as in many containers
        return f"user {os.getuid()}"
