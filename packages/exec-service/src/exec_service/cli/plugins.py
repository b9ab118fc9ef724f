"""``exec-service plugins``: what is installed, and what of it works."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from exec_service.cli.options import JSON

if TYPE_CHECKING:
    from exec_core.capabilities import Capabilities
    from exec_core.plugins import InstalledPlugin


@click.command(short_help="List the installed brokers and notifiers.")
@JSON
def plugins(as_json: bool) -> None:
    """List the installed brokers and notifiers; a broken one is shown with what is wrong with it."""
    from exec_core.plugins import installed_plugins

    from exec_service.cli.output import print_json, print_table

    found = [_described(plugin) for _, plugin in sorted(installed_plugins().items())]
    if as_json:
        print_json(found)
        return
    rows = [
        (row["name"], row["kind"], row["distribution"], row["version"], row["error"] or _summary(row["capabilities"]))
        for row in found
    ]
    print_table("Plugins", ("name", "kind", "distribution", "version", "capabilities"), rows)


def _described(plugin: InstalledPlugin) -> dict[str, Any]:
    kind, capabilities, error = _examined(plugin)
    return {
        "name": plugin.name,
        "kind": kind,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "capabilities": None if capabilities is None else _plain(capabilities),
        "error": error,
    }


def _examined(plugin: InstalledPlugin) -> tuple[str | None, Capabilities | None, str | None]:
    """Its kind, a broker's capabilities, and what is wrong with it."""
    from exec_core.errors import PluginError
    from exec_core.notifier import NotifierPlugin
    from exec_core.plugins import load_broker_plugin

    kind = None
    try:
        module = plugin.entry_point.load()
        if hasattr(module, "exec_register_broker"):
            kind = "broker"
            return kind, load_broker_plugin(plugin.name).capabilities, None
        if hasattr(module, "exec_register_notifier"):
            kind = "notifier"
            record = module.exec_register_notifier()
            wrong = not isinstance(record, NotifierPlugin) or record.name != plugin.name
            return kind, None, f"its hook hands over no notifier named {plugin.name}" if wrong else None
    except PluginError as error:
        return kind, None, str(error)
    except Exception as error:  # noqa: BLE001  # foreign code: whatever it raises is what is wrong with it
        return kind, None, f"it cannot be loaded: {type(error).__name__}: {error}"
    return None, None, "it registers neither a broker nor a notifier"


def _plain(capabilities: Capabilities) -> dict[str, Any]:
    """The declared data, sets as sorted lists."""
    values = {field.name: getattr(capabilities, field.name) for field in fields(capabilities)}
    return {name: sorted(value) if isinstance(value, frozenset) else value for name, value in values.items()}


def _summary(capabilities: dict[str, Any] | None) -> str:
    if capabilities is None:
        return ""
    parts = [", ".join(capabilities[name]) for name in ("order_types", "times_in_force", "asset_classes")]
    parts += [
        f"{name.replace('_', ' ')}: {', '.join(value)}"
        for name, value in capabilities.items()
        if name in ("fractional_quantity", "cash_quantity") and value
    ]
    parts += [name.replace("_", " ") for name, value in capabilities.items() if value is True]
    return "; ".join(parts)
