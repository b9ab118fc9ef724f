"""Sees and hears everything that an adapter shows of itself, and looks for secrets in it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any
from urllib.parse import quote, quote_plus

from exec_core.plugins import plugin_settings
from exec_core.testing.session import Session
from exec_core.testing.stage import Stage


class Witness:
    """Keeps the texts, and where they were; `leaks` names the places with a secret, and never the secret."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._texts: list[tuple[str, str]] = []
        self._records: list[logging.LogRecord] = []
        config = stage.venue.config
        for what in (config, plugin_settings(stage.plugin, config), stage.plugin):
            self.saw(f"the repr of {type(what).__name__}", repr(what), str(what))

    def saw(self, where: str, *texts: str) -> None:
        """Keep what was shown there."""
        self._texts += [(where, text) for text in texts]

    @contextmanager
    def of_records(self) -> Iterator[None]:
        """Keep every log record that is made, by whichever logger, wherever it goes."""
        make = logging.getLogRecordFactory()

        def remember(*args: Any, **kwargs: Any) -> logging.LogRecord:
            record = make(*args, **kwargs)
            self._records.append(record)
            return record

        logging.setLogRecordFactory(remember)
        try:
            yield
        finally:
            logging.setLogRecordFactory(make)

    @asynccontextmanager
    async def of_session(self) -> AsyncIterator[Session]:
        """A session, entered if that is possible, and left at the end."""
        session = self._stage.new_session(call_timeout_seconds=self._stage.patience_seconds)
        await self.of_call(session.enter())
        yield session
        if session.failure is not None:
            self._saw_error(session.failure)
        for broker in (session.raw, session.broker):
            self.saw(f"the repr of {type(broker).__name__}", repr(broker), str(broker))
        self.saw("availability()", repr(session.broker.availability()))
        self.saw("a report", *(repr(report) for report in session.heard))
        await self.of_call(session.leave())
        with suppress(Exception):  # a session that was not entered, or is left already
            await session.raw.__aexit__(None, None, None)

    async def of_call(self, call: Awaitable[object]) -> None:
        """Keep the answer, or the error."""
        try:
            self.saw("an answer", repr(await call))
        except Exception as error:  # noqa: BLE001  # whatever it is: it is looked through
            self._saw_error(error)

    async def of_questions(self, session: Session) -> None:
        """Ask everything that can be asked."""
        order = self._stage.new_order()
        broker = session.broker
        calls = (broker.find_order(order), broker.open_orders(), broker.positions(), broker.account())
        for call in (*calls, broker.cancel_order(order)):
            await self.of_call(call)

    def _saw_error(self, error: BaseException) -> None:
        for one in _with_all_that_led_to_it(error):
            where = f"an error ({type(one).__name__})"
            self.saw(where, str(one), repr(one), repr(one.args), repr(vars(one)))
            self.saw(f"the traceback of {where}", "".join(traceback.format_exception(one)))

    def leaks(self) -> set[str]:
        """The places that show a secret, as it is or as it stands in a URL."""
        for record in self._records:
            where = f"a log record of {record.name}"
            self.saw(where, _message(record), repr(vars(record)))
            if record.exc_info and record.exc_info[1] is not None:
                self._saw_error(record.exc_info[1])
        self._records.clear()
        secrets = {form for secret in self._stage.venue.secrets for form in (secret, quote(secret), quote_plus(secret))}
        return {where for where, text in self._texts if any(secret in text for secret in secrets)}


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        return f"{record.msg} {record.args}"


def _with_all_that_led_to_it(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or any(one is other for other in found):
            continue
        found.append(one)
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
    return found
