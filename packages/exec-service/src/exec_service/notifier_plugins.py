"""The notifiers that are installed and switched on, made with their settings checked."""

from __future__ import annotations

from exec_core.config_file import problems
from exec_core.errors import ConfigurationError
from exec_core.notifier import Notifier, NotifierPlugin
from exec_core.plugins import load_notifier_plugins
from pydantic import ValidationError
from pydantic_settings import SettingsError


def make_notifiers() -> list[tuple[NotifierPlugin, Notifier]]:
    """Every notifier that is switched on, not yet entered, with its plugin. Nothing is connected by that.

    :raises PluginError: a plugin cannot be imported, or hands over something else.
    :raises ConfigurationError: the settings of some cannot be used; all mistakes of all of them at once.
    """
    made: list[tuple[NotifierPlugin, Notifier]] = []
    found: list[str] = []
    for plugin in load_notifier_plugins():
        try:
            notifier = plugin.create(plugin.settings())
        except ValidationError as error:
            prefix = str(plugin.settings.model_config.get("env_prefix") or "")
            found += [text.replace(": Value error, ", ": ", 1) for text in problems(error, prefix=prefix)]
        except SettingsError as error:
            # A variable that should hold JSON does not. The error's cause holds the value, so it goes no further.
            found.append(f"notifier {plugin.name}: {error}")
        except ConfigurationError as error:
            found += [text for text in error.problems if text not in found]
        else:
            if notifier is not None:
                made.append((plugin, notifier))
    if found:
        raise ConfigurationError(*found)
    return made
