"""The desk behind a port of this machine: one JSON object per line, ``{"do": "fill", "perm_id": 1804000001}``.

Each is answered by one line: ``{"done": ...}``, or ``{"failed": "why"}``. The commands are the public methods of
`Desk`, with its arguments by name; figures are numbers or text; a contract is a symbol, or an object with the fields of
`TwsContract`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Self, get_type_hints

from exec_broker_ibkr.messages import TwsContract
from exec_broker_ibkr.simulator.book import Book
from exec_broker_ibkr.simulator.desk import Desk, ImpossibleAction
from exec_broker_ibkr.simulator.listing import Listing
from exec_broker_ibkr.simulator.printing import execution_data, order_data
from exec_broker_ibkr.simulator.rows import ExecutionRow, OrderRow
from exec_broker_ibkr.simulator.server import HOST, Simulator

#: What can be done, by name.
COMMANDS: Final[Mapping[str, Any]] = {
    name: method for name, method in vars(Desk).items() if not name.startswith("_") and inspect.isfunction(method)
}
_LINE_LIMIT: Final = 65_536


def usage() -> str:
    """Every command with its arguments and what it does, for people."""
    lines = []
    for name, method in sorted(COMMANDS.items()):
        parameters = list(inspect.signature(method).parameters.values())[1:]
        named = " ".join(one.name if one.default is one.empty else f"[{one.name}={one.default}]" for one in parameters)
        lines.append(f"{name} {named}".rstrip() + f"\n    {inspect.getdoc(method)}")
    return "\n".join(lines)


async def perform(desk: Desk, listing: Listing, book: Book, asked: Mapping[str, Any]) -> Any:
    """Do one thing; what came of it, as JSON can say it.

    :raises ImpossibleAction: there is no such command, its arguments are wrong, or it cannot be done.
    """
    name = asked.get("do")
    method = COMMANDS.get(name) if isinstance(name, str) else None
    if method is None:
        raise ImpossibleAction(f"there is no command {name!r}; there are {', '.join(sorted(COMMANDS))}")
    given = {key: value for key, value in asked.items() if key != "do"}
    hints = get_type_hints(method)
    unknown = sorted(set(given) - set(hints))
    if unknown:
        raise ImpossibleAction(f"{name} takes no {', '.join(unknown)}")
    arguments = {key: _read(key, value, hints[key], listing) for key, value in given.items()}
    try:
        bound = inspect.signature(method).bind(desk, **arguments)
    except TypeError as error:
        raise ImpossibleAction(f"{name}: {error}") from None
    done = method(*bound.args, **bound.kwargs)
    if inspect.isawaitable(done):
        done = await done
    return _written(done, book)


def _read(name: str, value: Any, hint: Any, listing: Listing) -> Any:
    """A value from JSON or the command line as the desk takes it."""
    kinds = str(hint)
    if hint is TwsContract:
        return _contract(value, listing)
    try:
        if "Decimal" in kinds:
            return None if value is None else Decimal(str(value))
        if hint is bool:
            return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]
        if "int" in kinds:
            return None if value is None else int(value)
    except (InvalidOperation, ValueError, KeyError):
        raise ImpossibleAction(f"{name}: {value!r} is not understood") from None
    return str(value)


def _contract(value: Any, listing: Listing) -> TwsContract:
    if isinstance(value, Mapping):
        known: dict[str, Any] = dict(value)
        try:
            for figure in {"strike", "multiplier"} & set(known):
                known[figure] = Decimal(str(known[figure]))
            return TwsContract(**known)
        except (TypeError, InvalidOperation) as error:
            raise ImpossibleAction(f"contract: {error}") from None
    listed = listing.symbol_named(str(value))
    if listed is None:
        raise ImpossibleAction(f"{value} is not listed here")
    return listed.contract


def _written(done: object, book: Book) -> Any:
    match done:
        case OrderRow():
            return order_data(done)
        case ExecutionRow():
            return execution_data(book, done)
        case list():
            return [_written(one, book) for one in done]
        case _:
            return None


class DeskPort:
    """The desk of a simulator, listening. Entered, it has a port."""

    def __init__(self, simulator: Simulator, port: int = 0) -> None:
        self._simulator = simulator
        self._desk = Desk(simulator)
        self._wanted = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, HOST, self._wanted, limit=_LINE_LIMIT)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._writers):
            writer.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._server is None:
            raise RuntimeError("the desk is not open")
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            return  # gone, or no line of a length that anybody would write
        finally:
            self._writers.discard(writer)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(line, parse_float=Decimal)
            if not isinstance(asked, dict):
                return {"failed": "a command is a JSON object"}
            listing = self._simulator.exchange.market.listing
            return {"done": await perform(self._desk, listing, self._simulator.book, asked)}
        except json.JSONDecodeError as error:
            return {"failed": f"a command is a JSON object: {error}"}
        except ImpossibleAction as error:
            return {"failed": str(error)}
