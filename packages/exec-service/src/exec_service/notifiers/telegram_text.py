"""Fits a notification into one message of Telegram's.

Telegram takes 4,096 characters. Whether an emoji counts as one or as two of them, people have observed both; counted as
two (UTF-16 code units, in which Telegram measures everything else in a text) a message fits either way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from exec_core import Notification

from exec_service.utf16 import shortened, utf16_length, well_formed

LONGEST_TEXT: Final = 4096
#: The signal's line is what a person searches for: it stays whole, and stays in the text.
SIGNAL: Final = "Signal"

_LONGEST_TITLE: Final = 256
_LONGEST_NAME: Final = 64
_LONGEST_SIGNAL: Final = 1024


def fitted(notification: Notification) -> str:
    """The notification's text, at most `LONGEST_TEXT` UTF-16 code units.

    Where it is longer its longest values are cut with an ellipsis, as little as will do; the title and the signal last.
    """
    text = well_formed(notification.text)
    longest = LONGEST_TEXT
    while utf16_length(text) > LONGEST_TEXT and longest > 1:
        longest //= 2
        text = well_formed(_with_shorter_values(notification, longest).text)
    if utf16_length(text) > LONGEST_TEXT:
        # Too many fields, however short: those at the end go, and the signal must not be among them.
        fields = sorted(notification.fields, key=lambda field: field[0] != SIGNAL)
        text = well_formed(_with_shorter_values(replace(notification, fields=tuple(fields)), 64).text)
    return shortened(text, LONGEST_TEXT)


def _with_shorter_values(notification: Notification, longest: int) -> Notification:
    fields = tuple(
        (shortened(name, _LONGEST_NAME), shortened(value, _LONGEST_SIGNAL if name == SIGNAL else longest))
        for name, value in notification.fields
    )
    return replace(notification, title=shortened(notification.title, _LONGEST_TITLE), fields=fields)
