"""``exec-service submit``: orders from files to the orders topic, also while no service runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from exec_service.cli.options import EMBEDDED, JSON
from exec_service.cli.program import Failed
from exec_service.cli.reading import chosen_settings

if TYPE_CHECKING:
    from exec_service.buses import BusError
    from exec_service.cli.order_files import OrderText
    from exec_service.settings import Settings

#: Pub/Sub takes 1,000 messages and 10 MB in one request; a request that fails leaves that many in doubt.
MOST_MESSAGES: Final = 1_000
MOST_BYTES: Final = 4_000_000


@click.command(short_help="Publish orders from files.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--raw", is_flag=True, help="Send each FILE's bytes unchanged as one message, whatever they are.")
@EMBEDDED
@JSON
def submit(files: tuple[str, ...], raw: bool, embedded: bool, as_json: bool) -> None:
    """Publish the orders in FILES; - is standard input.

    Each FILE is a JSON object, an array of objects, or one object per line. Prints the signal ids. If one of the files
    cannot be read, nothing is published. Orders of one account keep their order.

    If it fails half-way it says how many are published; submitting the same files again is safe, because the service
    knows orders again by their ids.
    """
    import asyncio
    import json

    from exec_service.cli import order_files

    found: list[OrderText] = []
    for name in files:
        data = _standard_input() if name == "-" else Path(name).read_bytes()
        shown = "standard input" if name == "-" else click.format_filename(name)
        try:
            found += [order_files.OrderText(data)] if raw else order_files.split(data, shown)
        except order_files.NotOrders as error:
            raise Failed(f"{error} Nothing was published.") from error
    published, failure = asyncio.run(_publish(chosen_settings(embedded), found)) if found else ({}, None)
    told = [(found[number], published[number]) for number in sorted(published)]
    if as_json:
        rows = [{"signal_id": order.signal_id, "message_id": message_id} for order, message_id in told]
        click.echo(json.dumps(rows, indent=2))
    else:
        for order, _ in told:
            click.echo(order.signal_id or "-")
    if failure is not None:
        raise Failed(
            f"{len(published)} of {len(found)} orders are published for certain, those that are listed; of the others "
            f"it is not known: {failure}. Submitting the same files again is safe: orders that have arrived are known "
            "by their ids."
        ) from failure
    for number, order in enumerate(found, 1):
        if order.problem is not None:
            click.echo(f"Object {number} will be kept as a dead letter: {order.problem}.", err=True)


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise Failed("Standard input is closed.")
    return sys.stdin.buffer.read()


async def _publish(settings: Settings, orders: Sequence[OrderText]) -> tuple[dict[int, str], BusError | None]:
    """The message ids by the orders' numbers, and what kept the others from being published.

    On the embedded bus every one is published, or none. Pub/Sub has no such thing, and takes one ordering key at once.
    """
    from exec_service.bootstrap import make_bus
    from exec_service.buses import BusError, Outgoing

    chunks = [("", range(len(orders)))] if settings.embedded else _chunks(orders)
    published: dict[int, str] = {}
    async with make_bus(settings, consume=False) as bus:
        for key, numbers in chunks:
            messages = [Outgoing(orders[number].data, ordering_key=key) for number in numbers]
            try:
                ids = await bus.publish(settings.trading_orders_topic, messages)
            except BusError as error:
                return published, error
            published |= zip(numbers, ids, strict=True)
    return published, None


def _chunks(orders: Sequence[OrderText]) -> Iterator[tuple[str, Sequence[int]]]:
    """The orders' numbers account by account, in their order, as many at a time as one request may carry."""
    accounts: dict[str, list[int]] = {}
    for number, order in enumerate(orders):
        accounts.setdefault(order.account_id or "", []).append(number)
    for key, numbers in accounts.items():
        chunk: list[int] = []
        size = 0
        for number in numbers:
            length = len(orders[number].data)
            if chunk and (len(chunk) == MOST_MESSAGES or size + length > MOST_BYTES):
                yield key, chunk
                chunk, size = [], 0
            chunk.append(number)
            size += length
        yield key, chunk
