"""What commands print: one JSON value, or tables. Piped, a table is as wide as it needs to be."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import click
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from exec_service.formats import format_commission, format_price, format_quantity
from exec_service.json_values import json_value

#: Wide enough for any row: a reader that is a program, or a file, needs no line breaks.
PIPED_WIDTH: Final = 10_000
#: Columns of numbers are set flush right.
RIGHT: Final = frozenset(
    {"filled", "average", "commission", "quantity", "entry", "realized", "leg", "waiting", "count"}
)

STYLES: Final = {
    "FILLED": "green",
    "PARTIALLY_FILLED": "cyan",
    "SUBMITTED": "cyan",
    "REJECTED": "red",
    "CANCELLED": "yellow",
    "EXPIRED": "yellow",
    "UNKNOWN": "bold magenta",
}


@functools.cache
def _console(_stdout: object) -> Console:
    # The text is data: nothing in it is markup, an emoji's name, or to be coloured by guessing.
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return Console(width=None if is_terminal else PIPED_WIDTH, markup=False, emoji=False, highlight=False)


def console() -> Console:
    """The console on what is standard output now."""
    return _console(sys.stdout)


def print_json(value: object) -> None:
    """Print one JSON value; ASCII, so that any pipe can carry it."""
    click.echo(json.dumps(json_value("", value), indent=2, allow_nan=False))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> None:
    """Print a table, or the sentence `empty` where it has no rows."""
    shown = [[cell(value) for value in row] for row in rows]
    if not shown:
        click.echo(empty or f"{title}: none")
        return
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in RIGHT else "left", overflow="fold")
    for row in shown:
        table.add_row(*row)
    target = console()
    if target.is_terminal:
        target.print(table)
        return
    with target.capture() as captured:
        target.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def cell(value: object) -> Text:
    """A value in a table; what is not known is a dash, what cannot be printed an escape."""
    if value is None or value == "":
        return Text("-", style="dim")
    text = moment(value) if isinstance(value, datetime) else str(value)
    return Text(printable(text), style=STYLES.get(text, ""))


def printable(text: str) -> str:
    """`text` with what a terminal would obey, or cannot show, as escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def moment(value: datetime) -> str:
    """``2024-11-24 10:30:12``, UTC."""
    return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def quantity(value: object) -> str | None:
    """A quantity of a document, as people read it."""
    return None if value is None else format_quantity(Decimal(str(value)))


def price(value: object, currency: object) -> str | None:
    """A price of a document, as people read it."""
    return None if value is None else format_price(Decimal(str(value)), _code(currency))


def amount(value: object, currency: object) -> str | None:
    """An amount of money of a document, as people read it."""
    return None if value is None else format_commission(Decimal(str(value)), _code(currency))


def _code(currency: object) -> str | None:
    return currency if isinstance(currency, str) else None


def asked(order: Mapping[str, Any]) -> str:
    """What an order document asks for: ``BUY 50 AAPL LIMIT $187.50``; ``?`` for what could not be read."""
    currency = order["currency"]
    how_much = quantity(order["quantity"])
    if how_much is None and order["cash_quantity"] is not None:
        how_much = f"{amount(order['cash_quantity'], currency)} of"
    contract = [order["expiry"], quantity(order["strike"]), order["right"]]
    prices = [price(order["stop_price"], currency), price(order["limit_price"], currency)]
    words = [order["side"] or "?", how_much or "?", order["symbol"] or "?", *contract, order["order_type"], *prices]
    return " ".join(str(word) for word in words if word is not None)
