"""TWS's status words, alone and with what else was heard of the order."""

from __future__ import annotations

from decimal import Decimal

import pytest
from exec_broker_ibkr.following.statuses import Beside, Verdict, verdict
from exec_core.reports import ReportStatus

HELD, WORKING, FILLED = ReportStatus.HELD, ReportStatus.WORKING, ReportStatus.FILLED
REJECTED, CANCELLED, EXPIRED = ReportStatus.REJECTED, ReportStatus.CANCELLED, ReportStatus.EXPIRED
FIVE = Decimal(5)


def told(**fields: object) -> Beside:
    return Beside(**({"perm_id": 900} | fields))


@pytest.mark.parametrize(
    ("word", "beside", "status", "reason"),
    [
        # Before IB has it, TWS's and the library's words say nothing.
        ("ApiPending", Beside(), None, None),
        ("PendingSubmit", Beside(), None, None),
        ("PendingCancel", Beside(), None, None),
        ("", Beside(), None, None),
        ("ApiPending", told(), WORKING, None),
        ("PendingSubmit", told(), WORKING, None),
        ("PendingCancel", told(), WORKING, None),
        ("PendingCancel", told(filled=FIVE), WORKING, None),
        # Held, or at work.
        ("PreSubmitted", told(), HELD, None),
        ("PreSubmitted", told(why_held="trigger"), HELD, None),
        ("PreSubmitted", told(why_held="child,trigger"), HELD, None),
        ("PreSubmitted", told(why_held="locate"), HELD, None),
        ("PreSubmitted", told(filled=FIVE), WORKING, None),
        ("Submitted", told(), WORKING, None),
        ("Submitted", told(filled=FIVE), WORKING, None),
        ("Submitted", told(refusal="no change (201)"), WORKING, None),
        ("Filled", told(filled=FIVE), FILLED, None),
        ("Filled", told(), FILLED, None),
        # Not TWS's own: the client libraries invent them.
        ("ValidationError", told(), None, None),
        ("ApiUpdate", told(), None, None),
        # A word that no document names.
        ("Contemplating", told(), WORKING, None),
        ("Contemplating", Beside(), WORKING, None),
        # Cancelled: waits for what says why.
        ("Cancelled", told(), None, None),
        ("Cancelled", told(filled=FIVE), None, None),
        ("ApiCancelled", told(), None, None),
        ("Cancelled", told(settled=True), CANCELLED, None),
        ("ApiCancelled", Beside(settled=True), CANCELLED, None),
        ("Cancelled", told(settled=True, remark="odd (399)"), CANCELLED, "odd (399)"),
        ("Cancelled", told(confirmation=""), CANCELLED, None),
        ("Cancelled", told(confirmation="", filled=FIVE), CANCELLED, None),
        ("Cancelled", told(confirmation="by OCA"), CANCELLED, "by OCA"),
        ("Cancelled", told(completed="Cancelled by Trader"), CANCELLED, "Cancelled by Trader"),
        ("Cancelled", told(confirmation="", completed="Cancelled by Trader"), CANCELLED, "Cancelled by Trader"),
        # Cancelled, of an order that was refused.
        ("Cancelled", told(refusal="no margin (201)"), None, None),
        ("Cancelled", told(refusal="no margin (201)", settled=True), REJECTED, "no margin (201)"),
        ("Cancelled", told(refusal="no margin (201)", settled=True, filled=FIVE), CANCELLED, "no margin (201)"),
        ("Cancelled", told(refusal="no margin (201)", completed=""), REJECTED, "no margin (201)"),
        (
            "Cancelled",
            told(refusal="no change (201)", completed="Cancelled by Trader"),
            CANCELLED,
            "Cancelled by Trader",
        ),
        ("Cancelled", told(refusal="no change (201)", confirmation=""), CANCELLED, None),
        ("Cancelled", told(confirmation="Rejected by the exchange"), REJECTED, "Rejected by the exchange"),
        (
            "Cancelled",
            told(confirmation="Rejected by the exchange", filled=FIVE),
            CANCELLED,
            "Rejected by the exchange",
        ),
        # Cancelled, at the end of its time in force.
        ("Cancelled", told(tif="DAY", confirmation="Order expired"), EXPIRED, "Order expired"),
        (
            "Cancelled",
            told(tif="DAY", completed="Cancelled by System: Expired"),
            EXPIRED,
            "Cancelled by System: Expired",
        ),
        ("Cancelled", told(tif="DAY", confirmation="", completed="Expired"), EXPIRED, "Expired"),
        ("Cancelled", told(tif="GTC", confirmation="Order expired", filled=FIVE), EXPIRED, "Order expired"),
        ("Cancelled", told(tif="IOC", confirmation="Order expired"), CANCELLED, "Order expired"),
        ("Cancelled", told(tif="DAY", confirmation="inexpiration"), CANCELLED, "inexpiration"),
        # Inactive: refused, or held for a locate.
        ("Inactive", told(refusal="no margin (201)"), REJECTED, "no margin (201)"),
        ("Inactive", told(refusal="no margin (201)", filled=FIVE), REJECTED, "no margin (201)"),
        ("Inactive", told(refusal="no margin (201)", why_held="locate"), REJECTED, "no margin (201)"),
        ("Inactive", told(why_held="locate"), HELD, None),
        ("Inactive", told(why_held="locate", settled=True), HELD, None),
        ("Inactive", told(why_held="trigger"), None, None),
        ("Inactive", told(), None, None),
        ("Inactive", told(settled=True), REJECTED, None),
        ("Inactive", told(settled=True, remark="size (10999)"), REJECTED, "size (10999)"),
        ("Inactive", told(completed="Rejected"), REJECTED, "Rejected"),
        ("Inactive", told(completed=""), REJECTED, None),
        ("Inactive", told(completed="Cancelled by Trader"), CANCELLED, "Cancelled by Trader"),
        ("Inactive", told(confirmation=""), CANCELLED, None),
    ],
)
def test_what_a_word_comes_down_to(word, beside, status, reason):
    assert verdict(word, beside) == (None if status is None else Verdict(status, reason))
