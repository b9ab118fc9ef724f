"""The service's own variables. Those of brokers and notifiers belong to their plugins.

Precedence, each source replacing the next one's value as a whole: command line, environment, ``.env``, ``exec.toml``
(``EXEC_CONFIG``, else ``./exec.toml``; the same names in lower case).
"""

from __future__ import annotations

import difflib
import functools
import os
import re
import socket
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

from exec_core.broker import BrokerConfig, Mode
from exec_core.config_file import problems, read_config_file
from exec_core.errors import ConfigurationError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from exec_service.accounts import Account, PrintableName, mock_account, parse_accounts
from exec_service.sources import from_dotenv, from_environment

__all__ = ["Account", "Mode", "Settings", "load_settings"]

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
COMMAND_LINE_ONLY = frozenset({"embedded"})
TEN_YEARS = 315_360_000.0

NO_ACCOUNT = (
    "No account is configured: add one to exec.toml ([accounts.<id>] with broker and mode) or to ACCOUNTS, "
    "or start with --use-mock-broker"
)


def _not_a_switch(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _pubsub_name(value: str) -> str:
    if not re.fullmatch(r"(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}", value):
        raise ValueError("must be 3 to 255 letters, digits or any of ._~+%-, begin with a letter and not with goog")
    return value


def _mongodb_uri(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith(("mongodb://", "mongodb+srv://")):
        raise ValueError("must begin with mongodb:// or mongodb+srv://")
    return value


def _database_name(value: str) -> str:
    if not re.fullmatch(r'[^/\\. "$*<>:|?\x00-\x1f]{1,63}', value):
        raise ValueError('must be 1 to 63 characters, without blanks and without any of /\\."$*<>:|?')
    return value


def _log_level(value: str) -> str:
    if value.upper() not in LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}")
    return value.upper()


@functools.cache
def _default_worker_id(pid: int) -> str:
    """Host, process and start time: new for every process, the same however often one process asks."""
    return f"{socket.gethostname()}-{pid}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"


Seconds = Annotated[float, BeforeValidator(_not_a_switch), Field(ge=0, le=TEN_YEARS, allow_inf_nan=False)]
Lease = Annotated[float, BeforeValidator(_not_a_switch), Field(ge=1, le=86_400, allow_inf_nan=False)]
Count = Annotated[int, BeforeValidator(_not_a_switch), Field(ge=0, le=1_000)]
Port = Annotated[int, BeforeValidator(_not_a_switch), Field(ge=1, le=65_535)]
PubSubName = Annotated[str, AfterValidator(_pubsub_name)]
Checked = Field(validate_default=True)


class Settings(BaseModel):
    """The service's settings, checked. `load_settings` makes them; called directly it reads no environment and no file.

    `embedded` comes from the command line only.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True, validate_default=True)

    embedded: bool = False
    use_mock_broker: bool = False

    mongodb_uri: Annotated[SecretStr | None, Checked] = None
    mongodb_database: Annotated[str, AfterValidator(_database_name)] = "mathematricks_trading"

    pubsub_project_id: PrintableName = "mathematricks-trader"
    trading_orders_topic: PubSubName = "trading-orders"
    trading_orders_subscription: PubSubName = "trading-orders-sub"
    execution_confirmations_topic: Annotated[PubSubName, Checked] = "execution-confirmations"

    order_timeout_seconds: Seconds = 60.0
    order_max_age_seconds: Seconds = 300.0
    max_retry_attempts: Count = 3
    unknown_settle_seconds: Seconds | None = None
    worker_lease_seconds: Lease = 15.0
    shutdown_timeout_seconds: Seconds = 25.0
    reconciliation_seconds: Seconds = 300.0
    startup_timeout_seconds: Seconds = 30.0

    worker_id: PrintableName = Field(default_factory=lambda: _default_worker_id(os.getpid()))
    environment: PrintableName | None = None
    log_dir: Path = Path("logs")
    log_level: Annotated[str, AfterValidator(_log_level)] = "INFO"
    exec_data_dir: Path = Path("exec-data")

    health_host: PrintableName = "127.0.0.1"
    health_port: Port | None = None

    accounts: Mapping[str, Account] = Field(default_factory=dict)

    @field_validator("mongodb_uri")
    @classmethod
    def _database_is_known(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None:
            return _mongodb_uri(value)
        if info.data.get("embedded") is False:
            raise ValueError("is missing: set it, or start with --embedded")
        return None

    @field_validator("execution_confirmations_topic")
    @classmethod
    def _topics_differ(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("trading_orders_topic"):
            raise ValueError("must differ from TRADING_ORDERS_TOPIC, or the service would read its own confirmations")
        return value

    @field_validator("accounts", mode="before")
    @classmethod
    def _accounts_are_usable(cls, value: object, info: ValidationInfo) -> Mapping[str, Account]:
        return parse_accounts(value, served_by_mock=bool(info.data.get("use_mock_broker")))

    @property
    def serves_any_account(self) -> bool:
        """Whether the mock serves whatever account an order names: it was asked for, and none is configured."""
        return self.use_mock_broker and not self.accounts

    @property
    def accounts_or_mock(self) -> Mapping[str, Account]:
        """The accounts by id, each as it is really served; empty only where the mock serves any.

        :raises ConfigurationError: no account is configured, and no mock was asked for.
        """
        if not self.accounts and not self.use_mock_broker:
            raise ConfigurationError(NO_ACCOUNT)
        return MappingProxyType({account_id: self._served(account) for account_id, account in self.accounts.items()})

    def account(self, account_id: str) -> Account | None:
        """The account with this id, as it is really served; None where an order for it is to be refused."""
        if self.serves_any_account:
            try:
                return mock_account(account_id)
            except ValidationError:  # no account can have such an id
                return None
        account = self.accounts.get(account_id)
        return self._served(account) if account is not None else None

    def account_names(self) -> Mapping[str, str]:
        """The id of each account by its name."""
        return MappingProxyType({account.name: account.id for account in self.accounts.values()})

    def broker_config(self, account: Account) -> BrokerConfig:
        """What `BrokerFactory.create_broker` needs to make the account's broker."""
        return self._served(account).broker_config()

    def _served(self, account: Account) -> Account:
        return account.served_by_mock() if self.use_mock_broker else account


def load_settings(*, serving: bool = False, **command_line: object) -> Settings:
    """The settings from all sources. None on the command line means "not given"; `serving` asks for an account too.

    :raises ConfigurationError: something is missing or wrong; all problems at once, never with a secret.
    """
    unknown = sorted(set(command_line) - set(Settings.model_fields))
    if unknown:
        raise TypeError(f"there are no settings {', '.join(unknown)}")
    values: dict[str, Any] = {}
    found: list[str] = []
    file_is_read = True
    try:
        table = {key.lower(): value for key, value in read_config_file().items()}
        found += _misspelt(table)
        values |= _own(table)
    except ConfigurationError as error:
        found += error.problems
        file_is_read = False
    try:
        values |= _own(from_dotenv())
    except (OSError, UnicodeDecodeError) as error:
        found.append(f".env: {error.strerror if isinstance(error, OSError) else 'is not UTF-8 text'}")
        file_is_read = False
    values |= _own(from_environment())
    values |= {name: value for name, value in command_line.items() if value is not None}
    settings = None
    try:
        settings = Settings(**values)
    except ValidationError as error:
        # What is missing may stand in the file that cannot be read: that is one problem, not two.
        found += [text for name, text in _sentences(error) if file_is_read or name in values]
    nobody = not values.get("accounts") and settings is not None and not settings.use_mock_broker
    if serving and nobody and file_is_read:
        found.append(NO_ACCOUNT)
    if settings is None or found:
        raise ConfigurationError(*found)
    return settings


def _own(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in values.items() if name in Settings.model_fields and name not in COMMAND_LINE_ONLY
    }


def _sentences(error: ValidationError) -> Iterable[tuple[str, str]]:
    """Each problem with the field that it is about, the variable spelt as in the environment."""
    for text in problems(error):
        name = re.split(r"[.:]", text, maxsplit=1)[0]
        yield name, name.upper() + text[len(name) :].replace(": Value error, ", ": ", 1)


def _misspelt(table: Mapping[str, Any]) -> Iterable[str]:
    """Names in ``exec.toml`` that are almost ours. Others are variables of plugins, which we cannot know."""
    ours = sorted(set(Settings.model_fields) - COMMAND_LINE_ONLY)
    first_words = {name.partition("_")[0] for name in ours}
    run_together = {name.replace("_", ""): name for name in ours}
    for key in table:
        if key in ours:
            continue
        if key in COMMAND_LINE_ONLY:
            yield f"exec.toml: {key} is given on the command line (--{key}), not in the file"
            continue
        meant = run_together.get(key.replace("_", ""))
        # A name that begins with another word than ours do is a plugin's, however much the rest is alike.
        if meant is None and difflib.get_close_matches(key.partition("_")[0], first_words, 1, 0.75):
            meant = next(iter(difflib.get_close_matches(key, ours, 1, 0.7)), None)
        if meant is not None:
            yield f"exec.toml: there is no {key}; did you mean {meant}?"
