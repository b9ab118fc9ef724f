"""TWS's words for an order's status, in the core's: one table, and the rules for its ends.

The words are documented (TWS API, "Order Status"), but not what an end means: "Cancelled" is also what a refused
order may end as, and "Inactive" is refused, or held for a locate (`nautilus#3603`). So an end is judged with what else
was heard of the order, and where nothing was, it waits: the error that explains it comes before or after it. Waiting
ends when TWS shows the order among the ended ones, or when the session says that nothing more is to come (`settled`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from exec_core.money import ZERO
from exec_core.reports import ReportStatus

FILLED: Final = "Filled"
INACTIVE: Final = "Inactive"
PRE_SUBMITTED: Final = "PreSubmitted"
#: The client libraries' own, never TWS's: they say nothing about the order.
NOT_OF_TWS: Final = frozenset({"ValidationError", "ApiUpdate"})
#: What is also said before IB has the order: nothing, unless it has a permanent id by then.
UNCONFIRMED: Final = frozenset({"", "ApiPending", "PendingSubmit", "PendingCancel"})
ENDS: Final = frozenset({"Cancelled", "ApiCancelled", INACTIVE})
#: With these, IB works on the order or holds it for its trigger: a refusal that comes later is of something else.
WORKED: Final = frozenset({PRE_SUBMITTED, "Submitted", FILLED})
#: `whyHeld` while shares to sell short are looked for.
LOCATE: Final = "locate"

_LIVE: Final[Mapping[str, ReportStatus]] = MappingProxyType(
    {
        "ApiPending": ReportStatus.WORKING,
        "PendingSubmit": ReportStatus.WORKING,
        PRE_SUBMITTED: ReportStatus.HELD,
        "Submitted": ReportStatus.WORKING,
        "PendingCancel": ReportStatus.WORKING,
        FILLED: ReportStatus.FILLED,
    }
)
_EXPIRED: Final = re.compile(r"\bexpir", re.IGNORECASE)
_REFUSED: Final = re.compile(r"\breject", re.IGNORECASE)
_CANCELLED: Final = re.compile(r"cancel|\bexpir", re.IGNORECASE)
_BY_HAND: Final = re.compile(r"\btrader\b", re.IGNORECASE)
_IMMEDIATE: Final = frozenset({"IOC", "FOK"})


@dataclass(frozen=True, slots=True)
class Beside:
    """What was heard of an order beside its status.

    `filled` is the most that was told or heard to be filled; `refusal` an error that refuses orders, as a sentence;
    `confirmation` what error 202 gives as the reason of the cancel, and `completed` what TWS says of an order among
    the ended ones (either may be empty, None: not heard); `remark` any other error. `settled`: nothing more is to come.
    """

    perm_id: int = 0
    why_held: str = ""
    filled: Decimal = ZERO
    tif: str = ""
    refusal: str | None = None
    confirmation: str | None = None
    completed: str | None = None
    remark: str | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a status word comes down to."""

    status: ReportStatus
    reason: str | None = None


def verdict(word: str, beside: Beside = Beside()) -> Verdict | None:
    """What `word` says of the order; None: nothing, or (of an end) not before its reason is known."""
    if word in NOT_OF_TWS or (word in UNCONFIRMED and not beside.perm_id):
        return None
    if word == INACTIVE:
        return _inactive(beside)
    if word in ENDS:
        return _cancelled(beside)
    if word == PRE_SUBMITTED and beside.filled:
        return Verdict(ReportStatus.WORKING)
    # A word that no document names is no end: the order is taken to work.
    return Verdict(_LIVE.get(word, ReportStatus.WORKING))


def _inactive(beside: Beside) -> Verdict | None:
    if beside.refusal is not None:
        return Verdict(ReportStatus.REJECTED, beside.refusal)
    if LOCATE in beside.why_held.lower():
        return Verdict(ReportStatus.HELD)
    if beside.confirmation is not None or _CANCELLED.search(beside.completed or ""):
        return _cancelled(beside)
    if beside.completed is not None or beside.settled:
        return Verdict(ReportStatus.REJECTED, beside.completed or beside.remark)
    return None


def _cancelled(beside: Beside) -> Verdict | None:
    told = [text for text in (beside.confirmation, beside.completed) if text is not None]
    reason = next(filter(None, told), beside.remark)
    if not told and not beside.settled:
        return None
    if beside.refusal is not None and beside.confirmation is None and not _BY_HAND.search(beside.completed or ""):
        return Verdict(ReportStatus.CANCELLED if beside.filled else ReportStatus.REJECTED, beside.refusal)
    for text in told:
        if _REFUSED.search(text) and not beside.filled:
            return Verdict(ReportStatus.REJECTED, text)
        if _EXPIRED.search(text) and beside.tif not in _IMMEDIATE:
            return Verdict(ReportStatus.EXPIRED, text)
    return Verdict(ReportStatus.CANCELLED, reason)
