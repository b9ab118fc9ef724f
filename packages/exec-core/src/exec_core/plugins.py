"""Finding plugins by entry point, and making a broker by its name.

Only the plugin that is asked for is loaded. pluggy would silently ignore a second distribution that claims a name;
here that is refused, naming both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import pluggy
from pydantic import ValidationError

from exec_core import hookspecs
from exec_core.broker import BrokerConfig, BrokerPlugin, Mode
from exec_core.config_file import problems
from exec_core.errors import ConfigurationError, PluginError
from exec_core.guard import GuardedBroker
from exec_core.identifiers import AccountId
from exec_core.notifier import NotifierPlugin

ENTRY_POINT_GROUP = hookspecs.PROJECT_NAME

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class InstalledPlugin:
    """An entry point, as installed; nothing of it is imported. `entry_point.load()` does that."""

    name: str
    distribution: str
    version: str
    entry_point: EntryPoint


def installed_plugins() -> dict[str, InstalledPlugin]:
    """Every installed plugin by name.

    :raises PluginError: two distributions claim one name.
    """
    found: dict[str, InstalledPlugin] = {}
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        distribution = entry_point.dist.name if entry_point.dist else "unknown"
        version = entry_point.dist.version if entry_point.dist else "?"
        plugin = InstalledPlugin(entry_point.name, distribution, version, entry_point)
        other = found.get(plugin.name)
        if other is not None and (other.distribution, other.entry_point.value) != (distribution, entry_point.value):
            raise PluginError(
                f"two installed packages provide a plugin named {plugin.name!r}: {other.distribution} and "
                f"{distribution}. Uninstall one of them"
            )
        found[plugin.name] = plugin
    return found


def load_broker_plugin(name: str) -> BrokerPlugin:
    """The broker plugin called `name`.

    :raises PluginError: it is not installed, cannot be imported, or hands over no broker of that name.
    """
    installed = installed_plugins()
    plugin = installed.get(name)
    if plugin is None:
        known = ", ".join(sorted(installed)) or "none"
        raise PluginError(
            f"no plugin named {name!r} is installed (installed: {known}). "
            f"Install it with: pip install exec-broker-{name}"
        )
    manager = _manager(plugin)
    return _handed_over(manager.hook.exec_register_broker, BrokerPlugin, plugin, "broker")


def load_notifier_plugins() -> list[NotifierPlugin]:
    """Every installed notifier.

    :raises PluginError: a plugin cannot be imported, or hands over something else.
    """
    found = []
    for plugin in installed_plugins().values():
        manager = _manager(plugin)
        if manager.hook.exec_register_notifier.get_hookimpls():
            found.append(_handed_over(manager.hook.exec_register_notifier, NotifierPlugin, plugin, "notifier"))
    return found


def _manager(plugin: InstalledPlugin) -> pluggy.PluginManager:
    """A plugin manager that holds just this plugin, checked: a misspelt hook fails here, not silently."""
    manager = pluggy.PluginManager(hookspecs.PROJECT_NAME)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin.entry_point.load(), plugin.name)
        manager.check_pending()
    except Exception as error:
        raise PluginError(
            f"the plugin {plugin.name!r} ({plugin.distribution} {plugin.version}) cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
    return manager


def _handed_over(hook: Callable[[], list[Any]], kind: type[T], plugin: InstalledPlugin, word: str) -> T:
    try:
        records = hook()
    except Exception as error:
        raise PluginError(f"the plugin {plugin.name!r} ({plugin.distribution}) failed in its hook: {error}") from error
    if len(records) != 1 or not isinstance(records[0], kind):
        raise PluginError(
            f"the plugin {plugin.name!r} ({plugin.distribution}) must hand over one {word}: its "
            f"exec_register_{word} hook must return a {kind.__name__}"
        )
    record = records[0]
    name = getattr(record, "name", None)
    if name != plugin.name:
        raise PluginError(
            f"the plugin {plugin.name!r} ({plugin.distribution}) calls itself {name!r}: its entry point and its "
            f"{kind.__name__} must have the same name"
        )
    return record


class BrokerFactory:
    """The public way to a broker: by the name that it has in configuration."""

    @staticmethod
    def create_broker(config: BrokerConfig | Mapping[str, Any]) -> GuardedBroker:
        """The broker that `config` names, guarded, not yet connected: enter it with ``async with``.

        A mapping has the keys ``broker`` and ``account_id``, and may have ``name``, ``mode`` and ``settings``.

        :raises PluginError: the plugin is not installed or broken.
        :raises ConfigurationError: the settings cannot be used; all mistakes at once.
        """
        if not isinstance(config, BrokerConfig):
            config = _config(config)
        return BrokerFactory.create_from(load_broker_plugin(config.broker), config)

    @staticmethod
    def create_from(plugin: BrokerPlugin, config: BrokerConfig) -> GuardedBroker:
        """The same from a plugin that is loaded already.

        :raises ConfigurationError: the settings cannot be used; all mistakes at once.
        """
        return GuardedBroker(plugin.create(config, plugin_settings(plugin, config)), plugin)


def plugin_settings(plugin: BrokerPlugin, config: BrokerConfig) -> Any:
    """The plugin's settings for the account, validated.

    :raises ConfigurationError: they cannot be used; all mistakes at once, never with a value.
    """
    from pydantic_settings import SettingsError  # slow to import, and the plugin's settings have done it already

    unknown = sorted(set(config.settings) - set(plugin.settings.model_fields))
    where = f"account {config.account_id} ({plugin.name}): "
    found = [
        f"{where}there is no setting {name}; there are: {', '.join(sorted(plugin.settings.model_fields))}"
        for name in unknown
    ]
    try:
        settings = plugin.settings(**{key: value for key, value in config.settings.items() if key not in unknown})
    except ValidationError as error:
        prefix = str(plugin.settings.model_config.get("env_prefix") or "")
        raise ConfigurationError(*found, *problems(error, where, prefix=prefix)) from None
    except SettingsError as error:
        # A variable that should hold JSON does not. The error's cause holds the value, so it goes no further.
        raise ConfigurationError(*found, f"{where}{error}") from None
    if found:
        raise ConfigurationError(*found)
    return settings


def _config(config: Mapping[str, Any]) -> BrokerConfig:
    known = {"broker", "account_id", "name", "mode", "settings"}
    found = [f"create_broker: {key} is missing" for key in ("broker", "account_id") if not config.get(key)]
    found += [f"create_broker: there is no key {key}" for key in sorted(set(config) - known)]
    mode = config.get("mode")
    if mode is not None and mode not in set(Mode):
        found.append(f"create_broker: mode must be one of {', '.join(Mode)}, got {mode!r}")
    if found:
        raise ConfigurationError(*found)
    return BrokerConfig(
        str(config["broker"]),
        AccountId(str(config["account_id"])),
        config.get("name"),
        Mode(mode) if mode is not None else None,
        dict(config.get("settings") or {}),
    )
