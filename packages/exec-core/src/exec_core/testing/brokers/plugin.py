"""Cards on the plugin as it is installed: its record, its settings, what importing it drags in."""

from __future__ import annotations

import asyncio
import itertools
import math
import pickle
import re
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo

from exec_core.broker import BrokerPlugin
from exec_core.errors import ConfigurationError
from exec_core.instruments import AssetClass
from exec_core.orders import OrderType, TimeInForce
from exec_core.plugins import plugin_settings
from exec_core.settings import BrokerSettings
from exec_core.testing.brokers.base import BrokerSuite
from exec_core.testing.cards import card
from exec_core.testing.importing import imported_afresh
from exec_core.testing.stage import Stage

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]*")
_UNKNOWN: Final = "a_setting_that_no_plugin_has"
_SHOWN: Final = "value-that-nobody-may-see"
#: Wrong for nearly every kind of setting: a text for numbers, a table for texts.
_WRONG: Final[tuple[Any, ...]] = (_SHOWN, {_SHOWN: _SHOWN})


class PluginCards(BrokerSuite):
    """What is handed over."""

    @card(20)
    def test_record_is_sound(self, broker_plugin: BrokerPlugin) -> None:
        """The plugin's record can be relied on.

        Prerequisite: none.
        Action: read the record.
        Expected: the name is one lower-case word, and the entry point's; the settings are a `BrokerSettings`; the
        seconds are finite and above zero; order types, times in force and asset classes are sets of the core's words,
        none empty; the default time in force is one of those declared, and what may be fractional or bought for cash
        is among the declared asset classes.
        If this fails: compare the `BrokerPlugin` that your hook returns with its docstring. The core decides by it
        what reaches the adapter, and how long an order without an answer waits.
        """
        record, declared = broker_plugin, broker_plugin.capabilities
        assert _NAME.fullmatch(record.name), f"the name {record.name!r} is not one lower-case word"
        assert not isinstance(self.plugin, str) or record.name == self.plugin
        assert isinstance(record.settings, type)
        assert issubclass(record.settings, BrokerSettings)
        assert callable(record.create)
        for seconds in ("unknown_settle_seconds", "absence_view_seconds", "call_timeout_seconds"):
            value = getattr(record, seconds)
            assert 0 < value < math.inf, f"{seconds} must be finite and above zero, is {value}"
        _check_words("order_types", declared.order_types, OrderType)
        _check_words("times_in_force", declared.times_in_force, TimeInForce)
        _check_words("asset_classes", declared.asset_classes, AssetClass)
        assert declared.default_time_in_force in declared.times_in_force
        assert declared.fractional_quantity <= declared.asset_classes
        assert declared.cash_quantity <= declared.asset_classes
        assert declared.cash_only_buys <= declared.cash_quantity

    @card(30)
    async def test_mistakes_in_settings(self, stage: Stage) -> None:
        """All mistakes in the settings are told at once, and none of them shows a value.

        Prerequisite: a configuration that works.
        Action: add a setting that does not exist, and give every setting that can be told to be wrong a wrong value.
        Expected: one `ConfigurationError`, whose problems name every one of them; neither its text nor its traceback
        holds the value; it comes out of a pickle as it went in, as it must where settings are read by other processes.
        If this fails: check that the settings derive from `BrokerSettings` and keep its configuration
        (`hide_input_in_errors`), that mistakes are found by the model and not first in `create`, and that the messages
        of your own validators name the setting and what it should be, never what it was.
        """
        fields = stage.plugin.settings.model_fields
        wrong: dict[str, Any] = {}
        errors = []
        for name, value in itertools.product(fields, _WRONG):
            alone = _refusal(stage, {name: value})
            if alone is not None:
                errors.append(alone)
                named = [other for other, field in fields.items() if _is_named(other, field, alone)]
                assert named, f"a wrong {name} is refused, and no setting is named: {alone.problems}"
                if name in named:
                    wrong.setdefault(name, value)
        error = _refusal(stage, {_UNKNOWN: _SHOWN} | wrong)
        assert error is not None, f"the setting {_UNKNOWN} was taken"
        missing = [name for name in wrong if not _is_named(name, fields[name], error)]
        assert not missing, f"the problems do not name {', '.join(missing)}"
        assert _UNKNOWN in str(error)
        assert len(error.problems) > len(wrong), "each mistake is a problem of its own"
        for one in (error, *errors):
            for text in (str(one), repr(one), *one.problems, *traceback.format_exception(one)):
                assert _SHOWN not in text, "the error shows a value"
        again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own, made a moment ago
        assert (type(again), again.problems) == (type(error), error.problems)

    @card(40)
    async def test_making_a_broker_does_nothing(self, stage: Stage) -> None:
        """Making a broker does nothing yet.

        Prerequisite: nobody can connect to the venue.
        Action: call `create`, inside the event loop, and in a thread that has none.
        Expected: it returns a broker, starts no thread and no task, and neither the broker's nor the settings' `repr`
        holds a secret.
        If this fails: move what opens, starts or looks up something from `create` (and from the broker's constructor)
        to `__aenter__`; make secrets `pydantic.SecretStr`, and take their values out where they are sent.
        """
        await stage.venue.disconnect()
        threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
        brokers = [stage.raw_broker()]
        started = {task.get_name() for task in asyncio.all_tasks() - tasks}
        assert not started, f"making a broker started tasks: {started}"
        brokers.append(_outside(stage.raw_broker))
        left = [thread.name for thread in threading.enumerate() if thread not in threads]
        assert not left, f"making a broker started threads: {left}"
        settings = plugin_settings(stage.plugin, stage.venue.config)
        for what in (*brokers, settings):
            for text in (repr(what), str(what)):
                shown = any(secret in text for secret in stage.venue.secrets)
                assert not shown, f"the repr of {type(what).__name__} shows a secret"

    @card(80)
    async def test_importing_imports_no_sdk(self, stage: Stage, tmp_path: Path) -> None:
        """Importing the plugin, and making a broker, imports no SDK.

        Prerequisite: a fresh Python process.
        Action: load the plugin, and make a broker where it is installed.
        Expected: no module of the distributions that the plugin's distribution requires beyond the core's own is
        imported, nor one of the suite's `sdk_modules`; no thread was started.
        If this fails: import the SDK inside the function that opens the connection. Every command of the service loads
        plugins, also to answer ``--help``; SDKs take seconds to import, touch the event loop, and start threads.
        """
        seen = await imported_afresh(self.plugin, stage.venue.config, self.sdk_modules, tmp_path)
        assert not seen.modules, f"the plugin imports {', '.join(seen.modules)} before a session is entered"
        assert not seen.threads, f"the plugin starts threads before a session is entered: {', '.join(seen.threads)}"


def _check_words(what: str, values: frozenset[Any], words: type[Enum]) -> None:
    assert isinstance(values, frozenset), f"{what} is no frozenset"
    assert values, f"{what} is empty"
    strange = [value for value in values if not isinstance(value, words)]
    assert not strange, f"{what} holds {strange}, which are no {words.__name__}"


def _refusal(stage: Stage, settings: dict[str, Any]) -> ConfigurationError | None:
    """What is said of the venue's configuration with these settings in it; None if it is taken."""
    config = stage.venue.config
    try:
        plugin_settings(stage.plugin, replace(config, settings={**config.settings, **settings}))
    except ConfigurationError as error:
        return error
    return None


def _is_named(name: str, field: FieldInfo, error: ConfigurationError) -> bool:
    """Whether a setting is named, as itself or as one of its aliases."""
    told = str(error).lower()
    aliases = [field.alias, field.validation_alias, *getattr(field.validation_alias, "choices", ())]
    return any(alias.lower() in told for alias in (name, *aliases) if isinstance(alias, str))


def _outside(call: Callable[[], Any]) -> Any:
    """The result of a call in a thread that has no event loop."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(call())
        except Exception as error:  # noqa: BLE001  # raised below, where the card sees it
            results.append(error)

    thread = threading.Thread(target=run, name="conformance without a loop")
    thread.start()
    thread.join()
    if isinstance(results[0], Exception):
        raise AssertionError("a broker cannot be made where no event loop runs") from results[0]
    return results[0]
