"""Python runs this first in the workers of chaos and soak, which have this directory on their PYTHONPATH.

Nothing of the service knows of it. CHAOS_CLOCK_FILE: the worker's wall clock is off by as many seconds as stand in this
file, now (`exec_core.clock.utc_now` and `time.time`; not what C code asks the system, and not the mock venue, which is
somewhere else and has a clock of its own). CHAOS_DOOR: who enters, leaves and calls the mock venue is noted in this
directory, with the system's monotonic clock, which all processes of a machine share: see `chaos_door`.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

CLOCK_FILE = os.environ.get("CHAOS_CLOCK_FILE")
DOOR = os.environ.get("CHAOS_DOOR")
VENUE = "exec_broker_mock"


def clock_error() -> float:
    """By how many seconds this worker's clock is wrong."""
    try:
        return float(Path(CLOCK_FILE or "").read_text() or 0)
    except OSError:
        return 0.0


def make_clock_wrong(module: ModuleType) -> None:
    """Let the service's clock, and Python's, be wrong."""
    true_now, true_time = module.utc_now, time.time

    def utc_now() -> datetime:
        now: datetime = true_now()
        if sys._getframe(1).f_globals.get("__name__", "").startswith(VENUE):
            return now
        return now + timedelta(seconds=clock_error())

    module.utc_now = utc_now  # type: ignore[attr-defined]
    time.time = lambda: true_time() + clock_error()


def note(account_id: str, what: str, order_id: str | None = None) -> None:
    """One line, durable against a kill -9 of this process."""
    line = {"at": time.monotonic(), "account": account_id, "what": what, "order": order_id}
    descriptor = os.open(Path(DOOR or "", f"{os.getpid()}.jsonl"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def watch_door(module: ModuleType) -> None:
    """Note what goes through the venue's door."""
    broker = module.MockBroker
    enter, leave = broker.__aenter__, broker.__aexit__

    @functools.wraps(enter)
    async def entered(self: Any) -> Any:
        account_id = self._session.account_id
        note(account_id, "opening")
        try:
            found = await enter(self)
        except BaseException:
            note(account_id, "closed")
            raise
        note(account_id, "open")
        return found

    @functools.wraps(leave)
    async def left(self: Any, *error: Any) -> None:
        try:
            await leave(self, *error)
        finally:
            note(self._session.account_id, "closed")

    def noted(name: str, what: str) -> None:
        call = getattr(broker, name)

        @functools.wraps(call)
        async def called(self: Any, order: Any) -> Any:
            note(order.request.account_id, what, order.client_order_id)
            return await call(self, order)

        setattr(broker, name, called)

    broker.__aenter__, broker.__aexit__ = entered, left
    noted("place_order", "place")
    noted("cancel_order", "cancel")


class Afterwards(importlib.abc.MetaPathFinder):
    """Changes modules as soon as they are loaded, before anybody has taken anything from them."""

    def __init__(self, changes: dict[str, Callable[[ModuleType], None]]) -> None:
        self._changes = changes

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        change = self._changes.get(fullname)
        spec = None if change is None else importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if change is None or spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def load_and_change(module: ModuleType) -> None:
            load(module)
            change(module)

        spec.loader.exec_module = load_and_change  # type: ignore[method-assign]
        return spec


wanted: dict[str, Callable[[ModuleType], None]] = {}
if CLOCK_FILE:
    wanted["exec_core.clock"] = make_clock_wrong
if DOOR:
    wanted[f"{VENUE}.broker"] = watch_door
if wanted:
    sys.meta_path.insert(0, Afterwards(wanted))
