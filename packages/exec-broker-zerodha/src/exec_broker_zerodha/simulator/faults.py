"""Trouble on demand: what goes wrong with the next requests to an endpoint, before or after they are acted on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

#: All the endpoints, by the names under which they are counted, and the group to which they belong.
PLACE: Final = "order.place"
MODIFY: Final = "order.modify"
CANCEL: Final = "order.cancel"
ORDER_REQUESTS: Final = (PLACE, MODIFY, CANCEL)
#: What is asked about the account.
QUESTIONS: Final = ("orders", "order.history", "trades", "order.trades", "positions", "holdings", "margins", "profile")
OTHERS: Final = ("session.token", "session.end", "instruments", "quote", "ltp", "ohlc", "charges", "margins.orders")
ENDPOINTS: Final = (*ORDER_REQUESTS, *QUESTIONS, *OTHERS)
GROUPS: Final = {"all": ENDPOINTS, "questions": QUESTIONS, "writes": ORDER_REQUESTS}


class Trouble(StrEnum):
    """What the sender sees instead of the answer."""

    ERROR = "error"
    """A well-formed error of Kite's: `status`, `error_type` and `text` say which."""
    HTML = "html"
    """A proxy's page."""
    CUT = "cut"
    """A body that ends in the middle."""
    EMPTY = "empty"
    """A body of nothing, called JSON."""
    GARBLED = "garbled"
    """A body that is no JSON, called JSON."""
    NO_TYPE = "no-content-type"
    """The right answer without a content type."""
    NULL = "null"
    """Success, with ``{"data": null}``."""
    UNTYPED = "untyped"
    """An error that does not say its type (pykiteconnect #73)."""
    TIMED_OUT = "timed-out"
    """HTTP 400 "Order request timed out", which is no refusal (Kite forum 35732)."""
    LIMITED = "limited"
    """The rate limit as HTTP 200 (openalgo #1710)."""
    RESET = "reset"
    """The line breaks."""
    HANG = "hang"
    """No answer, ever."""


@dataclass(slots=True)
class Fault:
    """One kind of trouble for the next `count` requests to the endpoints; `is_after`: they are acted on."""

    trouble: Trouble
    endpoints: tuple[str, ...]
    is_after: bool = False
    count: int = 1
    status: int = 400
    error_type: str | None = "GeneralException"
    text: str = "Something went wrong."


class Faults:
    """The faults that are armed, first come first served."""

    def __init__(self) -> None:
        self._armed: list[Fault] = []

    def arm(self, fault: Fault) -> Fault:
        """Arm it. :raises ValueError: an endpoint that does not exist."""
        strange = [name for name in fault.endpoints if name not in ENDPOINTS]
        if strange:
            raise ValueError(f"there is no endpoint {', '.join(strange)}; there are {', '.join(ENDPOINTS)}")
        self._armed.append(fault)
        return fault

    def disarm(self, fault: Fault | None = None) -> None:
        """Forget one, or all; one that is not armed any more: nothing."""
        self._armed = [] if fault is None else [one for one in self._armed if one is not fault]

    def take(self, endpoint: str) -> Fault | None:
        """The fault for this request, if any; it is used up by that."""
        for fault in self._armed:
            if endpoint in fault.endpoints:
                fault.count -= 1
                if fault.count <= 0:
                    self.disarm(fault)
                return fault
        return None


def endpoints_of(name: str) -> tuple[str, ...]:
    """The endpoints of a group, or the one of this name."""
    return GROUPS.get(name, (name,))
