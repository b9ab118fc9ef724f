"""TWS's codes: what each means for an order or for the line, and the sentence that people get.

One table. The meanings are those of IB's own list (TWS API, "Message Codes"), corrected by what is publicly known of
the real TWS: 10349, 10311 and 10329 come for orders that live on (`ib_async#191`), 202 confirms a cancel and is no
refusal, 201 may answer a modification of an order that works on (`ib_insync#502`). What is not in the table is
`UNKNOWN`, and ends nothing. A kind says what a code means when it comes; whether it ends an order depends on what
else was heard of that order (`statuses`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

#: No contract fits, or several do; for a request as for an order.
NO_DEFINITION: Final = 200
ORDER_REJECTED: Final = 201
ORDER_CANCELLED: Final = 202


class Kind(Enum):
    """What a code means."""

    REJECT = "the order is refused"
    WARNING = "something about an order that lives on"
    CANCEL_CONFIRMED = "the order is off the market"
    CANCEL_ANSWER = "the cancel was not done; says nothing of what the order is now"
    LINE_LOST = "TWS has lost its line to IB"
    LINE_BACK_DATA_LOST = "TWS has its line to IB again, and must be asked anew"
    LINE_BACK = "TWS has its line to IB again"
    NOTICE = "about the line, the farms or the pace; nothing to do"
    CLIENT_ID_IN_USE = "somebody else is connected under this client id"
    DUPLICATE_ID = "the order id names another order already; this one was not taken"
    DATA_ONLY = "about market data only"
    UNKNOWN = "not in the table: it ends nothing"


_REJECT: Final = (
    *(106, 107, 109, 110, 111, 113, 116, 133, 135, 140, 141, 154, 160, 163),
    *(NO_DEFINITION, ORDER_REJECTED, 203),
    *(312, 313, 314, 315, 320, 321, 322, 325, 336, 337, 355, 382, 383, 387, 388, 391, 392),
    *(403, 412, 434, 435, 436, 439, 440, 441, 442, 443, 451, 460),
    *(10006, 10206, 10243, 10244, 10245, 10246, 10247, 10248, 10249, 10250, 10268, 10269, 10270),
    *(10289, 10290, 10292, 10293, 10318, 10319),
)
_TABLE: Final[Mapping[int, Kind]] = MappingProxyType(
    {
        **dict.fromkeys(_REJECT, Kind.REJECT),
        **dict.fromkeys((399, 404, 481, 10311, 10329, 10349), Kind.WARNING),
        ORDER_CANCELLED: Kind.CANCEL_CONFIRMED,
        **dict.fromkeys((136, 161, 10147, 10148, 10149), Kind.CANCEL_ANSWER),
        1100: Kind.LINE_LOST,
        1101: Kind.LINE_BACK_DATA_LOST,
        1102: Kind.LINE_BACK,
        # 100 too many messages, 502 to 507 the socket, 1300 a new port, the rest market data and other farms.
        **dict.fromkeys((100, 502, 504, 507, 1300), Kind.NOTICE),
        **dict.fromkeys((2103, 2104, 2105, 2106, 2107, 2108, 2110, 2119, 2157, 2158), Kind.NOTICE),
        326: Kind.CLIENT_ID_IN_USE,
        # 104 and 105 refuse a modification, and we never modify: the id was that of another order.
        **dict.fromkeys((103, 104, 105), Kind.DUPLICATE_ID),
        **dict.fromkeys((165, 492, 10167, 10197), Kind.DATA_ONLY),
    }
)
_WARNINGS: Final = range(2100, 2200)

_READ_ONLY: Final = re.compile(r"read-?\s?only", re.IGNORECASE)
_LINE_BREAK: Final = re.compile(r"\s*<br\s*/?>\s*", re.IGNORECASE)

_PRECAUTIONS: Final = (
    "it is over a precautionary limit: raise that limit in TWS (Global Configuration, Presets), or let API orders "
    "bypass precautions (API, Precautions)"
)
_PERMISSION: Final = "ask for the trading permission in IBKR's Client Portal (Settings, Trading Permissions)"
_FRACTION: Final = "give a whole quantity, or ask IBKR for the permission to trade fractions"
_OBSOLETE: Final = "the client library sends an attribute that this TWS no longer takes: install a newer one"


def _hints(codes: Iterable[int], hint: str) -> dict[int, str]:
    return dict.fromkeys(codes, hint)


#: What a person can do about it, where TWS's own words do not say.
_HINTS: Final[Mapping[int, str]] = MappingProxyType(
    {
        103: "the order id was used before; nothing was sent under it this time",
        **_hints((104, 105), "the order id is that of another order; nothing of this one was taken"),
        **_hints((109, 163, 382, 383, 451), _PRECAUTIONS),
        110: "the price is between two price steps: give a multiple of the step, or set IBKR_ROUND_PRICES",
        NO_DEFINITION: "IBKR knows no such contract, or several: check symbol, instrument_type, exchange and currency",
        **_hints((203, 460), _PERMISSION),
        326: "another program is connected under this client id: end it, or give this one its own IBKR_CLIENT_ID",
        **_hints((435, 436), "the order names no account that this login may trade: check IBKR_ACCOUNT"),
        **_hints((10243, *range(10245, 10250), 10318), _FRACTION),
        10206: "an amount of money has at most two decimals",
        10244: "give a quantity instead of a cash_quantity",
        10250: "the quantity is no multiple of the contract's smallest step",
        **_hints((10268, 10269, 10270), _OBSOLETE),
        **_hints((10289, 10290), "give a cash_quantity, or a quantity with a price"),
        10293: "give a quantity or a cash_quantity, not both",
    }
)
_READ_ONLY_HINT: Final = (
    "the API of this TWS is read-only: clear 'Read-Only API' in TWS or IB Gateway under Global Configuration, API, "
    "Settings"
)


def kind_of(code: int) -> Kind:
    """What `code` means; a code between 2100 and 2199 that is not listed is a warning."""
    kind = _TABLE.get(code)
    if kind is not None:
        return kind
    return Kind.WARNING if code in _WARNINGS else Kind.UNKNOWN


def sentence(code: int, text: str) -> str:
    """TWS's words with their code, and what to do where they do not say: for people."""
    words = _LINE_BREAK.sub(" ", text).strip() or "TWS gave no reason"
    hint = _READ_ONLY_HINT if _READ_ONLY.search(words) else _HINTS.get(code)
    return f"{words} ({code}): {hint}" if hint else f"{words} ({code})"


def cancel_reason(text: str) -> str:
    """What a 202 says beyond "Order Canceled - reason:"; empty if nothing."""
    words = _LINE_BREAK.sub(" ", text).strip()
    head, mark, reason = words.partition("reason:")
    if mark and "cancel" in head.lower():
        return reason.strip()
    return "" if words.lower().rstrip(" -.") in ("order canceled", "order cancelled") else words
