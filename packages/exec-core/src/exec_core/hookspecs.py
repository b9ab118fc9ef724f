"""The hooks. They are called once, at start, and only hand over a record: no order ever flows through pluggy.

A plugin's distribution declares the entry point, and its module the hook::

    [project.entry-points.exec_core]
    acme = "exec_broker_acme"

    from exec_core import BrokerPlugin, hookimpl

    @hookimpl
    def exec_register_broker() -> BrokerPlugin:
        return BrokerPlugin(name="acme", ...)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from exec_core.broker import BrokerPlugin
    from exec_core.notifier import NotifierPlugin

PROJECT_NAME = "exec_core"

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


@hookspec
def exec_register_broker() -> BrokerPlugin:  # type: ignore[empty-body]  # a specification has no body
    """Hand over a broker. Called when the plugin is loaded; it must not connect, and must not import the SDK."""


@hookspec
def exec_register_notifier() -> NotifierPlugin:  # type: ignore[empty-body]  # a specification has no body
    """Hand over a notifier. Called when the service starts; it must not connect."""


__all__ = ["PROJECT_NAME", "exec_register_broker", "exec_register_notifier", "hookimpl", "hookspec"]
