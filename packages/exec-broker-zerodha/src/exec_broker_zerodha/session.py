"""One session with Kite for one account: whether orders can be sent, and what becomes of them, by looking.

Kite is asked; it tells nothing by itself that could be relied on. A session that cannot look says so through
`availability`, and goes on looking; after a few looks in vain its reports end, and its user makes another. A token that
is refused ends them at once, for only a person can get the next one: entering is refused then until there is one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

from exec_core.broker import Availability, AvailabilityState, BrokerConfig, Mode
from exec_core.clock import Clock
from exec_core.errors import AuthenticationFailed, ConfigurationError, ConnectionFailed
from exec_core.identifiers import ClientOrderId
from exec_core.instruments import InstrumentDetails
from exec_core.polling import BookPage, OrderBookPoller
from exec_core.reports import Report

from exec_broker_zerodha import replies, rows
from exec_broker_zerodha.book import Book
from exec_broker_zerodha.charges import Charger
from exec_broker_zerodha.client import Client
from exec_broker_zerodha.dump import Catalogue, Shelf
from exec_broker_zerodha.instruments import details_of_exchange
from exec_broker_zerodha.looking import Busy, Look, Looker, answer
from exec_broker_zerodha.replies import Verdict
from exec_broker_zerodha.rhythm import APART, Rhythm
from exec_broker_zerodha.settings import ZerodhaSettings
from exec_broker_zerodha.ticker import Ticker
from exec_broker_zerodha.tokens import TokenSource

logger = logging.getLogger(__name__)

NAME: Final = "zerodha"
#: Looks in a row that may fail before the reports end.
FAILURES: Final = 3
#: For so long an order without an answer keeps the looks fast: one was placed 8 s late, one was stuck for 90 s.
DOUBT_SECONDS: Final = 300.0


class Session:
    """Entered once."""

    def __init__(self, config: BrokerConfig, settings: ZerodhaSettings, clock: Clock) -> None:
        self._config = config
        self._settings = settings
        self._clock = clock
        self._tokens = TokenSource(settings.access_token, settings.token_file)
        self._availability = Availability(AvailabilityState.DISCONNECTED, clock(), "not connected yet")
        self._over: str | None = "not connected yet"
        self._is_used = False
        self._in_doubt: dict[ClientOrderId, float] = {}
        self._prefetching: asyncio.Task[None] | None = None
        self._rhythm = Rhythm(settings.poll_seconds)
        self._looked_at = float("-inf")
        self._poller = OrderBookPoller(self._page, self._pace, FAILURES)
        self.client = Client(settings, self._tokens)
        self.catalogue = Catalogue(
            Shelf(settings.data_dir, settings.root), self._list_of_instruments, self.client.run, clock
        )
        self.book = Book(self.catalogue.instrument, self._details)
        self._looker = Looker(self.client, self.book, clock, self._looked)
        self._charger = Charger(self.client, self.book, self.wake)
        self._ticker = Ticker(settings, self._tokens, self.wake) if settings.ws_root is not None else None

    # Opening and closing

    async def open(self) -> None:
        """Check whose token it is, and read today's books.

        :raises AuthenticationFailed: there is no token, or it is not valid (any more).
        :raises ConfigurationError: it is another user's, or the settings would trade real money as paper.
        :raises ConnectionFailed: Kite does not answer, or the session was used before.
        """
        if self._is_used:
            raise ConnectionFailed("a session with Kite is entered once", broker=NAME)
        self._is_used = True
        if self._config.mode is Mode.PAPER and self._settings.is_kite:
            raise ConfigurationError(
                f"account {self._config.account_id}: Kite has no paper accounts, every order there is real: set mode "
                "to live, or ZERODHA_API_ROOT to a simulator"
            )
        try:
            await self.client.open()
            await self._check_user()
            self._over = None
            await self._looker.look()
            if self._ticker is not None:
                self._ticker.start()
        except BaseException as error:
            self._fail(error)
            self._end(str(error) or type(error).__name__)
            self.client.close()
            raise
        self._is_now(AvailabilityState.READY, None)
        self._prefetching = asyncio.get_running_loop().create_task(
            self.catalogue.prefetch(), name="Kite's lists of instruments"
        )

    async def _check_user(self) -> None:
        reply = await self.client.profile()
        if reply.failure is not None:
            judged = replies.of_asking(reply.failure)
            if judged.verdict is Verdict.REFUSED:
                raise ConfigurationError(f"account {self._config.account_id}: Kite refuses the app: {judged.text}")
        profile = answer(reply, "whose token it is").value
        if not isinstance(profile, dict):
            raise ConnectionFailed("Kite does not tell whose token it is", broker=NAME)
        wanted, told = self._settings.user_id, str(profile.get("user_id") or "")
        if wanted is not None and told.upper() != wanted.strip().upper():
            raise ConfigurationError(
                f"account {self._config.account_id}: the access token belongs to Kite's user {told}, not to {wanted}"
            )

    async def close(self) -> None:
        """Leave; orders stay as they are, and requests that were begun end as they do. Twice does nothing."""
        self._end("the session was left")
        self._is_now(AvailabilityState.DISCONNECTED, "the session was left")
        self.client.close()
        await self._charger.close()
        if self._ticker is not None:
            await self._ticker.close()
        if self._prefetching is not None:
            self._prefetching.cancel()
            await asyncio.gather(self._prefetching, return_exceptions=True)

    def _end(self, reason: str) -> None:
        if self._over is None:
            self._over = reason
        self._poller.close()

    # Whether orders can be sent

    def availability(self) -> Availability:
        """Whether orders can be sent now."""
        return self._availability

    def check_open(self) -> None:
        """:raises ConnectionFailed: the session is over. :raises AuthenticationFailed: a login is needed."""
        if self._availability.state is AvailabilityState.LOGIN_NEEDED:
            raise AuthenticationFailed(self._availability.reason or "Kite wants a login", broker=NAME)
        if self._over is not None:
            raise ConnectionFailed(f"not connected to Kite: {self._over}", broker=NAME)

    def check_ready(self) -> None:
        """:raises ConnectionFailed, AuthenticationFailed: nothing can be sent now."""
        self.check_open()
        if not self._availability.is_ready:
            raise ConnectionFailed(self._availability.reason or "Kite does not answer", broker=NAME)

    def login_needed(self, reason: str) -> AuthenticationFailed:
        """Kite has refused the token: nothing is sent any more, and the reports end."""
        error = AuthenticationFailed(reason, broker=NAME)
        self._fail(error)
        self.wake()
        return error

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, AuthenticationFailed):
            self._is_now(AvailabilityState.LOGIN_NEEDED, str(error))
        elif self._availability.state is not AvailabilityState.LOGIN_NEEDED:
            self._is_now(AvailabilityState.DISCONNECTED, str(error) or type(error).__name__)

    def _is_now(self, state: AvailabilityState, reason: str | None) -> None:
        if (self._availability.state, self._availability.reason) != (state, reason):
            self._availability = Availability(state, self._clock(), reason)

    # Looking

    async def look(self) -> Look:
        """A look into Kite's books that begins now. :raises ConnectionFailed, AuthenticationFailed: it did not work."""
        self.check_open()
        try:
            return await self._looker.look()
        except AuthenticationFailed as error:
            self._fail(error)
            self.wake()
            raise
        except ConnectionFailed:
            self.wake()  # whether the line is down is seen by the next look
            raise

    def wake(self) -> None:
        """Look again soon: something was sent, or is said to have happened."""
        self._poller.wake.set()

    def sent(self, client_order_id: ClientOrderId | None = None) -> None:
        """Something was sent; an order that is named has not been answered."""
        now = asyncio.get_running_loop().time()
        self._rhythm.sent_at = now
        if client_order_id is not None:
            self._in_doubt[client_order_id] = now
        self.wake()

    async def reports(self) -> AsyncIterator[Report]:
        """What Kite knows of today, then what happens. :raises ConnectionFailed, AuthenticationFailed: it is over."""
        self.check_open()
        try:
            async for report in self._poller.reports():
                yield report
        except Exception as error:
            self._fail(error)
            self._end(str(error) or type(error).__name__)
            raise

    async def _page(self) -> BookPage:
        """One look of the poller's."""
        if self._availability.state is AvailabilityState.LOGIN_NEEDED:
            raise AuthenticationFailed(self._availability.reason or "Kite wants a login", broker=NAME)
        clock, fixed = asyncio.get_running_loop().time, self._settings.poll_seconds
        await asyncio.sleep(max(self._looked_at + (APART if fixed is None else min(fixed, APART)) - clock(), 0))
        self._looked_at = clock()
        try:
            await self._looker.look()
        except Busy as error:
            logger.info("%s", error)
            self._rhythm.is_refused = True
        except Exception as error:
            self._fail(error)
            raise
        else:
            if self._over is None:
                self._is_now(AvailabilityState.READY, None)
        orders, fills = self.book.reports()
        return BookPage(orders, fills, list(self.book.commissions.values()))

    def _looked(self) -> None:
        """After each look, whoever wanted it."""
        now = asyncio.get_running_loop().time()
        seen = {tag for row in self.book.rows.values() for tag in rows.tags_of(row)}
        self._in_doubt = {
            name: since for name, since in self._in_doubt.items() if name not in seen and now - since < DOUBT_SECONDS
        }
        self._rhythm.is_awaiting = bool(self._in_doubt) or self.book.lacks_trades
        self._rhythm.has_open = any(rows.is_open(row) for row in self.book.rows.values())
        if self._over is None:
            self._charger.look()

    def _pace(self, news: bool) -> float:
        return self._rhythm.after(news, asyncio.get_running_loop().time())

    # Instruments

    def _details(self, exchange: str, tradingsymbol: str) -> InstrumentDetails:
        listed = self.catalogue.at_hand(exchange, tradingsymbol)
        return details_of_exchange(exchange) if listed is None else listed.details

    async def _list_of_instruments(self, exchange: str) -> bytes:
        self.check_open()
        try:
            content = answer(await self.client.instruments(exchange), f"the instruments of {exchange}").value
        except AuthenticationFailed as error:
            raise self.login_needed(str(error)) from None
        if not isinstance(content, bytes):
            raise ConnectionFailed(f"Kite's list of the instruments of {exchange} is no text", broker=NAME)
        return content
