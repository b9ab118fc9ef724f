"""Reports that fit no order yet, to documents and back: an execution, or its cost, that must not be lost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from exec_core.identifiers import digest
from exec_core.reports import CommissionReport, FillReport

from exec_service import journal
from exec_service.codecs import plain_document, restore
from exec_service.stores import Document


def unmatched_document(
    account_id: str, broker: str, report: FillReport | CommissionReport, received_at: datetime
) -> Document:
    """The document of an execution, or its cost, whose order is not known; its repetition has the same name."""
    if isinstance(report, FillReport):
        kind, name = "FILL", journal.fill_id(broker, account_id, report.fill)
    else:
        commission = report.commission
        what = digest(str(commission.amount.normalize()), commission.currency, str(commission.estimated))
        kind, name = "COMMISSION", f"{broker}|{account_id}|{report.execution_id}|commission|{what}"
    fields = {
        "_id": name,
        "schema_version": journal.SCHEMA_VERSION,
        "kind": kind,
        "account_id": account_id,
        "broker": broker.upper(),
        "broker_order_id": report.broker_order_id,
        "client_order_id": report.client_order_id,
        "received_at": received_at,
        "matched_at": None,
        "report": report,
    }
    return plain_document(fields)


def unmatched_report(document: Mapping[str, Any]) -> FillReport | CommissionReport:
    """The report of an `unmatched_reports` document. :raises SchemaTooNew: see there."""
    journal.check_schema(document)
    if document["kind"] == "FILL":
        return restore(FillReport, document["report"])
    return restore(CommissionReport, document["report"])
