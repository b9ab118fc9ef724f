"""The cards on notifiers: what is told arrives, what is not told is not lost, and nobody is held up by either.

A notifier's author writes a `FarSide` and this::

    from exec_core.testing import NotifierConformance

    from bell_far_side import Belfry


    class TestBell(NotifierConformance):
        plugin = "bell"
        far_side = Belfry
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from exec_core.notifier import CheckableNotifier, Notifier, NotifierPlugin
from exec_core.plugins import installed_plugins
from exec_core.settings import PluginSettings
from exec_core.testing.notifiers.base import NotifierSuite, notifier_card
from exec_core.testing.notifiers.far_side import FarAbility
from exec_core.testing.notifiers.telling import Telling, new_notification
from exec_core.testing.notifiers.texts import TextCards
from exec_core.testing.notifiers.troubles import TroubleCards

#: What importing a plugin drags in beyond the core. The module and the names to watch for are the arguments.
_IMPORTS: Final = """
import importlib, json, sys
import exec_core
before = set(sys.modules)
module = importlib.import_module(sys.argv[1])
if hasattr(module, "exec_register_notifier"):
    module.exec_register_notifier()
watched = json.loads(sys.argv[2])
print(json.dumps([name for name in watched if name in sys.modules and name not in before]))
"""


class PluginCards(NotifierSuite):
    """The plugin as it is installed, what nobody may read of it, and what it can prove."""

    @notifier_card(20)
    async def test_record(self, telling: Telling) -> None:
        """The plugin's record is sound.

        Prerequisite: the plugin is installed, or its record is given.
        Action: read the record; make a notifier with the settings that reach the far side, and do not enter it.
        Expected: the name is a word that configuration can use; the settings are a `PluginSettings` with a prefix
        for their variables; time-out and digest are positive; what `create` makes keeps the protocol `Notifier`.
        If this fails: correct the `NotifierPlugin` that `exec_register_notifier` returns; check that `create` takes
        the settings as its only argument, and that `__aenter__`, `__aexit__` and `send` are all there.
        """
        plugin = telling.plugin
        assert re.fullmatch(r"[a-z][a-z0-9_-]*", plugin.name), f"{plugin.name!r} is not a lower-case word"
        assert issubclass(plugin.settings, PluginSettings)
        assert plugin.settings.model_config.get("env_prefix"), "without env_prefix the variables' names clash"
        assert plugin.send_timeout_seconds > 0
        assert plugin.digest_above is None or plugin.digest_above > 0
        assert isinstance(telling.new_notifier(), Notifier)

    @notifier_card(30)
    def test_import(self, notifier_plugin: NotifierPlugin) -> None:
        """Importing the plugin imports no SDK.

        Prerequisite: none.
        Action: in a fresh process, import the plugin's module and call its hook.
        Expected: none of `sdk_modules` was imported.
        If this fails: the command line lists plugins and prints its help without paying for what they need. Import
        the SDK in `create`, in `__aenter__`, or with the first `send`.
        """
        module = notifier_plugin.settings.__module__
        if isinstance(self.plugin, str):
            module = installed_plugins()[self.plugin].entry_point.module
        done = subprocess.run(  # noqa: S603  # our own interpreter, and a module's name
            [sys.executable, "-c", _IMPORTS, module, json.dumps(self.sdk_modules)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1]) == []

    @notifier_card(40, needs=[FarAbility.SWITCH_OFF])
    async def test_switched_off(self, telling: Telling) -> None:
        """Switched off, there is no notifier.

        Prerequisite: settings that switch it off.
        Action: create a notifier with them.
        Expected: `create` returns None.
        If this fails: every installed notifier is asked at start. One that nobody switched on must return None, not
        a notifier that drops everything, and not fail because its other settings are empty.
        """
        assert telling.plugin.create(telling.plugin.settings(**telling.far.settings_off)) is None

    @notifier_card(50, needs=[FarAbility.GO_AWAY])
    async def test_entering_while_away(self, telling: Telling) -> None:
        """Entering works while the far side is away.

        Prerequisite: the far side is out of reach.
        Action: enter a notifier; let the far side come back; send a notification.
        Expected: entering raises nothing, and the notification arrives.
        If this fails: orders flow also while nobody can be told of them, so the service starts. Connect with the
        first `send`, and again with each after a failure; leave proofs of the settings to `check`.
        """
        notification = new_notification()
        await telling.far.go_away()
        async with telling.notifier() as notifier:
            await telling.far.come_back()
            await telling.send(notifier, notification)
            await telling.arrived(notification)

    @notifier_card(400)
    async def test_secrets(
        self, telling: Telling, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """No secret stands in a log, a repr or an error.

        Prerequisite: settings with a secret; everything is logged, down to the libraries' debugging.
        Action: send notifications that the far side takes, refuses, delays, fails at, and does not get, as far as it
        can do all that; ask for `check`, where there is one.
        Expected: no secret stands in the log, on the console, in the exceptions with what caused them, or in the repr
        of the notifier and of its settings.
        If this fails: make the setting a `pydantic.SecretStr`. Where the secret is part of a URL, mask it in the log of
        the HTTP client, and raise errors of your own, ``from None``: the client's hold the URL.
        """
        if not telling.secrets:
            pytest.skip("the settings hold no secret")
        caplog.set_level(logging.DEBUG)
        texts = [repr(telling.settings), str(telling.settings)]
        cannot = telling.far.cannot
        async with telling.notifier() as notifier:
            texts += [repr(notifier), str(notifier)]
            await telling.send(notifier, new_notification())
            troubles: list[tuple[FarAbility, Callable[[], Awaitable[None]]]] = [
                (FarAbility.REFUSE, telling.far.refuse_next),
                (FarAbility.DELAY, lambda: telling.far.delay_next(0)),
                (FarAbility.FAIL, telling.far.fail_next),
                (FarAbility.GO_AWAY, telling.far.go_away),
            ]
            for ability, trouble in troubles:
                if ability not in cannot:
                    await trouble()
                    error = await telling.outcome(notifier, new_notification())
                    texts.append("" if error is None else _told_by(error))
            if isinstance(notifier, CheckableNotifier):
                try:
                    texts.append(await telling.bounded(notifier.check(), "check"))
                except Exception as failed:  # noqa: BLE001  # any is allowed; only what it tells matters here
                    texts.append(_told_by(failed))
        console = capsys.readouterr()
        logged = [record.getMessage() for record in caplog.records]
        for secret in telling.secrets:
            for where, found in (("log", [caplog.text, *logged]), ("console", [*console]), ("texts", texts)):
                leaking = [text.replace(secret, "***") for text in found if secret in text]
                assert leaking == [], f"a secret stands in the {where}"

    @notifier_card(410)
    async def test_check(self, telling: Telling) -> None:
        """A notifier that can prove itself does so without telling anybody.

        Prerequisite: a `CheckableNotifier`, entered.
        Action: `check`; and again while the far side is away, where it can be.
        Expected: first one sentence, and nobody is told anything; while it is away it raises, with a sentence.
        If this fails: ask the far side something that nobody sees (who am I? does this channel exist?), and say in
        the error what a person can do about it.
        """
        async with telling.notifier() as notifier:
            if not isinstance(notifier, CheckableNotifier):
                pytest.skip("the notifier has no check")
            assert (await telling.bounded(notifier.check(), "check")).strip()
            notification = new_notification()
            await telling.send(notifier, notification)
            await telling.arrived(notification)
            assert len(await telling.far.received()) == 1, "somebody was told something by check"
            if FarAbility.GO_AWAY not in telling.far.cannot:
                await telling.far.go_away()
                with pytest.raises(Exception, match=r"\w+ \w+"):
                    await telling.bounded(notifier.check(), "check")


class NotifierConformance(PluginCards, TextCards, TroubleCards):
    """All cards on notifiers. Give `plugin` and `far_side`."""


def _told_by(error: BaseException) -> str:
    return f"{error!r} {error.args!r}\n{''.join(traceback.format_exception(error))}"
