"""The command line: run a simulated Kite, tell a running one something, or look into a book."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

import click

from exec_broker_zerodha.simulator.options import Options

_USUAL: Final = Options()
_HOST: Final = "127.0.0.1"


def _decimal(value: str) -> Decimal:
    try:
        found = Decimal(value)
    except InvalidOperation:
        raise click.BadParameter(f"{value} is not a number") from None
    if not found.is_finite() or found <= 0:
        raise click.BadParameter(f"{value} is not a number above zero")
    return found


def _price(value: str) -> tuple[str, Decimal]:
    symbol, sign, price = value.rpartition("=")
    if not sign or not symbol:
        raise click.BadParameter(f"{value} is not SYMBOL=PRICE")
    return symbol, _decimal(price)


def _time_of_day(value: str) -> time:
    try:
        return time.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value} is not HH:MM") from None


@click.group(invoke_without_command=True)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Where to listen; 0: anywhere free.")
@click.option("--desk-port", type=click.IntRange(0, 65535), default=0, help="Where the desk listens.")
@click.option("--book", "path", type=click.Path(path_type=Path, dir_okay=False), help="A file; else in memory.")
@click.option("--user-id", default=_USUAL.user_id, show_default=True)
@click.option("--api-key", default=_USUAL.api_key, show_default=True)
@click.option("--api-secret", default=_USUAL.api_secret, show_default=True)
@click.option("--access-token", default=_USUAL.access_token, show_default=True)
@click.option("--rest", "is_resting", is_flag=True, help="Nothing trades by itself.")
@click.option("--fill-after", type=click.FloatRange(0), default=0.0, help="Seconds before each part is filled.")
@click.option("--partial-fills", type=click.IntRange(1), default=1, help="In how many parts.")
@click.option("--price", "prices", type=_price, multiple=True, metavar="SYMBOL=PRICE", help="May be repeated.")
@click.option("--cancel-after", type=click.FloatRange(0), default=0.0, help="Seconds for which a cancel is pending.")
@click.option("--order-lag", type=click.FloatRange(0), default=0.0, help="Seconds before an order is in the list.")
@click.option("--trade-lag", type=click.FloatRange(0), default=0.0, help="Seconds before a trade is in the list.")
@click.option("--cash", type=_decimal, default=_USUAL.cash, show_default=True, metavar="RUPEES")
@click.option("--limits/--no-limits", "keeps_limits", default=True, help="Whether the rate limits hold.")
@click.option("--check-funds", "checks_funds", is_flag=True, help="Reject what the cash does not pay.")
@click.option("--check-holdings", "checks_holdings", is_flag=True, help="Reject deliveries of what is not held.")
@click.option("--day-begins", type=_time_of_day, metavar="HH:MM", help="When (IST) the book of yesterday is wiped.")
@click.pass_context
def main(context: click.Context, /, port: int, desk_port: int, path: Path | None, prices: Any, **chosen: Any) -> None:
    """Simulate Kite Connect on this machine, until it is told to end (SIGTERM, SIGINT)."""
    if context.invoked_subcommand is not None:
        return
    # Imported here: who tells a simulator something, or looks into a book, need not wait for a web server.
    from exec_broker_zerodha.simulator.schema import NotABook
    from exec_broker_zerodha.simulator.serving import serve

    try:
        serve(Options(prices=dict(prices), **chosen), path, port, desk_port)
    except (NotABook, OSError) as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.argument("port", type=click.IntRange(1, 65535))
@click.argument("words", nargs=-1, required=True, metavar="COMMAND...")
def tell(port: int, words: tuple[str, ...]) -> None:
    """Tell the desk on PORT something, and print what it answers; COMMAND `help` lists what it knows."""
    asked = urllib.request.Request(
        f"http://{_HOST}:{port}/", json.dumps(list(words)).encode(), {"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(asked, timeout=60) as answered:
            click.echo(json.dumps(json.load(answered), indent=2))
    except urllib.error.HTTPError as error:
        raise click.ClickException(error.read().decode()) from error
    except OSError as error:
        raise click.ClickException(f"no desk answers on port {port}: {error}") from error


@main.command("book")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object: orders and fills.")
def book_command(file: Path, as_json: bool) -> None:
    """Print every order and trade in the book FILE, also while a simulator uses it."""
    from exec_broker_zerodha.simulator.book import Book
    from exec_broker_zerodha.simulator.printing import contents, text
    from exec_broker_zerodha.simulator.schema import NotABook

    if not file.exists():
        raise click.ClickException(f"there is no book {file}")
    try:
        opened = Book(file, is_read_only=True)
    except NotABook as error:
        raise click.ClickException(str(error)) from error
    try:
        data = contents(opened)
    finally:
        opened.close()
    click.echo(json.dumps(data, indent=2) if as_json else text(data))


if __name__ == "__main__":
    main(prog_name="python -m exec_broker_zerodha.simulator")
