"""The simulated Kite: the HTTP interface and the order websocket over loopback, in the running event loop.

One request goes through: counting, rate limits, the access token, the address, trouble that was asked for, and the
endpoint; an order is committed to the book before it is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web
from exec_core.clock import Clock, utc_now

from exec_broker_zerodha.simulator import endpoints
from exec_broker_zerodha.simulator.answers import refused, spoilt, success
from exec_broker_zerodha.simulator.book import Book
from exec_broker_zerodha.simulator.counter import Counter
from exec_broker_zerodha.simulator.exchange import Exchange
from exec_broker_zerodha.simulator.faults import ORDER_REQUESTS, Faults
from exec_broker_zerodha.simulator.limits import Limits
from exec_broker_zerodha.simulator.listening import HOST, Door
from exec_broker_zerodha.simulator.market import Market
from exec_broker_zerodha.simulator.options import Options
from exec_broker_zerodha.simulator.portfolio import Portfolio
from exec_broker_zerodha.simulator.refusals import Refusal, too_many
from exec_broker_zerodha.simulator.rows import OrderRow
from exec_broker_zerodha.simulator.sessions import Sessions
from exec_broker_zerodha.simulator.showing import order_row, order_update, trade_row, unsorted
from exec_broker_zerodha.simulator.times import IST, micros
from exec_broker_zerodha.simulator.updates import Updates

_NEVER: Final = 1 << 62
_MICROS: Final = 1_000_000


class Simulator:
    """Entered, it listens; left, it lets go. What people do there is done through `desk.Desk`."""

    def __init__(
        self, options: Options | None = None, *, path: Path | None = None, port: int = 0, clock: Clock = utc_now
    ) -> None:
        """:raises NotABook: the file is something else, or cannot be opened."""
        self.options = options or Options()
        self.book = Book(path, clock)
        self.exchange = Exchange(self.book, self.options.user_id, self._heard)
        self.market = Market(self.exchange, self.options)
        self.portfolio = Portfolio(self.book, self.market, self.options.cash)
        self.counter = Counter(self.exchange, self.market, self.portfolio, self.options)
        self.sessions = Sessions(self.options)
        self.faults = Faults()
        self.limits = Limits()
        self.updates = Updates()
        self.keeps_limits = self.options.keeps_limits
        self.reverses_lists = False
        self.order_lag = self.options.order_lag
        self.trade_lag = self.options.trade_lag
        self.orders_hidden_since: int | None = None
        self.trades_hidden_since: int | None = None
        self.door = Door(self._application(), port)
        self._timer: asyncio.TimerHandle | None = None
        self._closing = asyncio.Event()
        with self.book.transaction():
            for symbol, price in self.options.prices.items():
                self.book.set_price(symbol, price)
            if not self.book.state("day_began_at"):
                self.book.set_state("day_began_at", self.book.now)

    async def __aenter__(self) -> Self:
        await self.door.open()
        self.plan()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._closing.set()
        if self._timer is not None:
            self._timer.cancel()
        await self.door.close()
        self.book.close()

    @property
    def api_root(self) -> str:
        """Where the interface is."""
        return f"http://{HOST}:{self.door.port}"

    @property
    def ws_root(self) -> str:
        """Where the websocket is."""
        return f"ws://{HOST}:{self.door.port}"

    # What the lists show

    def listed_orders(self) -> list[dict[str, Any]]:
        """GET /orders: what came in today, but the newest appear late, or not yet, if that was asked for."""
        until = self._until(self.order_lag, self.orders_hidden_since)
        rows = [order_row(one, self.options.user_id) for one in self.book.orders_of_day() if one.accepted_at <= until]
        return unsorted(rows, is_reversed=self.reverses_lists)

    def listed_trades(self, order: OrderRow | None = None) -> list[dict[str, Any]]:
        """GET /trades, or those of one order: today's; the newest appear late, or not yet, if asked for."""
        until, today = self._until(self.trade_lag, self.trades_hidden_since), self.book.day
        if order is not None:
            orders, trades = {order.number: order}, self.book.trades_of(order.number)
        else:
            orders = {one.number: one for one in self.book.orders_of_day()}
            trades = self.book.trades_of_day()
        shown = [one for one in trades if one.day == today and one.traded_at <= until]
        rows = [trade_row(one, orders.get(one.order_number) or self.book.order(one.order_number)) for one in shown]
        return unsorted(rows, is_reversed=self.reverses_lists)

    def _until(self, lag: float, hidden_since: int | None) -> int:
        """The time of the newest that is shown."""
        until = _NEVER if not lag else self.book.now - round(lag * _MICROS)
        return until if hidden_since is None else min(until, hidden_since)

    # Time

    def plan(self) -> None:
        """Wake up when something is due next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closing.is_set():
            return
        due = [moment for moment in (self.book.next_due, self._day_end()) if moment is not None]
        if due:
            seconds = max(min(due) - self.book.now, 0) / _MICROS
            self._timer = asyncio.get_running_loop().call_later(seconds, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self.advance()
        self.plan()

    def advance(self) -> None:
        """Make happen what is due."""
        day_end = self._day_end()
        if day_end is not None and day_end <= self.book.now:
            self.begin_day(0)
        self.market.advance()

    def begin_day(self, seconds_ahead: int) -> None:
        """A new trading day: what is open ends, and the lists are empty. The clock goes ahead by so many seconds."""
        with self.book.transaction():
            for order in self.book.open_orders():
                self.exchange.expire(order)
        self.book.begin_day(seconds_ahead)

    def _day_end(self) -> int | None:
        """When this trading day is over, in microseconds; None: when the desk says so."""
        begins = self.options.day_begins
        if begins is None:
            return None
        began = datetime.fromtimestamp(self.book.state("day_began_at") / _MICROS, IST)
        next_begin = began.replace(hour=begins.hour, minute=begins.minute, second=0, microsecond=0)
        return micros(next_begin if next_begin > began else next_begin + timedelta(days=1))

    # Requests

    def _application(self) -> web.Application:
        application = web.Application()
        application.on_response_prepare.append(self._dated)
        for one in endpoints.ALL:
            application.router.add_route(one.method, one.path, self._handler(one))
        application.router.add_get("/", self._websocket)
        return application

    def _handler(self, endpoint: endpoints.Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.limits.requests[endpoint.name] += 1
            self.advance()
            try:
                self._admit(endpoint, request)
            except Refusal as refusal:
                return refused(refusal)
            fault = self.faults.take(endpoint.name)
            if fault is not None and not fault.is_after:
                return await spoilt(request, success([]), fault, self._closing)
            answer = await self._answer(endpoint, request)
            self.plan()
            return answer if fault is None else await spoilt(request, answer, fault, self._closing)

        return handle

    def _admit(self, endpoint: endpoints.Endpoint, request: web.Request) -> None:
        if self.keeps_limits and not self.limits.allows(endpoint.name, self.book.now):
            raise too_many()
        if not endpoint.is_open:
            self.sessions.check(request.headers.get("Authorization", ""))
        if endpoint.name in ORDER_REQUESTS:
            self.sessions.check_address()

    async def _answer(self, endpoint: endpoints.Endpoint, request: web.Request) -> web.Response:
        try:
            data = await endpoint.answer(self, request)
        except Refusal as refusal:
            return refused(refusal)
        return data if isinstance(data, web.Response) else success(data)

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        try:
            self.sessions.check(f"token {query.get('api_key', '')}:{query.get('access_token', '')}")
        except Refusal as refusal:
            return refused(refusal)
        return await self.updates.serve(request)

    async def _dated(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Date"] = format_datetime(self.book.time, usegmt=True)

    def _heard(self, order: OrderRow) -> None:
        self.updates.tell(order_update(order, self.options.user_id, self.options.api_secret))
