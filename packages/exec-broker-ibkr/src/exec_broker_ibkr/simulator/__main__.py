"""The simulated TWS on the command line: run it, tell a running one what to do, look at its book."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click
from exec_core.errors import ConfigurationError

from exec_broker_ibkr.simulator.book import Book
from exec_broker_ibkr.simulator.desk_port import DeskPort, usage
from exec_broker_ibkr.simulator.listing import LISTING
from exec_broker_ibkr.simulator.market import Market
from exec_broker_ibkr.simulator.printing import contents, text
from exec_broker_ibkr.simulator.server import HOST, Simulator
from exec_broker_ibkr.simulator.terms import Terms

_DESK_SECONDS = 60.0


class Number(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.2 on
    """An exact, finite number."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """:raises click.BadParameter: it is none."""
        try:
            found = Decimal(value)
        except InvalidOperation:
            self.fail(f"{value} is not a number", param, ctx)
        if not found.is_finite():
            self.fail(f"{value} is not a finite number", param, ctx)
        return found


class Invoker(click.Group):
    """``run`` unless another command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command in where it is left out."""
        if not args or (args[0] not in self.commands and args[0] != "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=Invoker)
def main() -> None:
    """A TWS that is none: it speaks the socket protocol of Interactive Brokers' TWS, and trades with nobody.

    Without a command: run.
    """


@main.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Where clients connect; 0: a free port.")
@click.option("--desk-port", type=click.IntRange(0, 65535), default=0, help="Where the desk listens; 0: a free port.")
@click.option("--account", "accounts", multiple=True, default=("DU1234567",), show_default=True, help="One or more.")
@click.option("--book", "path", type=click.Path(path_type=Path, dir_okay=False), help="Keep the book in this file.")
@click.option("--cash", type=Number(), default=Decimal(1_000_000), show_default=True, help="What accounts begin with.")
@click.option("--rest", "rests", is_flag=True, help="Nothing trades by itself, market orders neither.")
@click.option("--fill-after", type=click.FloatRange(0), default=0.0, help="Seconds before each execution.")
@click.option("--partial-fills", type=click.IntRange(1), default=1, show_default=True, help="Executions per order.")
@click.option("--price", "prices", multiple=True, metavar="SYMBOL=PRICE", help="What it costs; else a made-up price.")
@click.option("--read-only", is_flag=True, help="As TWS's setting Read-Only API.")
def run(
    port: int,
    desk_port: int,
    accounts: tuple[str, ...],
    path: Path | None,
    cash: Decimal,
    rests: bool,
    fill_after: float,
    partial_fills: int,
    prices: tuple[str, ...],
    read_only: bool,
) -> None:
    """Listen until interrupted. Prints where clients connect, then where the desk is."""
    market = Market(LISTING, rests, fill_after, partial_fills)
    for spelled in prices:
        symbol, _, price = spelled.partition("=")
        listed = LISTING.symbol_named(symbol)
        if listed is None:
            raise click.UsageError(f"--price {spelled}: {symbol} is not listed here")
        market.prices[listed.contract.con_id] = Number().convert(price, None, None)
    terms = Terms(accounts, cash, read_only=read_only)
    try:
        asyncio.run(_run(path, port, desk_port, terms, market))
    except (ConfigurationError, OSError) as error:
        raise click.ClickException(str(error)) from error


async def _run(path: Path | None, port: int, desk_port: int, terms: Terms, market: Market) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    async with (
        Simulator(path=path, port=port, terms=terms, market=market) as simulator,
        DeskPort(simulator, desk_port) as desk,
    ):
        click.echo(f"TWS simulator: listening on {HOST}:{simulator.port}")
        click.echo(f"TWS simulator: desk on {HOST}:{desk.port}")
        await ended.wait()


@main.command(epilog="Without a command: list them.")
@click.argument("port", type=click.IntRange(1, 65535))
@click.argument("command", required=False)
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...")
def tell(port: int, command: str | None, arguments: tuple[str, ...]) -> None:
    """Have something done at the running simulator whose desk is at PORT, and print what came of it as JSON.

    COMMAND is a name, followed by arguments NAME=VALUE, or a whole JSON object.
    """
    if command is None:
        click.echo(usage())
        return
    asked = _asked(command, arguments)
    try:
        with socket.create_connection((HOST, port), _DESK_SECONDS) as line, line.makefile("rwb") as stream:
            stream.write(json.dumps(asked).encode() + b"\n")
            stream.flush()
            answer = json.loads(stream.readline() or b'{"failed": "the simulator hung up"}')
    except OSError as error:
        raise click.ClickException(f"there is no desk at {HOST}:{port}: {error}") from error
    if "failed" in answer:
        raise click.ClickException(answer["failed"])
    click.echo(json.dumps(answer["done"], indent=2))


def _asked(command: str, arguments: tuple[str, ...]) -> dict[str, Any]:
    if command.startswith("{"):
        try:
            found: dict[str, Any] = json.loads(command)
        except json.JSONDecodeError as error:
            raise click.UsageError(f"that is no JSON object: {error}") from error
        return found
    asked: dict[str, Any] = {"do": command}
    for argument in arguments:
        name, mark, value = argument.partition("=")
        if not mark:
            raise click.UsageError(f"{argument}: arguments are written NAME=VALUE")
        asked[name] = value
    return asked


@main.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="One JSON object: orders and executions.")
def book(file: Path, as_json: bool) -> None:
    """Print every order and execution in a book, also while a simulator uses it."""
    if not file.exists():
        raise click.ClickException(f"there is no book {file}")
    try:
        opened = Book(file)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    try:
        data = contents(opened)
    finally:
        opened.close()
    click.echo(json.dumps(data, indent=2) if as_json else text(data))


if __name__ == "__main__":
    main(prog_name="python -m exec_broker_ibkr.simulator")
