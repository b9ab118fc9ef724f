"""What stays of an order in the store when it is archived: enough to know it again, and nothing more.

A tombstone stands under the order's own id, so that a repetition of its message is recognised years later by the same
unique key, and its content compared, as on the first day. It names the executions that were booked, and what they
cost, so that a broker which tells them again is known to tell nothing new. To whoever looks for orders it is none:
its `request` is null, as that of a message that never became one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from exec_core.fills import Commission
from exec_core.identifiers import ClientOrderId, ExecutionId
from exec_core.reports import CommissionReport, FillReport

from exec_service import journal, unmatched
from exec_service.codecs import plain_document
from exec_service.records import OrderRecord
from exec_service.stores import Document

#: What executions are booked under where no plugin is known.
NO_BROKER: Final = "none"
#: A name does not depend on when something was received.
UNKNOWN_TIME: Final = datetime.min.replace(tzinfo=UTC)
#: What is kept as it stood.
KEPT: Final = (
    "_id",
    "schema_version",
    "signal_id",
    "leg_index",
    "account_id",
    "content",
    "status",
    "order_id",
    "broker_order_ids",
)


def tombstone(
    document: Mapping[str, Any], record: OrderRecord | None, fills: Iterable[Mapping[str, Any]], at: datetime
) -> Document:
    """The tombstone of the order in `document`, with its next revision; `record` is the order, if it was one.

    It still has the order's `sequence`, by which it is found until its executions are removed: see `finished`.
    """
    fields = {
        **{name: document[name] for name in KEPT},
        "revision": document["revision"] + 1,
        "sequence": document["sequence"],
        "archived_at": at,
        "executions": sorted(fill["_id"] for fill in fills),
        "commissions": [] if record is None else _commissions(record),
        "request": None,
        "state": None,
        "source": None,
        "history": [],
    }
    return plain_document(fields)


def finished(document: Mapping[str, Any]) -> Document:
    """A tombstone whose executions are removed, with its next revision."""
    kept = {name: value for name, value in document.items() if name != "sequence"}
    return {**kept, "revision": document["revision"] + 1}


def is_tombstone(document: Mapping[str, Any]) -> bool:
    """Whether an order's document is what stays of one that is archived."""
    return document.get("archived_at") is not None


def is_known(document: Mapping[str, Any], broker: str, report: FillReport | CommissionReport) -> bool:
    """Whether the archived order had booked just that already."""
    if not is_tombstone(document):
        return False
    account_id = document["account_id"]
    if isinstance(report, CommissionReport):
        return _name(account_id, broker, report.execution_id, report.commission) in document["commissions"]
    fill = report.fill
    if journal.fill_id(broker, account_id, fill) not in document["executions"]:
        return False
    return (
        fill.commission is None
        or _name(account_id, broker, fill.execution_id, fill.commission) in (document["commissions"])
    )


def _commissions(record: OrderRecord) -> list[str]:
    """All that is known of its executions' costs, by the names that reports of them would be kept under."""
    order, broker = record.order, record.broker or NO_BROKER
    told = [(key, fill.commission) for key, fill in order.fills.items() if fill.commission is not None]
    told += order.late_commissions.items()
    account_id = order.request.account_id
    return sorted({_name(account_id, broker, execution_id, commission) for execution_id, commission in told})


def _name(account_id: str, broker: str, execution_id: ExecutionId, commission: Commission) -> str:
    report = CommissionReport(execution_id, commission, ClientOrderId(""))
    return str(unmatched.unmatched_document(account_id, broker, report, UNKNOWN_TIME)["_id"])
