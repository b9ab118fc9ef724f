"""Kite through its client library, `kiteconnect`: the only module that touches it.

What the library does, and what is done about it here:

* Importing it takes half a second and installs Twisted's global reactor: imported when a session opens, in a thread.
* It blocks: its calls run in threads of the session's own, those of cancels apart, so that orders that hang delay no
  cancel, and questions that hang delay no order. It never retries, and neither does anything here.
* It obeys the environment, follows redirects, turns figures into floats: see `line`, which it is given to send by.
* With `debug` it logs the access token: that is always off. Its exceptions carry the token: see `failures`.
* It changes one thing of the process that cannot be avoided: `urllib3`'s warnings are switched off.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import partial
from typing import Any, Final

from exec_core.errors import ConfigurationError

from exec_broker_zerodha.failures import Failure, Kind, Seen, failure_of, safe_text
from exec_broker_zerodha.line import Line, plain_session
from exec_broker_zerodha.pacing import Pace, paces_of
from exec_broker_zerodha.settings import ZerodhaSettings
from exec_broker_zerodha.times import http_time
from exec_broker_zerodha.tokens import NoToken, TokenSource
from exec_broker_zerodha.workers import Crew, Overdue, Withdrawn

#: How long a request may wait for its turn under the rate limits before it counts as not sent.
LONGEST_TURN: Final = 8.0
#: How long connecting may take, at most.
CONNECT_SECONDS: Final = 5.0
LOGIN_PAGE: Final = "https://kite.zerodha.com/connect/login?v=3&api_key="


class Lane(Enum):
    """Whose threads a request uses, and how many there are."""

    ORDERS = 8
    CANCELS = 4
    QUESTIONS = 4


@dataclass(frozen=True, slots=True)
class Reply:
    """What a request brought: a value, or a failure; and the venue's own time of it, if it told that.

    `is_under_way`: nobody waits for it any more, and the thread that makes it has not come back.
    """

    value: Any = None
    failure: Failure | None = None
    venue_time: datetime | None = None
    is_under_way: bool = False


Call = Callable[[Any], Any]


class Client:
    """One account's line to Kite. Every request ends in a `Reply`; nothing of the library is ever raised."""

    def __init__(self, settings: ZerodhaSettings, tokens: TokenSource) -> None:
        self._settings = settings
        self._tokens = tokens
        self._local = threading.local()
        self._make: Callable[[], Any] | None = None
        self._session: Any = None
        self._closed = False
        self._user: str | None = None
        self._checked: str | None = None
        api_key = settings.api_key.get_secret_value()
        self._crews = {lane: Crew(f"zerodha-{lane.name.lower()}", lane.value) for lane in Lane}
        self._key = (settings.root, api_key, settings.user_id or "")

    async def open(self) -> None:
        """Import the library, and make its client; nothing is sent. :raises ConfigurationError: it is too old."""
        self._make = await self._crews[Lane.QUESTIONS].run(self._load, 60.0)

    def close(self) -> None:
        """Begin no further request. What was begun ends as it does; twice is fine."""
        self._closed = True
        for crew in self._crews.values():
            crew.stop()
        if self._session is not None:
            self._session.close()

    # Requests that change something

    async def place(self, parameters: dict[str, Any], late: Callable[[], None]) -> Reply:
        """Place an order. Where nobody waits for the answer any more, `late` is called once nothing is under way."""
        return await self._request(Lane.ORDERS, lambda kite: kite.place_order(**parameters), late=late)

    async def cancel(self, variety: str, order_id: str) -> Reply:
        """Ask for a cancel."""
        return await self._request(Lane.CANCELS, lambda kite: kite.cancel_order(variety, order_id), urgent=True)

    # Questions

    async def profile(self) -> Reply:
        """Who the token belongs to; from now on only tokens of the same user are used."""

        def ask(kite: Any) -> Any:
            profile = kite.profile()
            self._user, self._checked = user_of(profile), kite.access_token
            return profile

        return await self._request(Lane.QUESTIONS, ask, urgent=True)

    async def orders(self) -> Reply:
        """Today's orders."""
        return await self._request(Lane.QUESTIONS, lambda kite: kite.orders(), urgent=True)

    async def trades(self) -> Reply:
        """Today's executions."""
        return await self._request(Lane.QUESTIONS, lambda kite: kite.trades(), urgent=True)

    async def positions(self) -> Reply:
        """What is held by today's trades, and derivatives carried forward."""
        return await self._request(Lane.QUESTIONS, lambda kite: kite.positions())

    async def holdings(self) -> Reply:
        """Shares that were carried forward."""
        return await self._request(Lane.QUESTIONS, lambda kite: kite.holdings())

    async def margins(self) -> Reply:
        """The account's money."""
        return await self._request(Lane.QUESTIONS, lambda kite: kite.margins())

    async def charges(self, orders: list[dict[str, Any]]) -> Reply:
        """What orders cost, by Kite's calculation."""
        return await self._request(Lane.QUESTIONS, lambda kite: kite.get_virtual_contract_note(orders))

    async def instruments(self, exchange: str) -> Reply:
        """An exchange's list of instruments, as the text that Kite gives: the library would make floats of it."""
        route = "market.instruments"
        return await self._request(Lane.QUESTIONS, lambda kite: kite._get(route, url_args={"exchange": exchange}))

    async def run(self, call: Callable[[], Any]) -> Any:
        """Blocking work that is no request, in a thread of the questions'."""
        return await self._crews[Lane.QUESTIONS].run(call, 60.0)

    # How

    async def session(self, request_token: str, api_secret: str) -> Reply:
        """Exchange a request token for an access token: the one request that needs none."""
        exchange = partial(self._answer, lambda kite: kite.generate_session(request_token, api_secret), None)
        reply: Reply = await self._crews[Lane.QUESTIONS].run(exchange, 2 * self._settings.request_seconds)
        return reply

    async def _request(
        self, lane: Lane, call: Call, *, urgent: bool = False, late: Callable[[], None] | None = None
    ) -> Reply:
        if self._closed or self._make is None:
            return _unsent("the session is not open")
        wait = self._pace(lane).book(urgent=urgent, longest=LONGEST_TURN)
        if wait is None:
            return _unsent("Kite's rate limits leave no room for it now")
        if wait:
            try:
                await asyncio.sleep(wait)
            except asyncio.CancelledError:
                if late is not None:
                    late()
                raise
        crew = self._crews[lane]
        # The library's time-outs bound each step; what trickles in ends here.
        seconds = 2 * self._settings.request_seconds
        try:
            reply: Reply = await crew.run(partial(self._answer, call, self._tokens), seconds, late)
        except Withdrawn:
            return _unsent("no thread was free for it in time, or the session was left")
        except Overdue:
            return Reply(
                failure=Failure(Kind.NO_ANSWER, f"Kite has not answered within {seconds:g} s"), is_under_way=True
            )
        return reply

    def _pace(self, lane: Lane) -> Pace:
        of_orders, of_questions = paces_of(*self._key, per_second=self._settings.requests_per_second)
        return of_questions if lane is Lane.QUESTIONS else of_orders

    def _answer(self, call: Call, tokens: TokenSource | None) -> Reply:
        """In a thread: the request, and what came of it, as plain data."""
        kite = self._kite()
        secrets = [self._settings.api_key.get_secret_value()]
        if tokens is not None:
            try:
                kite.access_token = tokens.current().get_secret_value()
            except NoToken as lack:
                return Reply(failure=Failure(Kind.NOT_SENT, str(lack), None, "TokenException"))
            secrets.append(kite.access_token)
            stranger = self._refused_token(kite, secrets)
            if stranger is not None:
                return Reply(failure=stranger)
        seen = self._local.answer = Seen()
        try:
            value = call(kite)
        except Exception as error:  # noqa: BLE001  # whatever it is: `failure_of` says what it proves
            return Reply(failure=failure_of(error, seen, secrets), venue_time=http_time(seen.date))
        return Reply(value, venue_time=http_time(seen.date))

    def _refused_token(self, kite: Any, secrets: list[str]) -> Failure | None:
        """Why a token that has changed during the session is not used: it must be the same user's."""
        if self._user is None or kite.access_token == self._checked:
            return None
        seen = self._local.answer = Seen()
        try:
            user = user_of(kite.profile())
        except Exception as error:  # noqa: BLE001  # whatever it is: nothing was sent of what was asked for
            failure = failure_of(error, seen, secrets)
            return Failure(Kind.NOT_SENT, f"the new access token: {failure.text}", failure.status, failure.error_type)
        if user != self._user:
            text = f"the new access token belongs to Kite's user {user}, not to {self._user}"
            return Failure(Kind.NOT_SENT, text, None, "TokenException")
        self._checked = kite.access_token
        return None

    def _kite(self) -> Any:
        """This thread's own object of the library: they share connections, and no token."""
        if getattr(self._local, "kite", None) is None and self._make is not None:
            self._local.kite = self._make()
        return self._local.kite

    def _load(self) -> Callable[[], Any]:
        """Import the library; what makes an object of it."""
        kiteconnect: Any = importlib.import_module("kiteconnect")
        if "market_protection" not in inspect.signature(kiteconnect.KiteConnect.place_order).parameters:
            raise ConfigurationError("kiteconnect is too old to say the market protection: install kiteconnect>=5.1")
        requests: Any = importlib.import_module("requests")
        settings = self._settings
        timeout = (min(CONNECT_SECONDS, settings.request_seconds), settings.request_seconds)
        key = settings.api_key.get_secret_value()
        self._session = plain_session(requests, sum(lane.value for lane in Lane))
        line = Line(self._session, self._local)

        def make() -> Any:
            kite = kiteconnect.KiteConnect(key, root=settings.root, timeout=timeout, debug=False)
            kite.reqsession = line
            return kite

        return make


def user_of(profile: Any) -> str:
    """The user id in Kite's profile; empty where there is none."""
    return str(profile.get("user_id") or "").upper() if isinstance(profile, dict) else ""


def _unsent(text: str) -> Reply:
    return Reply(failure=Failure(Kind.NOT_SENT, text))


async def log_in(settings: ZerodhaSettings, api_secret: str, request_token: str) -> dict[str, Any]:
    """Exchange a request token for an access token: what Kite says of the session.

    :raises ConfigurationError: Kite refuses it, or cannot be reached; the text holds no secret.
    """
    client = Client(settings, TokenSource(None, None))
    try:
        await client.open()
        reply = await client.session(request_token, api_secret)
    except (Withdrawn, Overdue):
        raise ConfigurationError("Kite has not answered the login; try again") from None
    finally:
        client.close()
    if reply.failure is not None:
        raise ConfigurationError(f"Kite did not log in: {safe_text(reply.failure.text, (api_secret, request_token))}")
    told: dict[str, Any] = reply.value
    return told
