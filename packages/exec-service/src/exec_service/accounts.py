"""A configured account: which broker serves it, in which mode, with which settings and limits.

Accounts come from the variable ``ACCOUNTS`` (JSON) or the tables ``[accounts.<id>]`` of ``exec.toml``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

from exec_core.broker import BrokerConfig, Mode
from exec_core.identifiers import AccountId
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

MOCK = "mock"
LONGEST_NAME = 128

Place = tuple[str | int, ...]


def printable(value: str) -> str:
    """Check that `value` is a usable identifier. :raises ValueError: it is not."""
    if not 1 <= len(value) <= LONGEST_NAME or not value.isprintable():
        raise ValueError(f"must be 1 to {LONGEST_NAME} printable characters")
    return value


PrintableName = Annotated[str, AfterValidator(printable)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _one_of(*words: str) -> Callable[[object], bool]:
    return lambda value: value in words


_NUMBER = (_is_number, "a number that is not negative")
_TEXT = (lambda value: isinstance(value, str) and bool(value), "a name")

# The reserved names of limits. They are checked and kept; a later release enforces them.
LIMITS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "max_order_quantity": _NUMBER,
    "max_order_value": _NUMBER,
    "max_price_deviation": _NUMBER,
    "max_orders_per_minute": _NUMBER,
    "max_open_orders": _NUMBER,
    "max_open_value": _NUMBER,
    "max_daily_loss": _NUMBER,
    "duplicate_window_seconds": _NUMBER,
    "allow_short": (lambda value: isinstance(value, bool), "true or false"),
    "trading_hours": (_one_of("refuse", "hold", "ignore"), "refuse, hold or ignore"),
    "exit_exceeds_position": (_one_of("allow", "refuse"), "allow or refuse"),
    "limits_currency": _TEXT,
    "session_timezone": _TEXT,
}


def _limits(value: object) -> Mapping[str, Any] | Literal["none"]:
    if value == "none":
        return "none"
    if not isinstance(value, Mapping):
        raise ValueError('must be a table of limits, or "none"')
    found: list[tuple[Place, str]] = []
    for name, limit in value.items():
        check, wanted = LIMITS.get(name, (None, ""))
        if check is None:
            found.append(((name,), f"there is no limit of this name; there are: {', '.join(LIMITS)}"))
        elif limit != "none" and not check(limit):
            found.append(((name,), f'must be {wanted}, or "none"'))
    if found:
        raise _refusal(found)
    return dict(value)


class Account(BaseModel):
    """One account. `settings` overrides the plugin's variables for it and may hold secrets: it is never shown."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    id: PrintableName
    name: PrintableName
    broker: PrintableName
    mode: Annotated[Mode | None, Field(validate_default=True)] = None
    settings: Mapping[str, Any] = Field(default_factory=dict, repr=False)
    limits: Annotated[Mapping[str, Any] | Literal["none"], PlainValidator(_limits)] = Field(default_factory=dict)
    limits_currency: PrintableName | None = None
    session_timezone: PrintableName | None = None

    @field_validator("mode")
    @classmethod
    def _mode_fits_broker(cls, mode: Mode | None, info: ValidationInfo) -> Mode | None:
        """Real money and paper money are never told apart by guessing; the mock has neither."""
        broker = info.data.get("broker")
        if broker is None:  # refused already
            return mode
        if broker == MOCK:
            if mode not in (None, Mode.MOCK):
                raise ValueError("the mock broker has neither live nor paper money: leave mode out, or say mock")
            return Mode.MOCK
        if mode is Mode.MOCK:
            raise ValueError(f"must be live or paper for the broker {broker}")
        if mode is None and not (info.context or {}).get("served_by_mock"):
            raise ValueError(f"is missing: say live or paper for the broker {broker}")
        return mode

    def served_by_mock(self) -> Account:
        """This account as the mock serves it: settings made for another broker are left out."""
        kept = self.settings if self.broker == MOCK else {}
        return self.model_copy(update={"broker": MOCK, "mode": Mode.MOCK, "settings": kept})

    def broker_config(self) -> BrokerConfig:
        """What `BrokerFactory.create_broker` needs to make this account's broker."""
        return BrokerConfig(self.broker, AccountId(self.id), self.name, self.mode, self.settings)


def mock_account(account_id: str) -> Account:
    """An account that nobody configured, served by the mock. :raises ValueError: no account can have this id."""
    return Account(id=account_id, name=account_id, broker=MOCK)


def parse_accounts(value: object, *, served_by_mock: bool = False) -> dict[str, Account]:
    """The accounts of a table or of JSON text, by id. Where the mock serves all, broker and mode may be missing.

    :raises ValueError: it is no table of accounts; a pydantic `ValidationError`, with all mistakes, if one is wrong.
    """
    tables = _table(_parsed(value) if isinstance(value, str) else value)
    accounts: dict[str, Account] = {}
    found: list[tuple[Place, str]] = []
    for account_id, raw in tables.items():
        if isinstance(raw, Account):
            accounts[account_id] = raw
        elif not isinstance(raw, Mapping):
            found.append(((account_id,), "must be a table with broker and mode"))
        elif "id" in raw:
            found.append(((account_id, "id"), "the table's own name is the id: leave it out"))
        else:
            defaults = {"broker": MOCK} if served_by_mock else {}
            try:
                accounts[account_id] = Account.model_validate(
                    {**defaults, "name": account_id, **raw, "id": account_id},
                    context={"served_by_mock": served_by_mock},
                )
            except ValidationError as error:
                found += [((account_id, *item["loc"]), item["msg"]) for item in error.errors(include_input=False)]
    found += _ambiguous_names(tables)
    if found:
        raise _refusal(found)
    return accounts


def _table(value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError('must be a table of accounts: {"<id>": {"broker": "...", "mode": "..."}}')
    return value


def _parsed(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error}") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets a key stand twice, and Python would silently take the last one: an account would vanish."""
    table = dict(pairs)
    if len(table) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        raise ValueError(f"{', '.join(twice)} stands twice in the same table")
    return table


def _ambiguous_names(tables: Mapping[str, Any]) -> Iterable[tuple[Place, str]]:
    """Orders may name an account by id or by name: one word must never mean two accounts."""
    owners: dict[str, str] = {}
    for account_id, raw in tables.items():
        name = raw.name if isinstance(raw, Account) else raw.get("name") if isinstance(raw, Mapping) else None
        if not isinstance(name, str) or name == account_id:
            continue
        if name in tables:
            yield (account_id, "name"), f"{name!r} is the id of another account"
        elif name in owners:
            yield (account_id, "name"), f"{name!r} is the name of {owners[name]} too"
        owners.setdefault(name, account_id)


def _refusal(found: Iterable[tuple[Place, str]]) -> ValidationError:
    details = [
        InitErrorDetails(
            type=PydanticCustomError("refused", "{text}", {"text": text.removeprefix("Value error, ")}),
            loc=place,
            input=None,
        )
        for place, text in found
    ]
    return ValidationError.from_exception_data("accounts", details, hide_input=True)
