"""Cards on the plugin as it is installed: its record, its settings, what importing it drags in."""

from __future__ import annotations

from exec_core.testing.base import BrokerSuite


class PluginCards(BrokerSuite):
    """What is handed over."""
