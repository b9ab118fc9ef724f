"""For all tests: real servers (``tests/real_servers.py``), patience, and text that pytest-xdist could not send on."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["real_servers"]

# How long an example takes says nothing on a busy machine.
settings.register_profile("exec", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("exec")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Escape lone surrogates, which ours must survive, in what a test printed: a worker could not send them."""
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode("utf-8")) for name, text in report.sections
    ]
