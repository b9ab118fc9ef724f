"""The mock passes the conformance kit; the suite is shipped, so that it can be run where the plugin is installed."""

from exec_broker_mock.conformance import TestMock

__all__ = ["TestMock"]
