"""The command line on a book: look at it, set a price, script a fault, or do what people do at the venue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path

import click
from exec_core.errors import ConfigurationError, ConnectionFailed

from exec_broker_mock.book import Book
from exec_broker_mock.desk import Desk, ImpossibleAction
from exec_broker_mock.faults import FaultKind, Faults
from exec_broker_mock.printing import contents, text
from exec_broker_mock.venue import Venue

FILE = click.argument("file", type=click.Path(path_type=Path))


def number(value: str) -> Decimal:
    """The exact number that `value` spells. :raises click.BadParameter: it spells none."""
    try:
        found = Decimal(value)
    except InvalidOperation:
        raise click.BadParameter(f"{value} is not a number") from None
    if not found.is_finite():
        raise click.BadParameter(f"{value} is not a finite number")
    return found


@contextmanager
def _opened(file: Path, *, must_exist: bool) -> Iterator[Book]:
    """The book of a command; what cannot be done becomes a sentence and exit code 1."""
    if must_exist and not file.exists():
        raise click.ClickException(f"there is no book {file}")
    try:
        book = Book.in_file(file)
        try:
            yield book
        finally:
            book.close()
    except (ConfigurationError, ConnectionFailed, ImpossibleAction) as error:
        raise click.ClickException(str(error)) from error


@click.group()
def main() -> None:
    """Work with a book of the mock broker (MOCK_BROKER_STATE_FILE), also while services use it."""


@main.command()
@FILE
@click.option("--json", "as_json", is_flag=True, help="One JSON object: orders and fills.")
def book(file: Path, as_json: bool) -> None:
    """Print every order and fill, after making happen what has become due."""
    with _opened(file, must_exist=True) as opened:
        Venue(opened).advance()
        with opened.transaction(write=False):
            data = contents(opened)
    click.echo(json.dumps(data, indent=2) if as_json else text(data))


@main.command()
@FILE
@click.argument("symbol")
@click.argument("price", type=number)
def price(file: Path, symbol: str, price: Decimal) -> None:
    """Set the market price of SYMBOL from now on."""
    with _opened(file, must_exist=False) as opened:
        try:
            Venue(opened).set_price(symbol, price)
        except ValueError as error:
            raise click.UsageError(str(error)) from error


@main.command()
@FILE
@click.argument("kind", type=click.Choice([kind.value for kind in FaultKind]))
@click.option("--account", "account_id", help="Only for this account.")
@click.option("--symbol", help="Only for orders in this symbol.")
@click.option("--signal-id", help="Only for orders of this signal.")
@click.option("--client-order-id", help="Only for this order.")
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="How often.")
@click.option("--seconds", type=float, help="How long, for the kinds that take time.")
@click.option("--reason", help="What the venue says, for rejections and the state of the line.")
def script(
    file: Path,
    kind: str,
    account_id: str | None,
    symbol: str | None,
    signal_id: str | None,
    client_order_id: str | None,
    count: int,
    seconds: float | None,
    reason: str | None,
) -> None:
    """Arm a fault of KIND, and print its number."""
    with _opened(file, must_exist=False) as opened:
        try:
            fault = Faults(opened).script(
                kind,
                account_id=account_id,
                symbol=symbol,
                client_order_id=client_order_id,
                signal_id=signal_id,
                count=count,
                seconds=seconds,
                reason=reason,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    click.echo(fault)


@main.command()
@FILE
@click.argument("action", type=click.Choice(["cancel", "expire", "reject", "modify", "fill", "correct", "bust"]))
@click.argument("broker_order_id")
@click.option("--quantity", type=number, help="For modify, fill and correct.")
@click.option("--limit", "limit_price", type=number, help="For modify.")
@click.option("--stop", "stop_price", type=number, help="For modify.")
@click.option("--price", type=number, help="For fill and correct.")
@click.option("--execution-id", help="For correct and bust; else the newest execution.")
@click.option("--reason", help="For cancel, expire and reject.")
def act(
    file: Path,
    action: str,
    broker_order_id: str,
    quantity: Decimal | None,
    limit_price: Decimal | None,
    stop_price: Decimal | None,
    price: Decimal | None,
    execution_id: str | None,
    reason: str | None,
) -> None:
    """Do at the venue what people do there: ACTION on the order BROKER_ORDER_ID."""
    terms = {"quantity": quantity, "limit_price": limit_price, "stop_price": stop_price}
    given = {**terms, "price": price, "execution_id": execution_id, "reason": reason}
    takes = {
        "modify": set(terms),
        "fill": {"quantity", "price"},
        "correct": {"quantity", "price", "execution_id"},
        "bust": {"execution_id"},
    }.get(action, {"reason"})
    extra = sorted(name for name, value in given.items() if value is not None and name not in takes)
    if extra:
        named = ", ".join(name.removesuffix("_price") for name in extra)
        raise click.UsageError(f"{action} does not take {named}")
    with _opened(file, must_exist=True) as opened:
        desk = Desk(Venue(opened))
        arguments = {name: value for name, value in given.items() if value is not None}
        getattr(desk, action)(broker_order_id, **arguments)


if __name__ == "__main__":
    main(prog_name="python -m exec_broker_mock")
