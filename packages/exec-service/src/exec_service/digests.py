"""Many notifications told as one: how many of what, and first of all those that need a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from exec_core.identifiers import digest as digest_of
from exec_core.notifier import Notification

from exec_service.utf16 import shortened, utf16_length

#: In UTF-16 code units. Telegram, the narrowest far side, takes 4,096.
LONGEST_DIGEST: Final = 4000
LONGEST_LINE: Final = 240

#: What a person must look at, the most pressing first. A title that nobody here knows may be anything: it comes first.
PRESSING: Final = (
    "🛑 Account Stopped",
    "🚨 Needs Attention",
    "❓ Outcome Unknown",
    "⚠️ Conflicting Order",
    "🔌 Broker Connection Failed",
    "🔎 Reconciliation",
    "❌ Order Rejected",
    "⚠️ Message Refused",
)
#: What goes its way without anybody.
ROUTINE: Final = ("▶️ Account Resumed", "⏱ Order Timed Out", "⚠️ Partial Fill", "✅ Order Filled")

#: What a line says, in this order, as far as the notification has it.
_SAID: Final = ("Signal", "Order", "Account", "Reason")


def digest(notifications: Sequence[Notification], limit: int = LONGEST_DIGEST) -> Notification:
    """One notification that stands for all of these (at least one), no longer than `limit` allows.

    Its id is made of theirs. Of those that need a person each has a line that begins with its signal, as many as fit;
    the rest of them are counted. The mode stands before the title where all have the same, else before each line; then
    those with real money are the first of their kind.
    """
    prefixes = {notification.prefix for notification in notifications}
    common = prefixes.pop() if len(prefixes) == 1 else None
    counts = Counter((_rank(one.title), one.prefix, _named(one, common)) for one in notifications)
    pressing = sorted(
        (one for one in notifications if one.title not in ROUTINE), key=lambda one: (_rank(one.title), one.prefix)
    )
    told = Notification(
        f"digest-{digest_of(*(one.id for one in notifications))}",
        f"📋 {len(notifications):,} Notifications",
        tuple((name, f"{count:,}") for (_, _, name), count in sorted(counts.items())),
        common or "",
    )
    lines = ((_named(one, common), _line(one)) for one in pressing)
    return _filled_up(told, lines, len(pressing), limit)


def _filled_up(told: Notification, lines: Iterator[tuple[str, str]], count: int, limit: int) -> Notification:
    """`told` with as many of the `count` lines as fit, and a last one that counts the others; no more are made."""
    room = limit - utf16_length(told.text)
    shown: list[tuple[str, str]] = []
    lengths: list[int] = []
    for line in lines:
        length = _length(line)
        if length > room:
            break
        shown.append(line)
        lengths.append(length)
        room -= length
    if len(shown) < count:
        while shown and room < _length(_not_shown(count)):
            shown.pop()
            room += lengths.pop()
        shown.append(_not_shown(count - len(shown)))
    return replace(told, fields=(*told.fields, *shown))


def _not_shown(count: int) -> tuple[str, str]:
    return "Not shown", f"and {count:,} more"


def _length(line: tuple[str, str]) -> int:
    return utf16_length(f"\n{line[0]}: {line[1]}")


def _rank(title: str) -> int:
    if title in PRESSING:
        return PRESSING.index(title)
    return len(PRESSING) + ROUTINE.index(title) if title in ROUTINE else -1


def _named(notification: Notification, common: str | None) -> str:
    """The title, with its mode where that is not said for all of them."""
    own = notification.prefix if common is None else ""
    return shortened(f"{own} {notification.title}" if own else notification.title, LONGEST_LINE)


def _line(notification: Notification) -> str:
    said = dict(notification.fields)
    parts = [" ".join(said[name].split()) for name in _SAID if name in said]
    return shortened(" | ".join(parts) or "nothing more is known", LONGEST_LINE)
