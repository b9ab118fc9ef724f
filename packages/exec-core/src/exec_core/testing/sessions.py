"""Cards on sessions: entering, leaving, losing the line, finding it again."""

from __future__ import annotations

from exec_core.testing.base import BrokerSuite


class SessionCards(BrokerSuite):
    """The line."""
