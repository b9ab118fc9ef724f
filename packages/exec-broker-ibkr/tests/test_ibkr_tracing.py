"""Looking an order up in TWS's three lists."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from exec_broker_ibkr.following import tracing
from exec_core.fills import Commission
from exec_core.instruments import AssetClass, Instrument, Right
from exec_core.orders import Leg, OrderStatus, ReasonCode
from exec_core.reports import ReportStatus
from exec_core.sides import Side
from ibkr_told import (
    CALL,
    ORDER,
    PUT,
    REF,
    STRADDLE,
    commission,
    completed,
    error,
    execution,
    followed,
    heard,
    order,
    shown,
    status,
    tracker,
)

OTHER = order("another").client_order_id
NOTHING: list = []


def trace(open_=(), executions=(), ended=(), made=None, one=ORDER):
    return tracing.trace(one, open_, executions, ended, made or tracker(order_id=None))


def test_nothing_known_is_no_trace():
    strangers = ([shown(order_ref=OTHER)], [execution(order_ref=OTHER)], [completed("Filled", order_ref=OTHER)])
    assert trace() == ((), ())
    assert trace(*strangers) == ((), ())


def test_an_open_order_is_found_by_its_reference():
    [report], fills = trace([shown("PreSubmitted"), shown(order_ref=OTHER, perm_id=5)])
    assert (report.status, report.client_order_id, report.broker_order_id) == (ReportStatus.HELD, REF, "900")
    assert report.terms.quantity == Decimal(100)
    assert fills == ()


def test_an_order_is_found_by_the_ids_that_are_known_of_it():
    one = replace(ORDER, broker_order_ids=("900", "901"))
    reports, fills = trace([shown(order_ref="")], [execution(order_ref="", perm_id=901)], one=one)
    assert {report.broker_order_id for report in reports} == {"900", "901"}
    assert len(fills) == 1


@pytest.mark.parametrize(
    ("word", "text", "expected"),
    [
        ("Filled", "Filled", OrderStatus.FILLED),
        ("Cancelled", "Cancelled by Trader", OrderStatus.CANCELLED),
        ("Cancelled", "", OrderStatus.CANCELLED),
        ("Cancelled", "Order expired", OrderStatus.EXPIRED),
        ("Cancelled", "Rejected by System", OrderStatus.REJECTED),
        ("Inactive", "", OrderStatus.REJECTED),
    ],
)
def test_an_ended_order_is_found_with_its_end(word, text, expected):
    fills = [execution("1.1.01", 60), execution("1.2.01", 40)] if word == "Filled" else []
    filled = Decimal(100) if fills else None
    reports, told = trace((), fills, [completed(word, completed_status=text, filled=filled)])
    assert followed(ORDER, [*told, *reports]).status is expected


def test_an_order_that_was_filled_in_part_and_cancelled():
    ended = completed("Cancelled", filled=Decimal(30), completed_status="Cancelled by Trader")
    [report], [fill] = trace((), [execution(quantity=30)], [ended])
    assert (report.status, report.filled_quantity, report.reason) == (
        ReportStatus.CANCELLED,
        Decimal(30),
        "Cancelled by Trader",
    )
    assert fill.fill.quantity == Decimal(30)


@pytest.mark.parametrize(("quantity", "expected"), [(100, ReportStatus.FILLED), (99, ReportStatus.WORKING)])
def test_executions_alone_prove_that_the_order_was_taken(quantity, expected):
    [report], [fill] = trace((), [execution(quantity=quantity)])
    assert (report.status, report.broker_order_id, report.client_order_id) == (expected, "900", REF)
    assert (fill.fill.quantity, fill.fill.leg) == (Decimal(quantity), None)


def test_an_end_goes_before_what_the_other_lists_say():
    [report], _ = trace([shown()], [], [completed("Cancelled", completed_status="Cancelled by Trader")])
    assert report.status is ReportStatus.CANCELLED


def test_only_the_newest_version_of_an_execution_is_told_and_once():
    told = [execution("1.1.01", 100), execution("1.1.02", 70), execution("1.1.02", 70), execution("1.1.01", 100)]
    _, [fill] = trace((), told)
    assert (fill.fill.correction, fill.fill.quantity) == (1, Decimal(70))


def test_what_an_execution_has_cost_is_told_with_it():
    made = tracker()
    heard(made, shown(), execution(), commission(amount="1.25"))
    _, [fill] = trace([shown()], [execution()], made=made)
    assert fill.fill.commission == Commission(Decimal("1.25"), "USD")


def test_the_trackers_memory_is_left_as_it_is():
    made = tracker()
    heard(made, shown())
    trace([], [execution()], [completed("Cancelled", completed_status="by hand")], made)
    tracing.open_orders([shown("Cancelled")], made)
    assert made.address(ORDER).is_open
    assert not made.lacks_executions()


def test_what_was_heard_to_end_counts_though_no_list_shows_it():
    made = tracker()
    heard(made, shown(), execution(quantity=40), status("Cancelled", 40), error(202, "Order Canceled - reason:by OCA"))
    [report], [fill] = trace(made=made)
    assert (report.status, report.reason, report.filled_quantity) == (ReportStatus.CANCELLED, "by OCA", Decimal(40))
    assert fill.fill.quantity == Decimal(40)


def test_that_it_was_working_once_is_no_trace():
    made = tracker()
    heard(made, shown(), status())
    assert trace(made=made) == ((), ())


def test_a_refusal_that_no_list_shows_is_told():
    made = tracker()
    heard(made, error(201, "Order rejected - reason:No money"))
    [report], _ = trace(made=made)
    assert (report.status, report.client_order_id) == (ReportStatus.REJECTED, REF)
    after = followed(ORDER, [report])
    assert (after.reason_code, after.reason) == (ReasonCode.BROKER_REJECTED, "Order rejected - reason:No money (201)")


def test_a_refused_order_that_is_listed_as_cancelled_is_a_refused_one():
    made = tracker()
    heard(made, error(201, "Order rejected - reason:No money"), shown("Inactive"))
    [report], _ = trace((), (), [completed("Cancelled")], made)
    assert report.status is ReportStatus.REJECTED


def test_orders_of_other_accounts_are_no_trace():
    elsewhere = {"account": "DU7654321"}
    assert trace([shown(**elsewhere)], [execution(**elsewhere)], [completed("Filled", **elsewhere)]) == ((), ())


# --- combinations ---

WHOLE = Instrument("SPY", AssetClass.OPTION)


def option(right):
    return Instrument("SPY", AssetClass.OPTION, expiry="20271217", strike=Decimal(600), right=right)


COMBINED = order(
    instrument=WHOLE,
    quantity=Decimal(10),
    legs=(Leg(option(Right.CALL), Side.BUY, Decimal(1)), Leg(option(Right.PUT), Side.BUY, Decimal(1))),
)
PARTS = [
    execution("c.02.01", 10, "18", contract=CALL),
    execution("c.01.01", 10, "30", contract=replace(STRADDLE, legs=())),
    execution("c.03.01", 10, "12", contract=PUT),
]


@pytest.mark.parametrize(
    ("open_", "ended"), [([shown(contract=STRADDLE)], []), ([], [completed("Filled", contract=STRADDLE)]), ([], [])]
)
def test_executions_of_legs_are_told_as_such(open_, ended):
    _, fills = trace(open_, PARTS, ended, one=COMBINED)
    assert {(fill.fill.execution_id, fill.fill.leg) for fill in fills} == {("c.01", None), ("c.02", 0), ("c.03", 1)}


def test_one_execution_of_a_leg_completes_no_combination():
    [report], [fill] = trace((), PARTS[:1], one=COMBINED)
    assert (report.status, fill.fill.leg) == (ReportStatus.WORKING, 0)


# --- the list of open orders ---


def test_open_orders_are_all_that_can_trade_each_once():
    made = tracker(order_id=None)
    listed = [
        shown(),
        shown(),
        shown("PreSubmitted", 901, order_id=8, order_ref=OTHER),
        shown("PendingCancel", 902, order_id=0, client_id=0, order_ref=""),
        shown("Inactive", 903, order_id=9, order_ref="x"),
        shown("Filled", 904, order_id=10, order_ref="y"),
        shown("Cancelled", 905, order_id=11, order_ref="z"),
        shown("Submitted", 906, order_id=12, account="DU7654321"),
        shown("Contemplating", 907, order_id=13, order_ref="w"),
    ]
    reports = tracing.open_orders(listed, made)
    assert [(report.broker_order_id, report.status) for report in reports] == [
        ("900", ReportStatus.WORKING),
        ("901", ReportStatus.HELD),
        ("902", ReportStatus.WORKING),
        ("907", ReportStatus.WORKING),
    ]
    assert all(report.terms.instrument == Instrument("SPY", currency="USD") for report in reports)


def test_what_was_heard_beside_the_list_counts():
    made = tracker()
    heard(made, shown(), status("Inactive", 5, why_held="locate"))
    [report] = tracing.open_orders([shown("Inactive")], made)
    assert (report.status, report.filled_quantity) == (ReportStatus.HELD, Decimal(5))
    heard(made, status("Cancelled"), error(202))
    assert tracing.open_orders([shown()], made) == ()
