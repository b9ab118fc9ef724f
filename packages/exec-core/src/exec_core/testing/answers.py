"""Cards on answers: refused, lost, repeated, reordered, not understood."""

from __future__ import annotations

from exec_core.testing.base import BrokerSuite


class AnswerCards(BrokerSuite):
    """What is known of an order that was sent."""
