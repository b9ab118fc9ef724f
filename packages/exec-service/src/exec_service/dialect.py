"""Two spellings of one thing: the specification's field names, and those of the producer it was written for.

Where both are given they must agree: a message that contradicts itself is refused, not guessed at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from exec_core.orders import Role
from exec_core.sides import Side

from exec_service.strict_json import shown
from exec_service.wire_fields import Fields
from exec_service.wire_instrument import LONGEST_SYMBOL, SIDES

_DIRECTIONS: Final = MappingProxyType({"LONG": "LONG", "SHORT": "SHORT"})
_ENTRY, _EXIT = "ENTRY", "EXIT"
_ACTIONS: Final = MappingProxyType({"BUY": "BUY", "SELL": "SELL", _ENTRY: _ENTRY, _EXIT: _EXIT})
_INTENTS: Final = MappingProxyType({"ENTRY": _ENTRY, "SCALE_IN": _ENTRY, "EXIT": _EXIT, "SCALE_OUT": _EXIT})
#: What opens or closes a position that points this way.
_SIDES: Final[Mapping[tuple[str, str], Side]] = MappingProxyType(
    {
        (_ENTRY, "LONG"): Side.BUY,
        (_EXIT, "SHORT"): Side.BUY,
        (_ENTRY, "SHORT"): Side.SELL,
        (_EXIT, "LONG"): Side.SELL,
    }
)


def read_symbol(fields: Fields) -> str | None:
    """``symbol``, else ``instrument``."""

    def read(name: str) -> str | None:
        return fields.text(name, LONGEST_SYMBOL)

    return _either(fields, "symbol", "instrument", read, "give what is to be traded")


def read_strategy(fields: Fields) -> str | None:
    """``strategy_name``, else ``strategy_id``, which holds the name as well."""
    return _either(fields, "strategy_name", "strategy_id", fields.text, "give the strategy's name")


def read_account(fields: Fields, accounts: Mapping[str, str]) -> str | None:
    """``account_id``, else ``account``: an id, else the name of one of `accounts` (name to id)."""
    ids = set(accounts.values())

    def read(name: str) -> str | None:
        value = fields.text(name)
        if value is None or name == "account_id" or value in ids:
            return value
        return accounts.get(value, value)

    return _either(fields, "account_id", "account", read, "give the account's id")


def _either(fields: Fields, name: str, other: str, read: Callable[[str], str | None], wanted: str) -> str | None:
    first, second = read(name), read(other)
    if first is not None and second is not None and first != second:
        values = f"{name} {shown(fields.values[name])} and {other} {shown(fields.values[other])}"
        fields.problems.append(f"{values} contradict each other: send one of them")
        fields.bad.update((name, other))
        return None
    if other in fields.bad:
        return None
    return fields.require(name, second if first is None else first, wanted)


def read_side(fields: Fields, signal_type: str | None) -> Side | None:
    """``side``; ``action`` BUY or SELL; or ``action`` ENTRY or EXIT with ``direction`` LONG or SHORT.

    BUY or SELL stands on its own: an exit may come as direction LONG, action SELL.
    """
    side = fields.word("side", SIDES)
    action = fields.word("action", _ACTIONS)
    direction = fields.word("direction", _DIRECTIONS)
    if fields.bad & {"side", "action", "direction"}:
        return None
    acted = SIDES.get(action or "")
    if acted is not None:
        if side is not None and side is not acted:
            _contradict(fields, f"side {side} and action {action} contradict each other: send one of them")
            return None
        return acted
    intent = action or _INTENTS.get((signal_type or "").upper(), _ENTRY)
    pointed = None if direction is None else _SIDES[intent, direction]
    if side is not None:
        if pointed is not None and pointed is not side:
            what = f"{'action' if action else 'signal_type'} {intent}"
            known = action or signal_type
            with_what = f" with {what}" if known else ", unless it is an exit (signal_type EXIT)"
            _contradict(fields, f"side {side} contradicts direction {direction}{with_what}")
            return None
        return side
    if action is not None:
        if pointed is None:
            fields.refuse("direction", f"is missing: action {action} needs LONG or SHORT, or send a side")
        return pointed
    return fields.require("side", None, "give BUY or SELL")


def _contradict(fields: Fields, sentence: str) -> None:
    fields.bad.add("side")
    fields.problems.append(sentence)


def read_role(fields: Fields, signal_type: str | None) -> Role:
    """What the order is for, as far as the message tells; it never changes what is traded."""
    intent = _INTENTS.get((signal_type or "").upper())
    if intent is None:
        action = fields.values.get("action")
        intent = action.strip().upper() if isinstance(action, str) else None
    return Role.EXIT if intent == _EXIT else Role.ENTRY
