"""The broker's own suite: every card of the kit, over TCP."""

from exec_broker_ibkr.conformance import TestIbkr

__all__ = ["TestIbkr"]
