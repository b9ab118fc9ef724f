"""Cards on executions: each is told, with its exact figures, and what it cost when that is known."""

from __future__ import annotations

from exec_core.testing.base import BrokerSuite


class FillCards(BrokerSuite):
    """What was executed."""
