"""How often the order book is looked at: fast while an order is young or something is awaited, slowly while all rests.

One look serves all orders. At its fastest it asks Kite four times a second (orders and trades), of ten that Kite
allows; look-ups and everything else share the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FASTEST: Final = 0.5
SLOWING: Final = 1.5
#: The longest waits: after an order of ours began, while orders rest, and while there is none.
YOUNG: Final = 1.0
RESTING: Final = 3.0
QUIET: Final = 10.0
#: For so long after something was sent it is young.
YOUTH_SECONDS: Final = 60.0
#: The wait after Kite has asked for fewer requests.
PAUSE: Final = 5.0
#: However often somebody knocks, looks begin at least so far apart.
APART: Final = 0.25


@dataclass(slots=True)
class Rhythm:
    """How many seconds to wait between two looks. `fixed` leaves it to the settings."""

    fixed: float | None
    is_awaiting: bool = False
    """Whether something must show soon: executions that are counted and not told, an order without an answer."""
    has_open: bool = False
    """Whether there is an order that can trade."""
    is_refused: bool = False
    """Whether Kite has just asked for fewer requests."""
    sent_at: float = float("-inf")
    """When something was sent last, by the loop's clock."""
    _wait: float = FASTEST

    def after(self, news: bool, now: float) -> float:
        """The wait after a look that brought something, or nothing."""
        if self.is_refused:
            self.is_refused = False
            return PAUSE
        if self.fixed is not None:
            return self.fixed
        longest = QUIET
        if self.is_awaiting or now - self.sent_at < YOUTH_SECONDS:
            longest = YOUNG
        elif self.has_open:
            longest = RESTING
        self._wait = FASTEST if news or self.is_awaiting else min(self._wait * SLOWING, longest)
        return self._wait
