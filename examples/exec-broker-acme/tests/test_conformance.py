"""Acme passes the conformance kit; the suite is shipped, so that it can be run where the plugin is installed."""

from exec_broker_acme.conformance import TestAcme

__all__ = ["TestAcme"]
