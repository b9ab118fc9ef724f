"""Cards on discretion: secrets stay secret, times are UTC, numbers exact, and the loop is never blocked."""

from __future__ import annotations

from exec_core.testing.base import BrokerSuite


class DiscretionCards(BrokerSuite):
    """How it behaves meanwhile."""
