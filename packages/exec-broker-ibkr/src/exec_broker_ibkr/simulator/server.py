"""The simulated TWS: listens, keeps one connection per client id, and brings clients and venue together.

What people and tests do to it is in `desk`; what it trades, in `exchange`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from exec_core.clock import Clock, utc_now

from exec_broker_ibkr.messages import NO_REQUEST, ErrorTold, PositionTold, Told
from exec_broker_ibkr.simulator import outbound, requests
from exec_broker_ibkr.simulator.answers import Answers, Message
from exec_broker_ibkr.simulator.book import Book
from exec_broker_ibkr.simulator.connection import Connection
from exec_broker_ibkr.simulator.exchange import Exchange
from exec_broker_ibkr.simulator.faults import Answers as How
from exec_broker_ibkr.simulator.faults import Faults, NextOrder
from exec_broker_ibkr.simulator.listing import LISTING
from exec_broker_ibkr.simulator.market import Market
from exec_broker_ibkr.simulator.terms import Terms

logger = logging.getLogger(__name__)

HOST: Final = "127.0.0.1"

CUT_OFF: Final = (1100, "Connectivity between IB and Trader Workstation has been lost.")
BACK_WITH_LOSS: Final = (1101, "Connectivity between IB and Trader Workstation has been restored - data lost.")
BACK: Final = (1102, "Connectivity between IB and Trader Workstation has been restored - data maintained.")
_FARMS: Final = (
    (2104, "Market data farm connection is OK:usfarm"),
    (2106, "HMDS data farm connection is OK:ushmds"),
    (2158, "Sec-def data farm connection is OK:secdefnj"),
)
_IN_USE: Final = "Unable to connect as the client id is already in use. Retry with a unique client id."


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a client sent while TWS had no line to IB."""

    client_id: int
    request: requests.PlaceOrder | requests.CancelOrder


class Simulator:
    """One TWS with its venue. Entered, it listens; left, it ends, and a book in a file stays.

    With `rests` nothing trades by itself.
    """

    def __init__(
        self,
        *,
        path: Path | None = None,
        port: int = 0,
        terms: Terms | None = None,
        market: Market | None = None,
        rests: bool = False,
        clock: Clock = utc_now,
    ) -> None:
        """:raises ConfigurationError: the file is no book of this kind."""
        self.faults = Faults()
        self.book = Book(path, clock)
        self.exchange = Exchange(self.book, terms or Terms(), market or Market(LISTING, rests=rests), self.faults)
        self.answers = Answers(self.exchange)
        self.not_understood = 0
        self._port = port
        self._held_port: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._clients: dict[int, Connection] = {}
        self._stale_ids: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._cut_off = False
        self._waiting: list[Waiting] = []
        self.exchange.hear = self._hear
        self.exchange.moved = self._moved
        self.exchange.later = self._later

    async def __aenter__(self) -> Self:
        self._held_port = _bound(self._port)
        self._port = self._held_port.getsockname()[1]
        await self.listen()
        self.exchange.examine_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.refuse_connections()
        self.cut_all()
        for timer in self._timers:
            timer.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._held_port is not None:
            self._held_port.close()
        self.book.close()

    @property
    def port(self) -> int:
        """Where clients connect."""
        return self._port

    @property
    def client_ids(self) -> tuple[int, ...]:
        """Who is connected now."""
        return tuple(self._clients)

    # Connections

    async def listen(self) -> None:
        """Let clients connect."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, sock=_bound(self._port))

    def refuse_connections(self) -> None:
        """Nobody can connect; who is connected stays. The port stays ours: connecting to it is refused."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        self._connections.add(connection)
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await connection.serve()

    def gone(self, connection: Connection) -> None:
        """A connection is over."""
        self._connections.discard(connection)
        client_id = connection.client_id
        if client_id is not None and self._clients.get(client_id) is connection:
            del self._clients[client_id]
            if self.faults.keeps_client_ids:
                self._stale_ids.add(client_id)

    def cut_all(self) -> None:
        """Break every line."""
        for connection in tuple(self._connections):
            self._cut(connection)

    def _cut(self, connection: Connection) -> None:
        # At once: what happens after this is told to nobody, and a client may come back before the loop has noticed.
        self.gone(connection)
        connection.cut()

    def free_client_ids(self) -> None:
        """TWS has noticed that dead clients are dead."""
        self._stale_ids.clear()

    def is_deaf(self) -> bool:
        """Whether bytes are taken and nothing comes of them."""
        return self.faults.is_half_open

    def restart(self) -> None:
        """TWS ends and starts: every line breaks, and orders that were not transmitted are gone."""
        self.cut_all()
        self.exchange.forget_dormant()
        self._waiting.clear()
        self.free_client_ids()

    # What clients say

    def heard(self, connection: Connection, request: requests.Request) -> None:
        """One request of one client."""
        if isinstance(request, requests.NotUnderstood):
            self.not_understood += 1
            return
        if isinstance(request, requests.StartApi):
            self._start(connection, request.client_id)
            return
        client_id = connection.client_id
        if client_id is None or type(request).__name__ in self.faults.hangs_requests:
            return
        if self.exchange.terms.read_only and (refused := self.answers.read_only(request)) is not None:
            connection.tell([refused])
            return
        match request:
            case requests.PlaceOrder():
                self._place(connection, client_id, request)
            case requests.CancelOrder():
                self._cancel(connection, client_id, request)
            case requests.GlobalCancel():
                self.exchange.cancel_all()
            case requests.Positions():
                connection.wants_positions = True
                connection.tell(self._answer(request, client_id))
            case requests.CancelPositions():
                connection.wants_positions = False
            case _:
                connection.tell(self._answer(request, client_id))

    def _start(self, connection: Connection, client_id: int) -> None:
        if client_id in self._clients or client_id in self._stale_ids:
            connection.tell([outbound.error(ErrorTold(NO_REQUEST, 326, _IN_USE))])
            connection.finish()
            return
        connection.client_id = client_id
        self._clients[client_id] = connection
        connection.tell(self.answers.greeting(client_id))
        notices = (CUT_OFF,) if self._cut_off else _FARMS
        connection.tell(outbound.error(ErrorTold(NO_REQUEST, *notice)) for notice in notices)

    def _place(self, connection: Connection, client_id: int, request: requests.PlaceOrder) -> None:
        line = self.faults.line_of_next()
        if line is not None:
            self._cut(connection)
        if line is NextOrder.LOST:
            return
        if self._cut_off:
            self._waiting.append(Waiting(client_id, request))
            return
        self.exchange.place(client_id, request)

    def _cancel(self, connection: Connection, client_id: int, request: requests.CancelOrder) -> None:
        if self.faults.loses_next_cancel:
            self.faults.loses_next_cancel = False
            self._cut(connection)
        if self._cut_off:
            self._waiting.append(Waiting(client_id, request))
            return
        self.exchange.cancel(client_id, request.order_id)

    def _answer(self, request: requests.Request, client_id: int) -> Iterable[Message]:
        special = None
        if self.faults.answers in (How.FAIL, How.SILENT):
            special = self.answers.failed(request, in_silence=self.faults.answers is How.SILENT)
        elif self.faults.answers is How.PART:
            special = self.answers.in_part(request)
        return self.answers.to(request, client_id) if special is None else special

    # What clients are told

    def _hear(self, client_id: int, told: Sequence[Told]) -> None:
        connection = self._clients.get(client_id)
        if connection is None or self.is_deaf():
            return
        messages = [self.answers.encoded(one) for one in told]
        if self.faults.tells_in_reverse:
            messages.reverse()
        if self.faults.tells_twice:
            messages = [message for message in messages for _ in range(2)]
        connection.tell(messages)

    def _moved(self, position: PositionTold) -> None:
        if not self.is_deaf():
            for connection in self._clients.values():
                if connection.wants_positions:
                    connection.tell([outbound.position(position)])

    def notify(self, code: int, text: str) -> None:
        """Tell every client something that is about no order."""
        if not self.is_deaf():
            for connection in self._clients.values():
                connection.tell([outbound.error(ErrorTold(NO_REQUEST, code, text))])

    # The line to IB

    def cut_off(self) -> None:
        """TWS loses its line to IB: what clients send waits, visible to nobody."""
        if not self._cut_off:
            self._cut_off = True
            self.notify(*CUT_OFF)

    def restore(self, *, data_lost: bool = False, orders_lost: bool = False) -> None:
        """TWS has its line to IB again; what was sent meanwhile gets there, or vanishes (Lean.IB#242)."""
        if not self._cut_off:
            return
        self._cut_off = False
        self.notify(*(BACK_WITH_LOSS if data_lost else BACK))
        waiting, self._waiting = self._waiting, []
        if orders_lost:
            return
        for one in waiting:
            if isinstance(one.request, requests.PlaceOrder):
                self.exchange.place(one.client_id, one.request)
            else:
                self.exchange.cancel(one.client_id, one.request.order_id)

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        def due() -> None:
            self._timers.discard(timer)
            act()

        timer = asyncio.get_running_loop().call_later(seconds, due)
        self._timers.add(timer)


def _bound(port: int) -> socket.socket:
    """A socket that holds a port of this machine. It does not listen: connecting to it is refused.

    Two of ours may hold one port, so that it stays ours while nobody listens.
    """
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((HOST, port))
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound
