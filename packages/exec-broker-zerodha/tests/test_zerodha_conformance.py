"""Zerodha passes the conformance kit at the simulated Kite; the suite is shipped, to be run where it is installed."""

from exec_broker_zerodha.conformance import TestZerodha

__all__ = ["TestZerodha"]
