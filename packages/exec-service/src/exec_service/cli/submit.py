"""``exec-service submit``: orders from files to the orders topic, also while no service runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exec_service.cli.options import JSON
from exec_service.cli.program import Failed
from exec_service.cli.reading import embedded_settings

if TYPE_CHECKING:
    from exec_service.cli.order_files import OrderText
    from exec_service.settings import Settings


@click.command(short_help="Publish orders from files.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--raw", is_flag=True, help="Send each FILE's bytes unchanged as one message, whatever they are.")
@JSON
def submit(files: tuple[str, ...], raw: bool, as_json: bool) -> None:
    """Publish the orders in FILES; - is standard input.

    Each FILE is a JSON object, an array of objects, or one object per line. Prints the signal ids. If one of the files
    cannot be read, nothing is published.
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
    ids = asyncio.run(_publish(embedded_settings(), found)) if found else []
    if as_json:
        pairs = zip(found, ids, strict=True)
        rows = [{"signal_id": order.signal_id, "message_id": message_id} for order, message_id in pairs]
        click.echo(json.dumps(rows, indent=2))
    else:
        for order in found:
            click.echo(order.signal_id or "-")
    for number, order in enumerate(found, 1):
        if order.problem is not None:
            click.echo(f"Object {number} will be kept as a dead letter: {order.problem}.", err=True)


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise Failed("Standard input is closed.")
    return sys.stdin.buffer.read()


async def _publish(settings: Settings, orders: list[OrderText]) -> list[str]:
    """All of them in one publish: either every one is durable, or none."""
    from exec_service.bootstrap import make_bus
    from exec_service.buses import Outgoing

    async with make_bus(settings) as bus:
        return await bus.publish(settings.trading_orders_topic, [Outgoing(order.data) for order in orders])
