"""The table of all broken brokers, and of the unusual ones that are right; and the page that shows it."""

from __future__ import annotations

from teeth import asking, foreign, hearing, living, modifying, sending, telling, tokens, unusual
from teeth.wrapping import BROKEN, RIGHT

__all__ = ["BROKEN", "MODULES", "RIGHT", "SUBJECTS"]

#: Where they are written down.
MODULES = (living, sending, telling, hearing, asking, modifying, tokens, foreign, unusual)
SUBJECTS = {**BROKEN, **RIGHT}
