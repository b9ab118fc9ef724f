"""A digest of what is traded: equal for every repetition of a message, different for anything else.

Values are compared, not spellings: 100 and 100.0 are one, and so are the two dialects. Times and ids do not count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from exec_core.identifiers import digest
from exec_core.instruments import Instrument
from exec_core.orders import OrderRequest

_LENGTH: Final = 40
#: What differs between two sendings of one message.
_TIMES_AND_IDS: Final = frozenset({"signal_id", "mathematricks_signal_id", "order_id", "created_at", "timestamp"})


def content_of(request: OrderRequest) -> str:
    """The digest of a well-formed order.

    The reference price counts where it may decide what is traded: there is no limit price.
    """
    parts = [
        request.account_id,
        request.strategy_name,
        _instrument(request.instrument),
        [[_instrument(leg.instrument), leg.side, leg.ratio] for leg in request.legs],
        request.side,
        request.quantity,
        request.cash_quantity,
        request.order_type,
        request.limit_price,
        request.stop_price,
        None if request.order_type.has_limit else request.reference_price,
        request.time_in_force,
        request.product,
        request.variety,
        request.stop_loss,
        request.take_profit,
    ]
    return digest("order", canonical(parts), length=_LENGTH)


def content_of_invalid(message: Mapping[str, Any]) -> str:
    """The digest of a message that is no order: of its whole body, without times and ids."""
    kept = {name: value for name, value in message.items() if name not in _TIMES_AND_IDS}
    return digest("invalid", canonical(kept), length=_LENGTH)


def _instrument(instrument: Instrument) -> list[Any]:
    return [
        instrument.symbol,
        instrument.asset_class,
        instrument.exchange,
        instrument.currency,
        instrument.expiry,
        instrument.strike,
        instrument.right,
        instrument.multiplier,
        instrument.underlying,
    ]


def canonical(value: Any) -> str:
    """One text for all JSON values that are equal as values."""
    return _ENCODER.encode(_normal(value))


_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _normal(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):  # most are
        return value
    if isinstance(value, int | Decimal):
        return {"number": _number(Decimal(value))}
    if isinstance(value, Mapping):
        # In a list, so that an object of the message is never taken for a number of ours.
        return [{name: _normal(item) for name, item in value.items()}]
    if isinstance(value, list | tuple):
        return ["list", *[_normal(item) if item is not None else None for item in value]]
    return value


def _number(value: Decimal) -> str:
    """Without trailing zeros; unlike `Decimal.normalize` it never rounds."""
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    kept = text.rstrip("0")
    if not kept or not isinstance(exponent, int):  # JSON has no NaN and no infinity
        return "0"
    return f"{'-' if sign else ''}{kept}e{exponent + len(text) - len(kept)}"
