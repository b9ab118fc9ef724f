"""The plugin as it is found and loaded."""

from __future__ import annotations

import subprocess
import sys

from exec_core import Idempotency
from exec_core.plugins import load_broker_plugin


def test_the_plugin_declares_what_the_contract_says_of_the_mock():
    plugin = load_broker_plugin("mock")
    assert (plugin.name, plugin.unknown_settle_seconds, plugin.absence_view_seconds) == ("mock", 5, 1)
    assert plugin.call_timeout_seconds == 10
    assert plugin.capabilities.idempotency is Idempotency.CORRELATES
    assert not plugin.capabilities.combinations


def test_importing_the_plugin_opens_nothing_and_starts_nothing():
    program = (
        "import sys, threading, exec_broker_mock\n"
        "assert 'sqlite3' not in sys.modules and 'exec_broker_mock.session' not in sys.modules\n"
        "import exec_broker_mock.broker\n"
        "from exec_broker_mock import books\n"
        "assert threading.active_count() == 1 and not books._memory\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
