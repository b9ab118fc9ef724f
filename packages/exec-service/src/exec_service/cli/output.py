"""What commands print: one JSON value, or tables. Piped, a table is as wide as it needs to be.

What makes the tables is imported when the first is printed: JSON needs none of it.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, DecimalException
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from exec_service.formats import format_commission, format_price, format_quantity
from exec_service.json_values import json_value

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: Wide enough for any row: a reader that is a program, or a file, needs no line breaks.
PIPED_WIDTH: Final = 10_000
#: Columns of numbers are set flush right.
RIGHT: Final = frozenset(
    {"filled", "average", "commission", "quantity", "entry", "realized", "leg", "waiting", "count"}
)

#: Columns of words, which are folded where the terminal is narrow; all others stay whole, beyond its edge if need be.
WORDS: Final = frozenset(
    {"order", "remark", "reason", "text", "body", "attention", "capabilities", "what it was", "found"}
)
NARROWEST_WORDS: Final = 16
#: Columns that are left out where no row has anything in them.
OPTIONAL: Final = frozenset({"leg", "remark", "closed"})

STYLES: Final = {
    "FILLED": "green",
    "PARTIALLY_FILLED": "cyan",
    "SUBMITTED": "cyan",
    "REJECTED": "red",
    "CANCELLED": "yellow",
    "EXPIRED": "yellow",
    "UNKNOWN": "bold magenta",
    "✓": "green",
    "!": "yellow",
    "✗": "bold red",
}


class Row(dict[str, Any]):
    """A document to be shown, in which every field that is missing is None: not all of them are written by us."""

    def __missing__(self, name: str) -> None:
        return None


def console(width: int | None = None) -> Console:
    """A console on what is standard output now. Its text is data: nothing in it is markup, or to be coloured."""
    from rich.console import Console

    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    width = width if is_terminal else PIPED_WIDTH
    return Console(width=width, markup=False, emoji=False, highlight=False)


def print_json(value: object) -> None:
    """Print one JSON value; ASCII, so that any pipe can carry it."""
    click.echo(json.dumps(json_value("", _finite(value)), indent=2, allow_nan=False, default=str))


def _finite(value: object) -> object:
    """`value` with None for what is a number to others, and none that JSON has: NaN, infinity."""
    match value:
        case Mapping():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case Decimal() if not value.is_finite():
            return None
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> None:
    """Print a table, or the sentence `empty` where it has no rows."""
    values = [list(row) for row in rows]
    if not values:
        click.echo(empty or f"{title}: none")
        return
    from rich import box
    from rich.cells import cell_len
    from rich.measure import Measurement
    from rich.table import Table

    kept = [
        number
        for number, name in enumerate(columns)
        if name not in OPTIONAL or any(row[number] not in (None, "") for row in values)
    ]
    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0)
    )
    cells = [[cell(row[number]) for row in values] for number in kept]
    for name, column in zip((columns[number] for number in kept), cells, strict=True):
        justify: Literal["left", "right"] = "right" if name in RIGHT else "left"
        whole = max(cell_len(name), *(text.cell_len for text in column))
        table.add_column(
            name,
            justify=justify,
            overflow="fold",
            no_wrap=name not in WORDS,
            min_width=min(whole, NARROWEST_WORDS) if name in WORDS else whole,
        )
    for texts in zip(*cells, strict=True):
        table.add_row(*texts)
    target, boundless = console(), console(width=PIPED_WIDTH)
    needed = Measurement.get(boundless, boundless.options, table).minimum
    if needed > target.width:
        target = console(width=needed)
    if target.is_terminal:
        target.print(table)
        return
    with target.capture() as captured:
        target.print(table)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def cell(value: object) -> Text:
    """A value in a table; what is not known is a dash, what cannot be printed an escape."""
    from rich.text import Text

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
    return _number(value, format_quantity)


def price(value: object, currency: object) -> str | None:
    """A price of a document, as people read it."""
    return _number(value, lambda number: format_price(number, _code(currency)))


def amount(value: object, currency: object) -> str | None:
    """An amount of money of a document, as people read it."""
    return _number(value, lambda number: format_commission(number, _code(currency)))


def _number(value: object, formatted: Callable[[Decimal], str]) -> str | None:
    """A number in words; as it stands where it is none that could be written so, as others' documents may have it."""
    if value is None:
        return None
    try:
        number = Decimal(str(value))
        return formatted(number) if number.is_finite() else str(value)
    except DecimalException:
        return str(value)


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


def modified(order: Mapping[str, Any]) -> str | None:
    """What somebody made of it: ``modified at the broker: quantity 60, limit $234.00``; None if nothing."""
    terms, currency = order["modified"], order["currency"]
    if not isinstance(terms, Mapping):
        return None
    known = Row(terms)
    words = {
        "quantity": quantity(known["quantity"]),
        "limit": price(known["limit_price"], currency),
        "stop": price(known["stop_price"], currency),
    }
    return "modified at the broker: " + ", ".join(f"{name} {value}" for name, value in words.items() if value)
