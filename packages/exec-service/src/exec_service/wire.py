"""The message: bytes to an order, or to a refusal that says everything that is wrong with them, in one sentence.

With `dialect`, `wire_instrument` and `wire_fields` it is the only place that knows the wire's field names. It does no
I/O, and judges neither age nor account: both need more than the message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from exec_core.identifiers import AccountId, OrderKey, SignalId
from exec_core.instruments import AssetClass
from exec_core.orders import Order, OrderRequest, OrderType, TimeInForce

from exec_service import content, dialect
from exec_service.records import Accepted, Invalid, OrderRecord, Parsed, Source, Unreadable
from exec_service.strict_json import Unusable, load_object, shown, storable
from exec_service.wire_fields import Fields, Zero
from exec_service.wire_instrument import Traded, has_further_fields, read_traded

LONGEST_SIGNAL_ID: Final = 128
MOST_MESSAGES_PER_SIGNAL: Final = 1000
LONGEST_FOREIGN_ID: Final = 256
LONGEST_TIMEOUT: Final = Decimal("1e9")
FUTURE_ALLOWED: Final = timedelta(seconds=60)

_ORDER_TYPES: Final = MappingProxyType({kind.value: kind for kind in OrderType})
_TIMES_IN_FORCE: Final = MappingProxyType({time.value: time for time in TimeInForce})
#: Read, and kept with the order all the same, since what they say cannot be seen in it.
_READ_AND_KEPT: Final = frozenset({"direction", "action"})


def parse(
    data: bytes,
    *,
    message_id: str | None,
    published_at: datetime | None,
    received_at: datetime,
    sequence: int,
    attributes: Mapping[str, str],
    environment: str | None,
    accounts: Mapping[str, str],
) -> Parsed:
    """What the message is. Never raises: whatever the bytes, the answer is one of the three.

    `environment` is ours, None = any will do; `accounts` maps the configured accounts' names to their ids.
    """
    try:
        message = load_object(data)
    except Unusable as error:
        return Unreadable(str(error))
    signal_id = message.get("signal_id")
    problem = _signal_id_problem(signal_id)
    if problem is not None or not isinstance(signal_id, str):
        return Unreadable(problem or "", signal_id=_readable(signal_id))
    fields = Fields(message)
    draft = _read(fields, accounts, received_at, environment)
    request = None if fields.problems else _request(fields, SignalId(signal_id), draft)
    source = Source(
        content=content.content_of_invalid(message) if request is None else content.content_of(request),
        received_at=received_at,
        message_id=message_id,
        published_at=published_at,
        created_at=draft.created_at,
        timeout_seconds=draft.values["timeout_seconds"],
        source_order_id=draft.values["source_order_id"],
        mathematricks_signal_id=draft.mathematricks_signal_id,
        signal_type=draft.signal_type,
        environment=draft.environment,
        extra=_extra(message, fields.used, attributes),
    )
    if request is not None:
        return Accepted(OrderRecord(Order.new(request), source, sequence))
    key = OrderKey(SignalId(signal_id), _key_index(message, draft.values["leg_index"]))
    return Invalid(key, "; ".join(fields.problems), source, sequence, draft.known())


@dataclass(frozen=True, slots=True)
class _Draft:
    """What could be read: `values` under the documents' names, None where nothing could."""

    values: Mapping[str, Any]
    traded: Traded
    created_at: datetime | None
    signal_type: str | None
    mathematricks_signal_id: str | None
    environment: str | None

    def known(self) -> dict[str, Any]:
        """The fields that could be read, as plain values."""
        known = {name: value for name, value in self.values.items() if value is not None}
        return {name: value.value if isinstance(value, StrEnum) else value for name, value in known.items()}


def _read(fields: Fields, accounts: Mapping[str, str], received_at: datetime, environment: str | None) -> _Draft:
    """Read every field; what is wrong with them is in `fields.problems` afterwards."""
    signal_type = fields.text("signal_type")
    if signal_type is not None and signal_type.strip().upper() == "CANCEL":
        fields.refuse("signal_type", "CANCEL is no order and places nothing: to cancel one, run `exec-service cancel`")
    account_id = dialect.read_account(fields, accounts)
    strategy_name = dialect.read_strategy(fields)
    symbol = dialect.read_symbol(fields)
    side = dialect.read_side(fields, signal_type)
    traded = read_traded(fields, symbol)
    order_type = fields.word("order_type", _ORDER_TYPES)
    fields.require("order_type", order_type, f"give one of {', '.join(_ORDER_TYPES)}")
    # A combination's prices are net, and oil futures had negative ones in April 2020.
    negative = traded.is_combination or traded.kind is AssetClass.FUTURE
    leg_index, total_legs = _place_in_signal(fields)
    values = {
        "account_id": account_id,
        "strategy_name": strategy_name,
        "symbol": symbol,
        "instrument_type": traded.kind,
        "side": side,
        **_quantities(fields),
        "order_type": order_type,
        **_prices(fields, order_type, negative=negative, is_combination=traded.is_combination),
        "time_in_force": fields.word("time_in_force", _TIMES_IN_FORCE),
        "leg_index": leg_index,
        "total_legs": total_legs,
        "product": fields.upper("product"),
        "variety": fields.upper("variety"),
        "stop_loss": fields.number("stop_loss", zero=Zero.ABSENT, negative=negative),
        "take_profit": fields.number("take_profit", zero=Zero.ABSENT, negative=negative),
        "timeout_seconds": fields.number("timeout_seconds", zero=Zero.KEPT, highest=LONGEST_TIMEOUT),
        "role": dialect.read_role(fields, signal_type),
        "source_order_id": _foreign_id(fields, "order_id"),
    }
    created_at = _created_at(fields, received_at)
    mathematricks_signal_id = _foreign_id(fields, "mathematricks_signal_id")
    return _Draft(values, traded, created_at, signal_type, mathematricks_signal_id, _environment(fields, environment))


def _request(fields: Fields, signal_id: SignalId, draft: _Draft) -> OrderRequest | None:
    """The order; None, and one problem more, if the domain refuses what this module let through."""
    values, instrument = draft.values, draft.traded.instrument
    try:
        if instrument is None:
            raise ValueError("what is to be traded could not be read")
        return OrderRequest(
            signal_id=signal_id,
            account_id=AccountId(values["account_id"]),
            strategy_name=values["strategy_name"],
            instrument=instrument,
            legs=draft.traded.legs,
            **{name: values[name] for name in _SAME_IN_REQUEST},
        )
    except ValueError as error:
        fields.problems.append(str(error))
        return None


_SAME_IN_REQUEST: Final = (
    "side",
    "order_type",
    "quantity",
    "cash_quantity",
    "limit_price",
    "stop_price",
    "reference_price",
    "time_in_force",
    "leg_index",
    "total_legs",
    "product",
    "variety",
    "stop_loss",
    "take_profit",
    "role",
)


def _signal_id_problem(value: object) -> str | None:
    """Why the message cannot become an order of that name, not even a refused one; None if it can."""
    if value is None:
        return "signal_id is missing: without it nothing can be confirmed"
    if not isinstance(value, str):
        return f"signal_id must be text, got {shown(value)}"
    if not value.strip():
        return "signal_id is empty"
    if len(value) > LONGEST_SIGNAL_ID:
        return f"signal_id must be at most {LONGEST_SIGNAL_ID} characters long, got {len(value)}"
    if not value.isprintable():
        return f"signal_id must be printable characters, got {shown(value)}"
    if "#" in value:
        return f"signal_id must not contain #, which is kept for the service's own orders, got {shown(value)}"
    return None


def _readable(signal_id: object) -> str | None:
    """The unusable signal id, where it can help a person to find the message's sender."""
    if not isinstance(signal_id, str) or not signal_id.isprintable():
        return None
    return signal_id[:LONGEST_SIGNAL_ID] or None


def _quantities(fields: Fields) -> dict[str, Decimal | None]:
    """A quantity or an amount of money, not both."""
    quantity, cash = fields.number("quantity"), fields.number("cash_quantity")
    if quantity is not None and cash is not None:
        fields.refuse("quantity", "and cash_quantity contradict each other: send one of them")
    elif cash is None and "cash_quantity" not in fields.bad:
        fields.require("quantity", quantity, "give how much is to be traded (or a cash_quantity)")
    return {"quantity": quantity, "cash_quantity": cash}


def _prices(
    fields: Fields, order_type: OrderType | None, *, negative: bool, is_combination: bool
) -> dict[str, Decimal | None]:
    """The prices that the order's type asks for, and no other; ``price`` is what the producer saw."""
    price = fields.number("price", zero=Zero.ABSENT, negative=negative)
    prices: dict[str, Decimal | None] = {}
    for name, wanted in (
        ("limit_price", order_type is not None and order_type.has_limit),
        ("stop_price", order_type is not None and order_type.has_stop),
    ):
        # A combination may well be worth nothing net.
        zero = Zero.KEPT if wanted and is_combination else Zero.ABSENT
        value = fields.number(name, zero=zero, negative=negative)
        if value is None and name == "limit_price" and order_type is OrderType.LIMIT and name not in fields.bad:
            value = price
        prices[name] = value
        if order_type is None:
            continue
        if wanted and not ("price" in fields.bad and order_type is OrderType.LIMIT):
            fields.require(name, value, f"a {order_type} order needs it")
        elif value is not None and not wanted:
            fields.refuse(name, f"contradicts order_type {order_type}: leave it out, or send another order_type")
    return {**prices, "reference_price": price}


def _place_in_signal(fields: Fields) -> tuple[int | None, int | None]:
    """Which leg of how many the message is; without a word about it, the only one."""
    index = fields.whole("leg_index", 0, MOST_MESSAGES_PER_SIGNAL - 1)
    if index is None and "leg_index" not in fields.bad:
        index = 0
    total = fields.whole("total_legs", 1, MOST_MESSAGES_PER_SIGNAL)
    if index is None or "total_legs" in fields.bad:
        return index, total
    if total is None:
        return index, index + 1
    if index >= total:
        fields.refuse("leg_index", f"must be below total_legs, got {index} of {total} (the first is 0)")
    return index, total


def _key_index(message: Mapping[str, Any], leg_index: int | None) -> int:
    """The leg that a message with an unreadable leg index most likely means: it must not take another leg's place."""
    raw = message.get("leg_index")
    if leg_index is None and isinstance(raw, str) and _SMALL_NUMBER.fullmatch(raw):
        return int(raw)
    return leg_index or 0


_SMALL_NUMBER: Final = re.compile(r"[0-9]{1,3}")


def _foreign_id(fields: Fields, name: str) -> str | None:
    """An id of somebody else's: kept if it is one, never a reason to refuse."""
    value = fields.values.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value or len(value) > LONGEST_FOREIGN_ID or not value.isprintable():
        return None  # whatever it is, it stays among the fields that are kept unread
    fields.used.add(name)
    return value


def _created_at(fields: Fields, received_at: datetime) -> datetime | None:
    """When the producer made the order: ``created_at``, else ``timestamp``; the future is refused, with its cause."""
    name = "created_at" if fields.values.get("created_at") is not None else "timestamp"
    created_at = fields.time(name)
    if created_at is None or created_at - received_at <= FUTURE_ALLOWED:
        return created_at
    ahead = created_at - received_at
    zone = _likely_zone(ahead)
    hint = (
        "" if zone is None else f"; it looks like local time ({zone}) without its offset: send UTC, or add the offset"
    )
    fields.refuse(name, f"is {_spelled(ahead)} in the future, got {shown(fields.values[name])}{hint}")
    return created_at


def _likely_zone(ahead: timedelta) -> str | None:
    """The zone whose local time, taken for UTC, would be that far ahead; None if there is none."""
    steps = round(ahead / _HALF_HOUR)
    if not 1 <= steps <= _MOST_HALF_HOURS or abs(ahead - steps * _HALF_HOUR) > _OFFSET_TOLERANCE:
        return None
    return f"UTC+{steps // 2:02}:{steps % 2 * 30:02}"


_HALF_HOUR: Final = timedelta(minutes=30)
_MOST_HALF_HOURS: Final = 28  # Kiritimati, UTC+14
_OFFSET_TOLERANCE: Final = timedelta(minutes=5)


def _spelled(duration: timedelta) -> str:
    """``5 h 30 min``, ``90 s``."""
    seconds = round(duration.total_seconds())
    if seconds < 600:
        return f"{seconds} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return " ".join(part for part in (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "") if part)


def _environment(fields: Fields, ours: str | None) -> str | None:
    """The message's environment; read, and judged, only if the service was told its own."""
    if ours is None:
        value = fields.values.get("environment")
        if isinstance(value, str) and value.isprintable() and len(value) <= LONGEST_FOREIGN_ID:
            fields.used.add("environment")
            return value
        return None
    value = fields.text("environment")
    if value is not None and value.strip().casefold() != ours.strip().casefold():
        fields.refuse("environment", f'must be "{ours}", which this service serves, got {shown(value)}')
    return value


def _extra(message: Mapping[str, Any], used: set[str], attributes: Mapping[str, str]) -> dict[str, Any]:
    """What the message holds besides; kept, unread."""
    kept = {name: value for name, value in message.items() if name not in used or name in _READ_AND_KEPT}
    del kept["signal_id"]
    if has_further_fields(message.get("legs")):
        kept["legs"] = message["legs"]
    if attributes:
        kept.setdefault("message_attributes", dict(attributes))
    extra: dict[str, Any] = storable(kept)
    return extra
