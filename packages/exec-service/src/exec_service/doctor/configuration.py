"""The configuration as `doctor` sees it: every problem as a check, and whatever can be used in spite of them.

The service refuses to start on the first problem; here all that is right is kept, so that the rest can be looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from exec_core.broker import BrokerConfig, BrokerPlugin
from exec_core.config_file import read_config_file
from exec_core.errors import ConfigurationError, PluginError
from exec_core.plugins import installed_plugins, load_broker_plugin, plugin_settings
from pydantic import ValidationError

from exec_service.accounts import Account, mock_account
from exec_service.checks import Check, Outcome
from exec_service.doctor.threads import described
from exec_service.redaction import Redactor
from exec_service.settings import COMMAND_LINE_ONLY, Settings, load_settings
from exec_service.sources import from_dotenv, from_environment

#: The component of these checks: if one failed, the service does not start.
COMPONENT: Final = "configuration"
CORRECT_IT: Final = "Correct it on the command line, in the environment, .env or exec.toml, whichever has it"
CORRECT_ACCOUNT: Final = "Correct the account in exec.toml or ACCOUNTS, or the plugin's variables"
#: Where store and bus are: with one of these wrong, others than those meant would be looked at.
PLACES: Final = frozenset(
    {
        "mongodb_uri",
        "mongodb_database",
        "pubsub_project_id",
        "trading_orders_topic",
        "trading_orders_subscription",
        "execution_confirmations_topic",
    }
)


@dataclass(frozen=True, slots=True)
class Served:
    """An account whose plugin and settings can be used."""

    account: Account
    config: BrokerConfig
    plugin: BrokerPlugin


@dataclass(frozen=True, slots=True)
class Configuration:
    """What can be used of it. `unusable_places`: variables without which store and bus cannot be found."""

    settings: Settings
    checks: tuple[Check, ...]
    unusable_places: frozenset[str]
    accounts: tuple[Served, ...]


def read(redactor: Redactor, *, embedded: bool, use_mock_broker: bool | None) -> Configuration:
    """The configuration for these options of the command line; `redactor` learns its secrets."""
    checks: list[Check] = []
    dropped: set[str] = set()
    command_line: dict[str, Any] = {"embedded": embedded, "use_mock_broker": use_mock_broker}
    try:
        settings = load_settings(serving=True, **command_line)
    except ConfigurationError as error:
        checks += [Check(COMPONENT, "settings", Outcome.FAILED, text, CORRECT_IT) for text in error.problems]
        settings, dropped = _usable(command_line, redactor)
    redactor.add_settings(settings)
    if not checks:
        where = f"in {settings.exec_data_dir}" if embedded else f"in MongoDB, database {settings.mongodb_database}"
        accounts = "the mock serves any account" if settings.serves_any_account else ", ".join(settings.accounts)
        checks.append(Check(COMPONENT, "settings", Outcome.OK, f"Usable. Accounts: {accounts}. The store is {where}"))
    served = []
    for account in _accounts(settings):
        found = _served(settings, account, checks, redactor)
        if found is not None:
            served.append(found)
    if embedded:
        dropped -= {"mongodb_uri", "mongodb_database", "pubsub_project_id"}
    unusable = frozenset(name.upper() for name in dropped & PLACES)
    return Configuration(settings, tuple(checks), unusable, tuple(served))


def _accounts(settings: Settings) -> list[Account]:
    if settings.serves_any_account:
        return [mock_account("any")]
    return [] if not settings.accounts else list(settings.accounts_or_mock.values())


def _served(settings: Settings, account: Account, checks: list[Check], redactor: Redactor) -> Served | None:
    """The account with its plugin, if both can be used; what is found is added to `checks`."""
    name = f"account {account.id}"
    config = settings.broker_config(account)
    try:
        plugin = load_broker_plugin(config.broker)
        redactor.add_settings(plugin_settings(plugin, config))
    except ConfigurationError as error:
        checks += [Check(COMPONENT, name, Outcome.FAILED, text, CORRECT_ACCOUNT) for text in error.problems]
        return None
    except PluginError as error:
        fix = f"Install the broker {config.broker} (or its newer release), or correct the account's broker"
        checks.append(Check(COMPONENT, name, Outcome.FAILED, str(error), fix))
        return None
    except Exception as error:  # noqa: BLE001  # foreign code: whatever it raises, the others are looked at
        text = f"The settings of the broker {config.broker} fail: {described(error)}"
        checks.append(Check(COMPONENT, name, Outcome.FAILED, text, f"Tell the author of the plugin {config.broker}"))
        return None
    installed = installed_plugins()[config.broker]
    text = f"Served by {config.broker} ({installed.distribution} {installed.version}), mode {config.mode}"
    checks.append(Check(COMPONENT, name, Outcome.OK, text))
    return Served(account, config, plugin)


def _usable(command_line: Mapping[str, Any], redactor: Redactor) -> tuple[Settings, set[str]]:
    """The settings with defaults for what is wrong, and the names of those."""
    values = _values(command_line)
    uri = values.get("mongodb_uri")
    if isinstance(uri, str):
        redactor.add(uri)  # it may be what is wrong, and then it is no secret of the settings
    dropped: set[str] = set()
    settings = None
    while settings is None:
        try:
            # That a URI is missing is no reason to do without everything else: embedded settings need none.
            settings = Settings(**{**values, "embedded": True})
        except ValidationError as error:
            for item in error.errors(include_input=False, include_url=False, include_context=False):
                dropped.add(_drop(values, tuple(item["loc"])))
    embedded = bool(command_line["embedded"])
    if not embedded and settings.mongodb_uri is None:
        dropped.add("mongodb_uri")
    return settings.model_copy(update={"embedded": embedded}), dropped


def _drop(values: dict[str, Any], place: tuple[int | str, ...]) -> str:
    """Take out of `values` what is wrong at `place`: of the accounts only the one, of all else the whole."""
    name = str(place[0]) if place else ""
    accounts = values.get(name)
    if name == "accounts" and isinstance(accounts, Mapping) and len(place) > 1:
        values[name] = {key: table for key, table in accounts.items() if key != place[1]}
    elif name in values:
        del values[name]
    else:
        # Settings that contradict one another, without a name to blame: none of them can be told to be right.
        values.clear()
    return name


def _values(command_line: Mapping[str, Any]) -> dict[str, Any]:
    """What the sources say, as far as they can be read; the strongest last, as `load_settings` has them."""
    sources: tuple[Callable[[], dict[str, Any]], ...] = (
        lambda: {name.lower(): value for name, value in read_config_file().items()},
        from_dotenv,
        from_environment,
        lambda: {name: value for name, value in command_line.items() if value is not None},
    )
    values: dict[str, Any] = {}
    for source in sources:
        try:
            found = source()
        except (ConfigurationError, OSError, UnicodeDecodeError):
            continue  # it is told already, by `load_settings`
        values |= {name: value for name, value in found.items() if name in Settings.model_fields}
    for name in COMMAND_LINE_ONLY:
        values.pop(name, None)
    if isinstance(values.get("accounts"), str):
        try:
            values["accounts"] = json.loads(values["accounts"])
        except ValueError:
            del values["accounts"]
    return values
