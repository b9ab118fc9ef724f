"""Cards on questions: what is found, what absence proves, and what was missed while away."""

from __future__ import annotations

from exec_core.testing.base import BrokerSuite


class ViewCards(BrokerSuite):
    """What the venue shows."""
