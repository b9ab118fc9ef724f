"""``orders``, ``positions`` and ``dead-letters``: what the store holds, as tables or under the documents' names.

Other services write into the same database: a document that lacks fields of ours, or has other values in them, is shown
as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from exec_service.cli.brief import brief
from exec_service.cli.options import EMBEDDED, JSON
from exec_service.cli.reading import chosen_settings, existing_store, orders_of

if TYPE_CHECKING:
    from exec_service.settings import Settings
    from exec_service.stores import Document

#: So many rows of a table are read by people; JSON is complete unless a limit is given.
TABLE_ROWS: Final = 50
#: So much of a dead letter's body is shown in a table.
BODY_SHOWN: Final = 80

LIMIT = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")


@click.command(short_help="List orders, or show one with its history.")
@click.argument("signal_id", required=False)
@LIMIT
@EMBEDDED
@JSON
@brief()
def orders(signal_id: str | None, limit: int | None, embedded: bool, as_json: bool) -> None:
    """List orders, the newest last; or show the order SIGNAL_ID with its history."""
    import asyncio

    from exec_service.cli.output import print_json
    from exec_service.documents import order_view

    limit = limit if as_json or limit else TABLE_ROWS
    found, fills = asyncio.run(_orders(chosen_settings(embedded), signal_id, limit))
    if as_json:
        print_json([order_view(document) for document in found])
        return
    archived = [document for document in found if document.get("archived_at") is not None]
    stored = [document for document in found if document not in archived]
    if stored or not archived:
        _print_orders(stored)
    _print_archived(archived)
    if signal_id is not None:
        for document in stored:
            _print_life(document, [fill for fill in fills if fill["client_order_id"] == document["_id"]])


async def _orders(
    settings: Settings, signal_id: str | None, limit: int | None
) -> tuple[list[Document], list[Document]]:
    """The orders, and of a single signal their executions."""
    from exec_core.orders import OrderStatus

    from exec_service.stores import FILLS, ORDERS, Not
    from exec_service.tombstones import is_tombstone

    async with existing_store(settings) as store:
        if signal_id is None:
            # What stays of an archived order has no number any more; of one that is being archived, it still has.
            # All statuses are named because orders are found by status and number together.
            where = {"status": [status.value for status in OrderStatus], "sequence": Not(None)}
            newest = await store.load(ORDERS, where, order_by="sequence", descending=True, limit=limit)
            return [document for document in newest[::-1] if not is_tombstone(document)], []
        found = (await orders_of(store, signal_id))[-limit if limit else None :]
        ids = [document["_id"] for document in found]
        return found, await store.load(FILLS, {"client_order_id": ids}, order_by="received_at")


def _print_orders(found: list[Document]) -> None:
    from exec_service.cli.output import print_table

    columns = ("received", "signal", "leg", "account", "order", "status", "filled", "average", "commission", "remark")
    print_table("Orders", columns, [order_row(document) for document in found])


def order_row(order: Mapping[str, Any]) -> tuple[object, ...]:
    """An order's row in the table."""
    from exec_service.cli.output import Row, amount, asked, modified, price, quantity

    order = Row(order)
    return (
        order["received_at"],
        order["signal_id"],
        order["leg_index"] if (order["total_legs"] or 1) > 1 or order["leg_index"] else None,
        order["account_id"],
        asked(order),
        order["status"],
        quantity(order["filled_quantity"]),
        price(order["avg_fill_price"], order["currency"]),
        amount(order["commission"], order["commission_currency"]),
        order["attention"] or order["reason"] or modified(order),
    )


def _print_archived(found: list[Document]) -> None:
    from exec_service.cli.output import moment, printable

    for order in found:
        click.echo(
            printable(
                f"{order['signal_id']} leg {order['leg_index']} was archived on {moment(order['archived_at'])} UTC: "
                f"{order['status']}, client order id {order['_id']}, broker's {order['order_id'] or 'not known'}. "
                "Its history and executions are in the files of `exec-service archive`."
            )
        )


def _print_life(order: Document, fills: list[Document]) -> None:
    from exec_service.cli.output import amount, price, print_table, quantity

    title = f"{order['signal_id']}: client order id {order['_id']}, broker's {order['order_id'] or 'not known'}"
    print_table(
        title,
        ("time", "revision", "status", "event", "source", "evidence", "text"),
        [
            tuple(entry[name] for name in ("at", "revision", "status", "event", "source", "evidence", "text"))
            for entry in order["history"]
        ],
    )
    print_table(
        "Executions",
        ("time", "side", "quantity", "price", "commission", "execution"),
        [
            (
                fill["time"],
                fill["side"],
                quantity(fill["quantity"]),
                price(fill["price"], order["currency"]),
                amount(fill["commission"], fill["commission_currency"]),
                fill["_id"],
            )
            for fill in fills
        ],
    )


@click.command(short_help="List open positions.")
@click.option("--all", "show_all", is_flag=True, help="Also those that are closed.")
@EMBEDDED
@JSON
@brief()
def positions(show_all: bool, embedded: bool, as_json: bool) -> None:
    """List the open positions, per strategy, account and instrument."""
    import asyncio

    from exec_service.cli.output import print_json, print_table

    found = asyncio.run(_positions(chosen_settings(embedded), show_all))
    if as_json:
        print_json([{name: value for name, value in row.items() if name != "exact"} for row in found])
        return
    columns = ("strategy", "account", "instrument", "side", "quantity", "entry", "realized", "commission", "status")
    print_table("Positions", (*columns, "opened", "closed"), [position_row(document) for document in found])


async def _positions(settings: Settings, show_all: bool) -> list[Document]:
    from exec_service.journal import CLOSED
    from exec_service.stores import POSITIONS, Not

    async with existing_store(settings) as store:
        return await store.load(POSITIONS, {} if show_all else {"status": Not(CLOSED)}, order_by="opened_at")


def position_row(position: Mapping[str, Any]) -> tuple[object, ...]:
    """A position's row in the table."""
    from exec_service.cli.output import Row, amount, price, quantity

    position = Row(position)
    currency = position["currency"]
    contract = [position["symbol"], position["expiry"], quantity(position["strike"]), position["right"]]
    return (
        position["strategy_name"],
        position["account_id"],
        " ".join(str(word) for word in contract if word is not None),
        position["side"],
        quantity(position["quantity"]),
        price(position["avg_entry_price"], currency),
        amount(position["realized_pnl"], currency),
        amount(position["commission"], currency),
        position["status"],
        position["opened_at"],
        position["closed_at"],
    )


@click.command("dead-letters", short_help="List messages that could not become orders.")
@LIMIT
@EMBEDDED
@JSON
@brief()
def dead_letters(limit: int | None, embedded: bool, as_json: bool) -> None:
    """List the messages that could not become orders, the newest last."""
    import asyncio

    from exec_service.cli.output import print_json, print_table

    found = asyncio.run(_dead_letters(chosen_settings(embedded), limit if as_json or limit else TABLE_ROWS))
    if as_json:
        print_json(found)
        return
    columns = ("received", "signal", "code", "reason", "body")
    print_table("Dead letters", columns, [dead_letter_row(letter) for letter in found])


async def _dead_letters(settings: Settings, limit: int | None) -> list[Document]:
    from exec_service.stores import DEAD_LETTERS

    async with existing_store(settings) as store:
        return (await store.load(DEAD_LETTERS, order_by="received_at", descending=True, limit=limit))[::-1]


def dead_letter_row(letter: Mapping[str, Any]) -> tuple[object, ...]:
    """A dead letter's row in the table."""
    from exec_service.cli.output import Row

    letter = Row(letter)
    body = letter["body"] if letter["body"] is not None else f"base64: {letter['body_b64']}"
    shown = body if len(body) <= BODY_SHOWN else f"{body[:BODY_SHOWN]}…"
    return letter["received_at"], letter["signal_id"], letter["reason_code"], letter["reason"], shown
