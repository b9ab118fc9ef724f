"""What a message says is traded: one instrument, or a combination's legs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from exec_core.instruments import AssetClass, Instrument, Right
from exec_core.orders import Leg
from exec_core.sides import Side

from exec_service.strict_json import shown
from exec_service.wire_fields import Fields, Zero

SIDES: Final[Mapping[str, Side]] = MappingProxyType({side.value: side for side in Side})
KINDS: Final[Mapping[str, AssetClass]] = MappingProxyType({kind.value: kind for kind in AssetClass})
RIGHTS: Final[Mapping[str, Right]] = MappingProxyType(
    {"C": Right.CALL, "P": Right.PUT, "CALL": Right.CALL, "PUT": Right.PUT}
)
MOST_LEGS: Final = 20
LONGEST_SYMBOL: Final = 64

#: What says which contract it is, per kind; the other kinds have none.
_CONTRACT: Final[Mapping[AssetClass, tuple[str, ...]]] = MappingProxyType(
    {AssetClass.OPTION: ("expiry", "strike", "right"), AssetClass.FUTURE: ("expiry",)}
)
_LEG_FIELDS: Final = frozenset(
    ("symbol", "exchange", "currency", "expiry", "strike", "right", "multiplier", "action", "side", "quantity")
)


@dataclass(frozen=True, slots=True)
class Traded:
    """What could be read; `instrument` is None where that was not enough."""

    kind: AssetClass | None
    instrument: Instrument | None
    legs: tuple[Leg, ...]
    is_combination: bool


def read_traded(fields: Fields, symbol: str | None) -> Traded:
    """The instrument and legs of the message, in the order's words."""
    kind = fields.word("instrument_type", KINDS)
    if kind is None and "instrument_type" not in fields.bad:
        kind = AssetClass.STOCK
    expiry = fields.expiry("expiry", months=kind is AssetClass.FUTURE)
    strike = fields.number("strike", zero=Zero.ABSENT)
    right = fields.word("right", RIGHTS)
    contract = {"expiry": expiry, "strike": strike, "right": right}
    exchange = fields.upper("exchange", LONGEST_SYMBOL)
    currency = fields.upper("currency", LONGEST_SYMBOL)
    multiplier = fields.number("multiplier")
    underlying = fields.text("underlying", LONGEST_SYMBOL)
    raw_legs = fields.take("legs")
    is_combination = isinstance(raw_legs, list) and bool(raw_legs)
    if kind is None:
        return Traded(None, None, (), is_combination)
    _check_contract(fields, kind, contract, exchange, is_combination)
    whole = Instrument(
        symbol or "?",
        kind,
        exchange,
        currency,
        expiry,
        strike,
        right,
        multiplier,
        underlying,
    )
    return Traded(kind, whole if symbol else None, _read_legs(fields, raw_legs, kind, whole), is_combination)


def _check_contract(
    fields: Fields, kind: AssetClass, contract: Mapping[str, object], exchange: str | None, is_combination: bool
) -> None:
    """Say what of the contract's fields is missing, or has no business with this kind."""
    wanted = _CONTRACT.get(kind, ())
    given = [name for name, value in contract.items() if value is not None]
    stray = [name for name in given if name not in wanted]
    if stray:
        default = "" if fields.values.get("instrument_type") else " (the default)"
        fields.refuse(
            "instrument_type",
            f"{kind}{default} contradicts {' and '.join(stray)}: say OPTION or FUTURE, or leave {_them(stray)} out",
        )
    missing = [name for name in wanted if contract[name] is None and name not in fields.bad]
    if missing and not is_combination and exchange is None:
        fields.refuse(
            missing[0] if len(missing) == 1 else " and ".join(missing),
            f"must be given for {kind} (or the venue's own symbol with its exchange)",
        )
    if is_combination and not wanted:
        fields.refuse("legs", f"need instrument_type OPTION or FUTURE, got {kind}")


def _them(names: list[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _read_legs(fields: Fields, raw: object, kind: AssetClass, whole: Instrument) -> tuple[Leg, ...]:
    """The legs of a combination; what a leg does not say, the order's own fields say."""
    if raw is None:
        return ()
    if not isinstance(raw, list):
        fields.refuse("legs", f"must be a list of legs, got {shown(raw)}")
        return ()
    if len(raw) > MOST_LEGS:
        fields.refuse("legs", f"must be at most {MOST_LEGS}, got {len(raw)}")
        return ()
    legs = [_read_leg(fields, number, item, kind, whole) for number, item in enumerate(raw)]
    return tuple(leg for leg in legs if leg is not None)


def _read_leg(fields: Fields, number: int, raw: object, kind: AssetClass, whole: Instrument) -> Leg | None:
    if not isinstance(raw, dict):
        fields.refuse(f"legs[{number}]", f"must be an object, got {shown(raw)}")
        return None
    leg = Fields(raw, f"legs[{number}].", fields.problems)
    side, spelled = leg.word("action", SIDES), leg.word("side", SIDES)
    if side is not None and spelled is not None and side is not spelled:
        leg.refuse("action", f"{side} and side {spelled} contradict each other: send one of them")
    side = leg.require("action", side or spelled, "give BUY or SELL") if "side" not in leg.bad else None
    ratio = leg.number("quantity")
    if ratio is not None and ratio != ratio.to_integral_value():
        leg.refuse("quantity", f"must be a whole number, got {shown(raw['quantity'])}")
    leg.require("quantity", ratio, "how many of the leg one combination holds")
    expiry = leg.expiry("expiry", months=kind is AssetClass.FUTURE) or whole.expiry
    strike = leg.number("strike", zero=Zero.ABSENT) or whole.strike
    right = leg.word("right", RIGHTS) or whole.right
    contract = {"expiry": expiry, "strike": strike, "right": right}
    exchange = leg.upper("exchange", LONGEST_SYMBOL) or whole.exchange
    wanted = _CONTRACT.get(kind, ())
    own_symbol = leg.text("symbol", LONGEST_SYMBOL)
    if own_symbol is None or exchange is None:  # else it is the venue's own symbol
        for name in wanted:
            leg.require(name, contract[name], f"a leg of {kind} needs it")
    for name in ("strike", "right"):
        if name not in wanted and contract[name] is not None and wanted:
            leg.refuse(name, f"has no meaning for {kind}: leave it out")
    currency = leg.upper("currency", LONGEST_SYMBOL) or whole.currency
    multiplier = leg.number("multiplier") or whole.multiplier
    if leg.bad or side is None or ratio is None:
        return None
    symbol = own_symbol or whole.underlying or whole.symbol
    instrument = Instrument(symbol, kind, exchange, currency, expiry, strike, right, multiplier, whole.underlying)
    return Leg(instrument, side, ratio)


def has_further_fields(raw_legs: object) -> bool:
    """Whether a leg has fields that are not read, and so must be kept."""
    return isinstance(raw_legs, list) and any(isinstance(leg, dict) and leg.keys() - _LEG_FIELDS for leg in raw_legs)
