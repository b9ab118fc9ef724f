"""The lists of instruments at hand: fetched once per exchange and trading day, kept on disk, shared by all accounts.

A file is written aside and moved into place, so that whoever reads it finds it whole. Where today's list cannot be had,
an earlier one serves to find what it has; that something is *not* in it then proves nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from exec_core.clock import Clock
from exec_core.errors import AuthenticationFailed, BrokerError, NotSent, OrderRejected
from exec_core.instruments import Instrument

from exec_broker_zerodha import instruments, words
from exec_broker_zerodha.instruments import BadList, Listed, ListOf
from exec_broker_zerodha.times import day_of_lists

logger = logging.getLogger(__name__)

#: How old a list may be that serves where no newer one can be had.
OLDEST: Final = timedelta(days=7)
_FILE: Final = re.compile(r"([A-Z]+)-(\d{4}-\d\d-\d\d)\.csv")
_EPOCH: Final = date(1970, 1, 1)


class Shelf:
    """The files of one venue's lists. Blocking: to be used in a thread."""

    def __init__(self, data_dir: Path, root: str) -> None:
        # A simulator's list must never be taken for Kite's.
        place = re.sub(r"[^A-Za-z0-9.]+", "-", urlsplit(root).netloc)
        self._folder = data_dir / "zerodha" / place

    def known(self) -> dict[str, date]:
        """The newest list of each exchange."""
        found: dict[str, date] = {}
        for path in self._folder.glob("*.csv"):
            named = _FILE.fullmatch(path.name)
            if named is not None:
                with suppress(ValueError):
                    found[named[1]] = max(found.get(named[1], _EPOCH), date.fromisoformat(named[2]))
        return found

    def read(self, exchange: str, day: date) -> ListOf | None:
        """The list of that day; None where there is none that can be used."""
        path = self._path(exchange, day)
        try:
            return ListOf.parse(exchange, day, path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError, BadList) as error:
            logger.warning("%s cannot be used, and is fetched again: %s", path, error)
            return None

    def write(self, exchange: str, day: date, content: bytes) -> ListOf:
        """Keep a list, and forget those before it. :raises BadList: it is none; nothing is kept.

        A disk that cannot be written to costs a line in the log, not an order.
        """
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadList(f"the list of {exchange} is no text") from error
        parsed = ListOf.parse(exchange, day, text)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, aside = tempfile.mkstemp(prefix=f".{exchange}-", dir=self._folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                Path(aside).replace(self._path(exchange, day))
            except BaseException:
                Path(aside).unlink(missing_ok=True)
                raise
            for path in self._folder.glob(f"{exchange}-*.csv"):
                if path.name < self._path(exchange, day - OLDEST).name:
                    path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("The list of %s could not be kept on disk: %s", exchange, error)
        return parsed

    def _path(self, exchange: str, day: date) -> Path:
        return self._folder / f"{exchange}-{day.isoformat()}.csv"


@dataclass(slots=True, eq=False)
class Catalogue:
    """What can be traded. `fetch` gets an exchange's list from Kite; `run` does blocking work in a thread."""

    shelf: Shelf
    fetch: Callable[[str], Awaitable[bytes]]
    run: Callable[[Callable[[], Any]], Awaitable[Any]]
    clock: Clock
    _lists: dict[str, ListOf] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    def at_hand(self, exchange: str, tradingsymbol: str) -> Listed | None:
        """What is listed under Kite's symbol, without asking anybody: None where its list is not at hand."""
        known = self._lists.get(exchange)
        return None if known is None else known.of_symbol(tradingsymbol)

    def instrument(self, exchange: str, tradingsymbol: str) -> Instrument:
        """The same in our words; by what its symbol says, where its list is not at hand."""
        listed = self.at_hand(exchange, tradingsymbol)
        return instruments.guess(exchange, tradingsymbol) if listed is None else listed.instrument

    async def find(self, instrument: Instrument) -> Listed:
        """What an order means.

        :raises OrderRejected: there is no such thing. :raises OrderUnsupported: the adapter does not trade it.
        :raises NotSent: nobody knows, because a list cannot be had.
        """
        today, places = day_of_lists(self.clock()), instruments.exchanges_of(instrument)
        is_proof = True
        for exchange in places:
            listed = await self.list_of(exchange)
            found = instruments.search(instrument, listed)
            if found is not None:
                return found
            is_proof = is_proof and listed.day >= today
        what = " ".join(
            str(part)
            for part in (instrument.symbol, instrument.expiry, instrument.strike, instrument.right)
            if part is not None
        )
        text = f"{' and '.join(places)} list no {instrument.asset_class} {what}"
        if is_proof:
            raise OrderRejected(text)
        raise NotSent(f"{text} in an older list, and today's cannot be had")

    async def list_of(self, exchange: str) -> ListOf:
        """The exchange's list, of today if it can be had. :raises NotSent: none can be had."""
        async with self._locks.setdefault(exchange, asyncio.Lock()):
            day = day_of_lists(self.clock())
            known = self._lists.get(exchange)
            if known is not None and known.day >= day:
                return known
            found = await self.run(partial(self.shelf.read, exchange, day))
            if found is None:
                found = await self._fetched(exchange, day, known)
            self._lists[exchange] = found
            return self._lists[exchange]

    async def _fetched(self, exchange: str, day: date, known: ListOf | None) -> ListOf:
        try:
            content = await self.fetch(exchange)
            fresh: ListOf = await self.run(partial(self.shelf.write, exchange, day, content))
            return fresh
        except (BrokerError, BadList) as error:
            older = known or await self.run(partial(self._older, exchange, day))
            if older is None and isinstance(error, AuthenticationFailed):
                raise
            if older is None:
                raise NotSent(f"the list of {exchange}'s instruments cannot be had: {error}") from None
            logger.warning("Today's list of %s cannot be had, that of %s serves: %s", exchange, older.day, error)
            found: ListOf = older
            return found

    def _older(self, exchange: str, day: date) -> ListOf | None:
        newest = self.shelf.known().get(exchange)
        return None if newest is None or newest < day - OLDEST else self.shelf.read(exchange, newest)

    async def prefetch(self) -> None:
        """Get the lists of exchanges that were used before, so that their first order need not wait for them."""
        for exchange in sorted(await self.run(self.shelf.known)):
            with suppress(BrokerError):
                await self.list_of(exchange)

    async def have(self, exchanges: set[str], seconds: float) -> None:
        """Get the lists of these exchanges, if that is possible in time: names are clearer then, and nothing more."""
        with suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(seconds):
                for exchange in sorted(exchanges & set(words.EXCHANGES) - set(self._lists)):
                    await self.list_of(exchange)
