"""Lengths as chat services count them: in UTF-16 code units, of which an emoji takes two."""

from __future__ import annotations

import re
from typing import Final

ELLIPSIS: Final = "…"
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

_HALF_PAIR = re.compile("[\ud800-\udfff]")


def well_formed(text: str) -> str:
    """The text with every half of a surrogate pair, which no far side takes, replaced by U+FFFD."""
    return _HALF_PAIR.sub(REPLACEMENT, text)


def utf16_length(text: str) -> int:
    """How many UTF-16 code units the text takes."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def shortened(text: str, limit: int) -> str:
    """The text, cut with an ellipsis if it takes more than `limit` (at least 1) units; never inside a character."""
    if utf16_length(text) <= limit:
        return text
    units = 0
    for index, character in enumerate(text):
        units += 2 if character > "\uffff" else 1
        if units > limit - len(ELLIPSIS):
            return text[:index].rstrip() + ELLIPSIS
    raise AssertionError("a text that is too long has a character that is too many")
