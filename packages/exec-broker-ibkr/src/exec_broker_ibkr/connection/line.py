"""ONE connection to TWS: opened, asked, told orders, and lost with a reason.

Nothing outside `line` and the modules it is made of touches the client library's codec: `link` holds the socket,
`codec` spells and reads, `ears` makes records, `answers` keeps what is asked, `pacing` says who may write.

What TWS tells about orders goes to `hear` in the order of arrival, also while it answers a request. An order is
written in one piece, at its turn, or `ConnectionFailed` says that nothing of it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any, Final

from exec_core.errors import ConnectionFailed

from exec_broker_ibkr.connection import writing
from exec_broker_ibkr.connection.answers import FIRST_REQUEST_ID, Answers, Kind, NoAnswer, RequestRefused
from exec_broker_ibkr.connection.codec import HIGHEST_VERSION, LOWEST_VERSION, Decoder, Encoder
from exec_broker_ibkr.connection.ears import MESSAGES, NOTICES, Ears
from exec_broker_ibkr.connection.link import Link
from exec_broker_ibkr.connection.pacing import Pacer, Urgency
from exec_broker_ibkr.connection.sdk import Sdk, load
from exec_broker_ibkr.connection.troubles import (
    Stage,
    closed_early,
    id_in_use,
    ids_used_up,
    no_connection,
    no_time,
    not_tws,
    too_old,
)
from exec_broker_ibkr.messages import (
    NO_REQUEST,
    AccountValueTold,
    CompletedShown,
    DetailsTold,
    ErrorTold,
    ExecutionTold,
    OrderShown,
    PositionTold,
    PriceStep,
    Told,
    TwsContract,
    TwsOrder,
)

logger = logging.getLogger(__name__)

__all__ = ["Line", "NoAnswer", "RequestRefused"]

#: The code of "client id already in use", which TWS says before it hangs up.
CLIENT_ID_IN_USE: Final = 326
#: Order ids stay below those of requests, with room for a session's orders.
LAST_ORDER_ID: Final = FIRST_REQUEST_ID - 1_000_000
#: The code for a contract that TWS does not know.
NO_DEFINITION: Final = 200


class Line:
    """One connection, opened once. What asks or sends raises `ConnectionFailed` where it is not open."""

    def __init__(
        self,
        host: str,
        port: int,
        client_id: int,
        *,
        connect_seconds: float = 15.0,
        answer_seconds: float = 10.0,
        time_zone: tzinfo | None = None,
    ) -> None:
        """`time_zone` is that of TWS's login, for times without one; None: this host's."""
        self._host = host
        self._port = port
        self._client_id = client_id
        self._connect_seconds = connect_seconds
        self._answer_seconds = answer_seconds
        self._time_zone = time_zone
        self._stage = Stage.CONNECTING
        self._over: str | None = "the line was not opened"
        self._next_order_id = 0
        self._has_order_id = False
        self._accounts: tuple[str, ...] = ()
        self._last_error = ""
        self._answers = Answers()
        self._locks = {kind: asyncio.Lock() for kind in Kind}
        self._decoder: Decoder | None = None
        self._is_used = False

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts of the login."""
        return self._accounts

    @property
    def is_open(self) -> bool:
        """Whether something can be asked and sent."""
        return self._over is None

    # Opening and closing

    async def open(self, hear: Callable[[Told], None], lost: Callable[[str], None]) -> None:
        """Connect, and be ready: TWS has said the next order id and the accounts.

        `hear` gets what TWS tells about orders and about its own line, from the first message on; `lost` is called
        once, when an open line ends other than by `close`. Both are called in the loop's thread and must not block.

        :raises ConnectionFailed: with one sentence that says what is wrong, and where. Nothing is left behind then,
            nor where this is cancelled.
        :raises ConfigurationError: there is no client library, or there are two.
        """
        if self._is_used:
            raise RuntimeError("a line is opened once; make another")
        self._is_used = True
        self._sdk: Sdk = await load()
        loop = asyncio.get_running_loop()
        self._lost = lost
        self._hear = hear
        self._pacer = Pacer()
        self._ready: asyncio.Future[None] = loop.create_future()
        link = self._link = Link(self._on_message, self._on_end, self._on_hold)
        try:
            async with asyncio.timeout(self._connect_seconds):
                await loop.create_connection(lambda: link, self._host, self._port)
                self._stage = Stage.GREETING
                link.greet(LOWEST_VERSION, HIGHEST_VERSION)
                await self._ready
            if not link.is_open:  # it ended while this was about to run again
                raise closed_early(self._stage, self._host, self._port, self._last_error or "the connection broke")
            if self._next_order_id > LAST_ORDER_ID:
                raise ids_used_up(self._host, self._port, self._client_id)
            self._over = None
        except TimeoutError:
            raise no_time(self._stage, self._host, self._port, self._connect_seconds) from None
        except OSError as error:
            raise no_connection(self._host, self._port, error) from error
        finally:
            if self._over is not None:
                self._stage = Stage.OVER
                if not self._ready.cancel() and not self._ready.cancelled():
                    self._ready.exception()  # looked at, even where a time-out came first
                self._pacer.end("the line could not be opened")
                link.abort("the line could not be opened")
                await link.close()
        self._stage = Stage.OPEN

    async def close(self) -> None:
        """End it; whoever waits for an answer or a turn gets `ConnectionFailed`. Twice is fine."""
        opened = self._stage is not Stage.CONNECTING
        self._finish("the line was closed")
        if opened:
            await self._link.close()

    def _finish(self, reason: str) -> None:
        if self._stage in (Stage.CONNECTING, Stage.OVER):
            return
        self._stage = Stage.OVER
        self._over = reason
        self._pacer.end(reason)
        self._answers.fail_all(reason)

    # What the link says

    def _on_message(self, fields: list[str]) -> None:
        if self._stage is Stage.GREETING:
            self._on_greeting(fields)
            return
        try:
            number = int(fields[0])
        except ValueError:
            logger.error("TWS sent a message of no known kind; it is lost")
            return
        if number in MESSAGES and self._decoder is not None:
            self._decoder.read(number, fields)

    def _on_greeting(self, fields: list[str]) -> None:
        if len(fields) != 2 or not fields[0].isascii() or not fields[0].isdigit() or int(fields[0]) > HIGHEST_VERSION:
            self._fail(not_tws(self._host, self._port))
            return
        version = int(fields[0])
        if version < LOWEST_VERSION:
            self._fail(too_old(self._host, self._port, version))
            return
        self._stage = Stage.STARTING
        ears = Ears(self._on_told, self._answers, self._on_order_id, self._on_next_id, self._on_accounts)
        self._encoder = Encoder(self._sdk, version, self._client_id)
        self._decoder = Decoder(self._sdk, version, ears, self._time_zone, self._on_unreadable)
        self._link.greeted()
        self._pacer.take()
        self._link.send(self._encoder.spell("startApi"))

    def _on_told(self, told: Told) -> None:
        if isinstance(told, ErrorTold) and told.request_id == NO_REQUEST and self._stage is Stage.STARTING:
            if told.code == CLIENT_ID_IN_USE:
                self._fail(id_in_use(self._host, self._port, self._client_id))
            if told.code not in NOTICES:
                self._last_error = f"{told.text} ({told.code})"
        self._hear(told)

    def _on_order_id(self, client_id: int, order_id: int) -> None:
        if client_id == self._client_id:
            self._next_order_id = max(self._next_order_id, order_id + 1)

    def _on_next_id(self, order_id: int) -> None:
        self._next_order_id = max(self._next_order_id, order_id)
        self._has_order_id = True
        self._on_ready()

    def _on_accounts(self, accounts: tuple[str, ...]) -> None:
        self._accounts = accounts
        self._on_ready()

    def _on_ready(self) -> None:
        if self._has_order_id and self._accounts and not self._ready.done():
            self._ready.set_result(None)

    def _on_unreadable(self, number: int, error: str) -> None:
        name, kind = MESSAGES[number]
        logger.error("A message of TWS (%s) cannot be read and is lost: %s", name, error)
        if kind is not None:
            self._answers.spoil(kind, error)

    def _on_hold(self, is_held: bool) -> None:
        if is_held:
            self._pacer.hold()
        else:
            self._pacer.release()

    def _on_end(self, reason: str) -> None:
        if self._stage is Stage.OPEN:
            self._finish(reason)
            self._lost(reason)
        elif self._link.is_garbled:
            self._fail(not_tws(self._host, self._port))
        else:
            self._fail(closed_early(self._stage, self._host, self._port, self._last_error or reason))

    def _fail(self, error: ConnectionFailed) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
        self._link.abort(str(error))

    # Orders

    def next_order_id(self) -> int:
        """An order id that this client has not used, as far as TWS and this line know. Each call gives another."""
        self._check_open()
        taken = self._next_order_id
        self._next_order_id += 1
        return taken

    async def place(
        self, order_id: int, contract: TwsContract, order: TwsOrder, may_send: Callable[[], None] = lambda: None
    ) -> None:
        """Send an order, or a changed one under the same id, at its turn.

        `may_send` is called right before the bytes are handed over, and raises to forbid it. When this returns they
        were handed over, and nothing is known of them yet.

        :raises ConnectionFailed: nothing was handed over, and nothing will be.
        :raises ValueError: there is no way to spell this; nothing was handed over.
        """
        self._check_open()
        made = (writing.contract(self._sdk.module, contract), writing.order(self._sdk.module, order))
        payload = self._encoder.spell("placeOrder", order_id, *made)
        await self._pacer.turn(Urgency.ORDER)
        # From here to the bytes nothing is awaited, so nothing can come between.
        self._check_open()
        may_send()
        self._link.send(payload)

    async def cancel(self, order_id: int) -> None:
        """Ask for an order of this client to be cancelled, before everything else that waits.

        :raises ConnectionFailed: nothing was handed over.
        """
        self._check_open()
        payload = self._encoder.spell("cancelOrder", order_id)
        await self._pacer.turn(Urgency.CANCEL)
        self._check_open()
        self._link.send(payload)

    # Questions. All of them raise `NoAnswer`, and `RequestRefused` where TWS says no.

    async def open_orders(self) -> tuple[OrderShown, ...]:
        """The open orders of this client, and what changed while they were told."""
        return await self._ask(Kind.OPEN_ORDERS, "reqOpenOrders")

    async def all_open_orders(self) -> tuple[OrderShown, ...]:
        """The open orders of all clients, and those entered by hand."""
        return await self._ask(Kind.OPEN_ORDERS, "reqAllOpenOrders")

    async def completed_orders(self) -> tuple[CompletedShown, ...]:
        """Today's orders that have ended, also those entered by hand."""
        return await self._ask(Kind.COMPLETED_ORDERS, "reqCompletedOrders", False)

    async def executions(self) -> tuple[ExecutionTold, ...]:
        """Today's executions of all clients that this one may see; their commissions are heard behind each."""
        return await self._ask(Kind.EXECUTIONS, "reqExecutions", self._id, self._sdk.module.ExecutionFilter())

    async def contract_details(self, contract: TwsContract) -> tuple[DetailsTold, ...]:
        """The contracts that fit, one at least.

        :raises RequestRefused: with code 200 where none does.
        """
        made = writing.contract(self._sdk.module, contract) if self.is_open else None
        found: tuple[DetailsTold, ...] = await self._ask(Kind.CONTRACT_DETAILS, "reqContractDetails", self._id, made)
        if not found:
            raise RequestRefused(NO_DEFINITION, "TWS knows no contract that fits")
        return found

    async def market_rule(self, rule_id: int) -> tuple[PriceStep, ...]:
        """The price steps of a market rule."""
        return await self._ask(Kind.MARKET_RULE, "reqMarketRule", rule_id, key=rule_id)

    async def positions(self) -> tuple[PositionTold, ...]:
        """What all accounts of the login hold."""
        return await self._ask(Kind.POSITIONS, "reqPositions", after=("cancelPositions",))

    async def account_summary(self, tags: tuple[str, ...]) -> tuple[AccountValueTold, ...]:
        """Figures of all accounts of the login, those that TWS has."""
        asked = ("reqAccountSummary", self._id, "All", ",".join(tags))
        return await self._ask(Kind.ACCOUNT_SUMMARY, *asked, after=("cancelAccountSummary", self._id))

    async def current_time(self) -> datetime:
        """TWS's time, to the second; the cheapest sign of life."""
        (now,) = await self._ask(Kind.CURRENT_TIME, "reqCurrentTime")
        return now  # type: ignore[no-any-return]

    #: Stands for the request's id among the arguments of `_ask`.
    _id: Final = object()

    async def _ask(
        self, kind: Kind, request: str, *arguments: object, key: int | None = None, after: tuple[object, ...] = ()
    ) -> tuple[Any, ...]:
        """Ask, one of a kind at a time, and wait for the whole answer; `after` ends a subscription."""
        async with self._locks[kind]:
            self._check_open()
            await self._answers.settle(kind)
            with self._answers.asking(kind, self._answer_seconds, key) as pending:
                try:
                    async with asyncio.timeout(self._answer_seconds):
                        await self._pacer.turn(Urgency.REQUEST)
                        self._check_open()
                        self._send(request, arguments, pending.key)
                        pending.is_sent = True
                        return await pending.answer
                except TimeoutError:
                    raise NoAnswer(
                        f"TWS did not answer about the {kind.value} in {Decimal(str(self._answer_seconds))} s"
                    ) from None
                finally:
                    if after and pending.is_sent and self._link.is_open:
                        self._pacer.take()
                        self._send(str(after[0]), after[1:], pending.key)

    def _send(self, request: str, arguments: tuple[object, ...], key: int) -> None:
        taken = (key if argument is self._id else argument for argument in arguments)
        self._link.send(self._encoder.spell(request, *taken))

    def _check_open(self) -> None:
        if self._over is not None:
            raise ConnectionFailed(self._over, broker="ibkr")
        if not self._link.is_open:  # and its end will be told in a moment
            raise ConnectionFailed("the connection to TWS is closing", broker="ibkr")
