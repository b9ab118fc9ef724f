"""What the cards on discretion look through: the figures and times in answers, and an alarm for a frozen loop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from decimal import Decimal
from types import FrameType
from typing import Final

#: More digits than any venue writes: what a Decimal has that was made from a binary float.
MANY_DIGITS: Final = 34


def figures(value: object, kind: type = Decimal, name: str = "") -> Iterator[tuple[str, object]]:
    """What stands where dataclasses declare a `kind` (or holds one, or a float), however deep, with its path."""
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            inner = getattr(value, field.name)
            path = f"{name}.{field.name}".lstrip(".")
            if kind.__name__ in str(field.type) and not is_dataclass(inner):
                yield path, inner
            else:
                yield from figures(inner, kind, path)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from figures(inner, kind, f"{name}[{key}]")
    elif isinstance(value, tuple | list):
        for number, inner in enumerate(value):
            yield from figures(inner, kind, f"{name}[{number}]")
    elif isinstance(value, float):
        yield name, value


def wrong_figure(value: object) -> str | None:
    """What is wrong with a figure; None if it is exact, or not told."""
    if value is None:
        return None
    if not isinstance(value, Decimal):
        return f"{value!r} is a {type(value).__name__}, no Decimal"
    if not value.is_finite():
        return f"{value} is not finite"
    if len(value.as_tuple().digits) > MANY_DIGITS:
        return f"{value} was made from a binary float"
    return None


@contextmanager
def freeze_alarm(seconds: float) -> Iterator[None]:
    """Break off what blocks the main thread for so long, by a `TimeoutError` inside it.

    Only where the system has such alarms, and in the main thread; elsewhere a frozen loop stays frozen, and it is for
    the runner of the tests to end it. An alarm that somebody else has set goes on afterwards.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError("the event loop was blocked")

    before = signal.signal(signal.SIGALRM, ring)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)
