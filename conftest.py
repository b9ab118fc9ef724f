"""For all tests: the real servers (see ``tests/real_servers.py``), and text that pytest-xdist could not send on."""

from __future__ import annotations

import pytest

pytest_plugins = ["real_servers"]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Escape lone surrogates, which ours must survive, in what a test printed: a worker could not send them."""
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode("utf-8")) for name, text in report.sections
    ]
