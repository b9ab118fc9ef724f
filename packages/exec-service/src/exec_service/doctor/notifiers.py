"""Each notifier that is switched on, entered as the service does; those that can prove themselves are asked to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from exec_core.config_file import problems
from exec_core.errors import ConfigurationError, PluginError
from exec_core.notifier import CheckableNotifier, Notifier, NotifierPlugin
from exec_core.plugins import load_notifier_plugins
from pydantic import ValidationError

from exec_service.checks import Check, Outcome
from exec_service.doctor.configuration import COMPONENT as CONFIGURATION
from exec_service.doctor.configuration import CORRECT_IT
from exec_service.doctor.threads import PluginThreads, described
from exec_service.redaction import Redactor

COMPONENT: Final = "notifier"
REINSTALL: Final = "Install that package again, or uninstall it: the service does not start while it is broken"
DO_AS_SAID: Final = "Do what the sentence says, then ask again: until then nobody is told this way"
REACH_IT: Final = "See that its far side can be reached from this machine. Orders do not wait for it"
SWITCH_ON: Final = "Switch one on, if people are to be told of fills, rejections and alarms"

Made = tuple[NotifierPlugin, Notifier]


async def examine(threads: PluginThreads, redactor: Redactor) -> list[Check]:
    """The checks of all notifiers; `redactor` learns their secrets."""
    try:
        plugins = load_notifier_plugins()
    except PluginError as error:
        return [Check(CONFIGURATION, "notifiers", Outcome.FAILED, str(error), REINSTALL)]
    checks, made = _made(plugins, redactor)
    if not made:
        checks.append(Check(COMPONENT, "all", Outcome.WARNING, "No notifier is switched on", SWITCH_ON))
    return [*checks, *await asyncio.gather(*(_examined(*one, threads) for one in made))]


def _made(plugins: Sequence[NotifierPlugin], redactor: Redactor) -> tuple[list[Check], list[Made]]:
    """Which are off, which have settings that cannot be used; and those that are on, not yet entered."""
    checks: list[Check] = []
    made: list[Made] = []
    for plugin in plugins:
        try:
            settings = plugin.settings()
            redactor.add_settings(settings)
            notifier = plugin.create(settings)
        except Exception as error:  # noqa: BLE001  # foreign code: whatever it raises, the others are looked at
            name = f"notifier {plugin.name}"
            checks += [Check(CONFIGURATION, name, Outcome.FAILED, text, CORRECT_IT) for text in _told(plugin, error)]
            continue
        if notifier is None:
            checks.append(Check(COMPONENT, plugin.name, Outcome.OK, "Switched off"))
        else:
            made.append((plugin, notifier))
    return checks, made


def _told(plugin: NotifierPlugin, error: Exception) -> list[str]:
    """What is wrong with the settings, one sentence each, never with a value."""
    match error:
        case ConfigurationError():
            return list(error.problems)
        case ValidationError():
            prefix = str(plugin.settings.model_config.get("env_prefix") or "")
            return [text.replace(": Value error, ", ": ", 1) for text in problems(error, prefix=prefix)]
        case _:
            return [described(error)]


async def _examined(plugin: NotifierPlugin, notifier: Notifier, threads: PluginThreads) -> Check:
    async def proof() -> str:
        async with notifier:
            if isinstance(notifier, CheckableNotifier):
                return await notifier.check()
        return "Switched on; it has no check of its own"

    try:
        text = await threads.run(plugin.name, proof)
    except TimeoutError:
        text = f"{plugin.name} did not answer within {threads.seconds:g} s"
        return Check(COMPONENT, plugin.name, Outcome.FAILED, text, REACH_IT)
    except ConfigurationError as error:
        return Check(COMPONENT, plugin.name, Outcome.FAILED, "; ".join(error.problems), CORRECT_IT)
    except Exception as error:  # noqa: BLE001  # foreign code: its sentence is the finding
        return Check(COMPONENT, plugin.name, Outcome.FAILED, str(error) or described(error), DO_AS_SAID)
    return Check(COMPONENT, plugin.name, Outcome.OK, text)
