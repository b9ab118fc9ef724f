"""Kite's order updates over a websocket, as a knock on the door: each makes the poller look, none is believed.

Updates come in any order, may repeat, and those of a break are not told again (forum discussions 4217, 9855), so the
order book stays the only source of truth. The library's own `KiteTicker` is not used: it needs Twisted's reactor, which
cannot be started twice in a process (`pykiteconnect#80`), and does not check the server's certificate, although the
access token stands in the address. `aiohttp` (the extra ``stream``) does both, in the loop that is there.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from collections.abc import Callable
from typing import Any, Final

from exec_core.errors import ConfigurationError

from exec_broker_zerodha.settings import ZerodhaSettings
from exec_broker_zerodha.tokens import NoToken, TokenSource

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS: Final = 1.0
LONGEST_RETRY_SECONDS: Final = 60.0
#: Kite sends a heartbeat of one byte every few seconds; a line that is silent for so long is dead.
SILENCE_SECONDS: Final = 30.0
_LARGEST: Final = 1 << 20


class Ticker:
    """Listens until it is closed; connects again by itself. `knock` is called for each update, and on connecting."""

    def __init__(self, settings: ZerodhaSettings, tokens: TokenSource, knock: Callable[[], None]) -> None:
        self._settings = settings
        self._tokens = tokens
        self._knock = knock
        self._task: asyncio.Task[None] | None = None
        self.is_connected = False

    def start(self) -> None:
        """:raises ConfigurationError: what it needs is not installed."""
        try:
            aiohttp: Any = importlib.import_module("aiohttp")
        except ImportError:
            raise ConfigurationError(
                "ZERODHA_WS_ROOT needs aiohttp: pip install 'exec-broker-zerodha[stream]', or leave it unset"
            ) from None
        self._task = asyncio.get_running_loop().create_task(self._run(aiohttp), name="Kite's order updates")

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, aiohttp: Any) -> None:
        wait = FIRST_RETRY_SECONDS
        async with aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar()) as session:
            while True:
                try:
                    await self._listen(aiohttp, session)
                except NoToken:
                    why = "there is no access token"
                except Exception as error:  # noqa: BLE001  # whatever it is: the poller works without
                    why = type(error).__name__  # no more than that: the address holds the access token
                else:
                    why = "it was closed"
                wait = FIRST_RETRY_SECONDS if self.is_connected else min(wait * 2, LONGEST_RETRY_SECONDS)
                self.is_connected = False
                logger.info("Kite's order updates are not connected (%s); again in %g s", why, wait)
                await asyncio.sleep(wait)

    async def _listen(self, aiohttp: Any, session: Any) -> None:
        query = {
            "api_key": self._settings.api_key.get_secret_value(),
            "access_token": self._tokens.current().get_secret_value(),
        }
        timeout = aiohttp.ClientWSTimeout(ws_receive=SILENCE_SECONDS, ws_close=1.0)
        address = f"{self._settings.ws_root}/"
        async with session.ws_connect(address, params=query, timeout=timeout, max_msg_size=_LARGEST) as line:
            self.is_connected = True
            self._knock()  # nothing of a break is told again
            async for message in line:
                if message.type is aiohttp.WSMsgType.TEXT and is_about_an_order(message.data):
                    self._knock()


def is_about_an_order(text: str) -> bool:
    """Whether a message tells that something became of an order: others are news, errors and heartbeats."""
    try:
        told = json.loads(text)
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("type") == "order"
