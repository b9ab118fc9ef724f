"""Cards on cancels and ends: a cancel is a wish; an order ends when the venue says so."""

from __future__ import annotations

from exec_core.testing.base import BrokerSuite


class CancelCards(BrokerSuite):
    """How orders end."""
