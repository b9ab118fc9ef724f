"""What this session knows of orders: which order a message is about, what is told of it, and when."""

from __future__ import annotations

import itertools
from dataclasses import replace
from decimal import Decimal

import pytest
from exec_broker_ibkr.following.tracking import Address, NotTaken, Refused, Taken, Tracker
from exec_broker_ibkr.messages import NO_REQUEST, ErrorTold
from exec_core.fills import Commission
from exec_core.instruments import Instrument, InstrumentDetails
from exec_core.orders import OrderStatus, OrderType, ReasonCode, TimeInForce
from exec_core.reports import CommissionReport, FillReport, OrderReport, OrderTerms, ReportStatus
from exec_core.sides import Side
from hypothesis import given
from hypothesis import strategies as st
from ibkr_told import (
    ACCOUNT,
    CALL,
    CLIENT,
    DETAILS,
    NOW,
    ORDER,
    PUT,
    REF,
    SPY,
    STRADDLE,
    commission,
    completed,
    error,
    execution,
    followed,
    heard,
    order,
    sent,
    shown,
    status,
    tracker,
)

REJECTION = "Order rejected - reason:Insufficient margin"
ENDS = (ReportStatus.REJECTED, ReportStatus.CANCELLED, ReportStatus.EXPIRED)


def orders_of(messages):
    return list(itertools.permutations(messages))


def statuses_of(reports):
    return [report.status for report in reports if isinstance(report, OrderReport)]


def fills_of(reports):
    return [report.fill for report in reports if isinstance(report, FillReport)]


# --- one order, in the usual way ---


def test_a_report_carries_both_ids_the_terms_and_the_details():
    reports = heard(tracker(), shown(), settle=False)
    terms = OrderTerms(Decimal(100), Decimal(500), None, Side.BUY, Instrument("SPY"))
    assert reports == [OrderReport(ReportStatus.WORKING, REF, "900", None, None, None, DETAILS, terms)]


def test_an_execution_is_told_with_its_ids_and_its_commission_apart_from_it():
    made = tracker()
    [told] = made.hear(execution("0001.01.01", "33.5", "499.99"))
    assert (told.client_order_id, told.broker_order_id, told.details) == (REF, "900", DETAILS)
    fill = told.fill
    assert (fill.execution_id, fill.correction, fill.side, fill.leg) == ("0001.01", 0, Side.BUY, None)
    assert (fill.quantity, fill.price, fill.time) == (Decimal("33.5"), Decimal("499.99"), NOW)
    assert fill.commission is None
    [cost] = made.hear(commission("0001.01.01", "-0.35", "EUR"))
    assert cost == CommissionReport("0001.01", Commission(Decimal("-0.35"), "EUR"), REF, "900")


@pytest.mark.parametrize("word", ["PendingSubmit", "ApiPending", "PendingCancel"])
def test_without_a_permanent_id_a_pending_word_says_nothing(word):
    made = tracker()
    assert heard(made, shown(word, 0), status(word, perm_id=0)) == []
    assert made.answer(7) is None


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([status("PendingSubmit")], ReportStatus.WORKING),
        ([shown("PreSubmitted")], ReportStatus.HELD),
        ([status("PreSubmitted", 5)], ReportStatus.WORKING),
        ([shown("Submitted")], ReportStatus.WORKING),
        ([status("Inactive", why_held="locate")], ReportStatus.HELD),
        ([status("Filled", 100)], ReportStatus.WORKING),
        ([execution()], ReportStatus.WORKING),
        ([shown("Submitted"), status("Cancelled")], ReportStatus.WORKING),
        ([shown("Submitted"), status("Cancelled"), error(202)], ReportStatus.WORKING),
        ([completed("Filled", filled=Decimal(100))], ReportStatus.WORKING),
        ([completed("Cancelled", completed_status="Cancelled by Trader")], ReportStatus.WORKING),
    ],
)
def test_a_permanent_id_means_that_the_order_is_taken(told, expected):
    made = tracker()
    heard(made, *told, settle=False)
    assert made.answer(7) == Taken("900", expected)


def test_nothing_is_known_of_an_order_that_was_not_sent():
    made = tracker(order_id=None)
    heard(made, shown())
    assert made.answer(7) is None
    assert tracker().answer(8) is None


@pytest.mark.parametrize("code", [399, 2161, 2109, 10349, 10311, 202, 10147, 10148, 161, 12345, 2104, 10167, 100])
def test_what_is_no_refusal_ends_nothing(code):
    made = tracker()
    assert heard(made, error(code, "words")) == []
    assert made.answer(7) is None
    assert statuses_of(heard(made, shown(), error(code, "words"))) == [ReportStatus.WORKING]


# --- refusals ---


def test_a_refusal_of_a_new_order_ends_it_at_once_by_its_error_alone():
    made = tracker()
    [told] = made.hear(error(201, REJECTION))
    assert (told.status, told.client_order_id, told.reason) == (ReportStatus.REJECTED, REF, f"{REJECTION} (201)")
    assert made.answer(7) == Refused(201, f"{REJECTION} (201)")
    assert not made.address(ORDER).is_open


@pytest.mark.parametrize("messages", orders_of([error(201, REJECTION), shown("Inactive"), status("Inactive")]))
def test_a_refusal_is_one_with_its_reason_in_whatever_order_it_comes(messages):
    made = tracker()
    after = followed(ORDER, heard(made, *messages))
    assert (after.status, after.reason_code, after.reason) == (
        OrderStatus.REJECTED,
        ReasonCode.BROKER_REJECTED,
        f"{REJECTION} (201)",
    )
    assert made.answer(7) == Refused(201, f"{REJECTION} (201)")


def test_inactive_waits_for_its_reason_and_is_a_refusal_without_one():
    made = tracker()
    assert heard(made, shown("Inactive"), status("Inactive"), settle=False) == []
    assert made.lacks_reasons()
    assert made.answer(7) is None
    [told] = made.settle()
    assert told.status is ReportStatus.REJECTED
    assert not made.lacks_reasons()
    assert isinstance(made.answer(7), Refused)


def test_inactive_is_explained_by_an_unknown_error():
    told = heard(tracker(), error(12345, "strange things"), status("Inactive"))[-1]
    assert (told.status, told.reason) == (ReportStatus.REJECTED, "strange things (12345)")


@pytest.mark.parametrize("words", orders_of(["Inactive", "Cancelled"]))
def test_cancelled_says_more_than_inactive(words):
    reports = heard(tracker(), shown(), *(status(word) for word in words))
    assert statuses_of(reports)[-1] is ReportStatus.CANCELLED


def test_an_order_that_waits_for_a_locate_is_held_and_comes_back_to_work():
    made = tracker()
    after = followed(
        ORDER, heard(made, status("Inactive", why_held="locate"), shown("Inactive"), status("Submitted"), execution())
    )
    assert after.status is OrderStatus.FILLED
    assert statuses_of(heard(tracker(), status("Inactive", why_held="locate"))) == [ReportStatus.HELD]


def test_an_inactive_order_that_comes_back_to_life_before_it_is_called_ended_has_not_ended():
    made = tracker()
    reports = heard(made, shown(), status("Inactive"), status("Submitted"))
    assert not [word for word in statuses_of(reports) if word in ENDS]
    assert made.address(ORDER).is_open


@pytest.mark.parametrize("working", [shown("Submitted"), shown("PreSubmitted"), execution(quantity=5)])
@pytest.mark.parametrize("code", [201, 110, 321])
def test_a_refusal_that_answers_a_modification_of_a_working_order_ends_nothing(working, code):
    made = tracker()
    reports = heard(made, working, error(code, "The modification was refused"))
    assert not [word for word in statuses_of(reports) if word in ENDS]
    assert made.address(ORDER).is_open
    assert isinstance(made.answer(7), Taken)


def test_after_a_refused_modification_a_cancel_is_still_a_cancel():
    for end in orders_of([status("Cancelled"), error(202, "Order Canceled - reason:")]):
        after = followed(ORDER, heard(tracker(), shown(), error(201, "no such change"), *end))
        assert after.status is OrderStatus.CANCELLED


def test_an_order_that_was_taken_and_is_refused_later_is_refused():
    reports = heard(tracker(), shown(), status(), error(201, REJECTION), status("Cancelled"))
    after = followed(ORDER, reports)
    assert (after.status, after.reason) == (OrderStatus.REJECTED, f"{REJECTION} (201)")


def test_a_refusal_of_the_rest_tells_what_was_filled():
    reports = heard(tracker(), shown(), execution(quantity=33), error(201, REJECTION), shown("Inactive"))
    after = followed(ORDER, reports)
    assert (after.status, after.reason_code, after.filled_quantity) == (
        OrderStatus.CANCELLED,
        ReasonCode.BROKER_REJECTED,
        Decimal(33),
    )


def test_an_order_id_in_use_means_that_nothing_was_taken():
    made = tracker()
    assert heard(made, error(103, "Duplicate order id")) == []
    assert made.answer(7) == NotTaken(
        "Duplicate order id (103): the order id was used before; nothing was sent under it this time"
    )
    assert not made.address(ORDER).is_open
    taken = tracker()
    heard(taken, shown(), error(103, "Duplicate order id"))
    assert taken.answer(7) == Taken("900", ReportStatus.WORKING)


def test_an_order_that_ended_before_it_had_a_permanent_id_is_told_by_our_id():
    made = tracker()
    [told] = heard(made, status("ApiCancelled", perm_id=0))
    assert (told.status, told.client_order_id, told.broker_order_id) == (ReportStatus.CANCELLED, REF, None)
    assert isinstance(made.answer(7), Refused)


# --- ends ---


@pytest.mark.parametrize("end", orders_of([status("Cancelled"), error(202, "Order Canceled - reason:")]))
def test_a_cancel_and_its_confirmation_come_in_any_order(end):
    made = tracker()
    reports = heard(made, shown(), *end, settle=False)
    assert statuses_of(reports) == [ReportStatus.WORKING, ReportStatus.CANCELLED]
    assert reports[-1].reason is None
    assert not made.lacks_reasons()


@pytest.mark.parametrize("end", orders_of([status("Cancelled"), error(202, "Order Canceled - reason:Order expired")]))
def test_a_day_order_that_expired_is_told_so(end):
    assert followed(ORDER, heard(tracker(), shown(), *end)).status is OrderStatus.EXPIRED


def test_the_rest_of_an_immediate_order_is_cancelled_whatever_the_text():
    one = order(time_in_force=TimeInForce.IOC)
    made = tracker(one=one, tif="IOC")
    told = (
        shown(tif="IOC"),
        execution(quantity=30),
        error(202, "Order Canceled - reason:Expired"),
        status("Cancelled", 30),
    )
    after = followed(one, heard(made, *told))
    assert (after.status, after.reason_code, after.filled_quantity) == (
        OrderStatus.CANCELLED,
        ReasonCode.EXPIRED,
        Decimal(30),
    )


def test_a_cancel_without_a_word_of_why_is_told_when_nothing_more_is_to_come():
    made = tracker()
    assert statuses_of(heard(made, shown(), status("Cancelled"), settle=False)) == [ReportStatus.WORKING]
    assert made.lacks_reasons()
    assert not made.address(ORDER).is_open
    assert statuses_of(made.settle()) == [ReportStatus.CANCELLED]
    assert made.settle() == ()


@pytest.mark.parametrize("end", orders_of([status("Cancelled"), completed("Cancelled", completed_status="Expired")]))
def test_the_list_of_ended_orders_explains_an_end(end):
    made = tracker()
    assert statuses_of(heard(made, shown(), *end, settle=False))[-1] is ReportStatus.EXPIRED
    assert not made.lacks_reasons()


def test_a_late_word_of_work_does_not_reopen_what_was_cancelled():
    made = tracker()
    after = followed(ORDER, heard(made, shown(), status("Cancelled"), error(202), shown(), status()))
    assert after.status is OrderStatus.CANCELLED
    assert not made.address(ORDER).is_open


def test_what_trades_after_a_cancel_is_told():
    reports = heard(tracker(), shown(), status("Cancelled"), error(202), status("Filled", 100), execution())
    assert followed(ORDER, reports).status is OrderStatus.FILLED


def test_executions_without_the_word_filled_fill_the_order():
    assert followed(ORDER, heard(tracker(), shown(), execution())).status is OrderStatus.FILLED


def test_the_word_filled_without_executions_says_that_some_are_missing():
    made = tracker()
    after = followed(ORDER, heard(made, shown(), status("Filled", 100)))
    assert (after.status, after.reported_filled_quantity) == (OrderStatus.SUBMITTED, Decimal(100))
    assert made.lacks_executions()
    heard(made, execution(quantity=60))
    assert made.lacks_executions()
    heard(made, execution("0002.01.01", 40))
    assert not made.lacks_executions()


def test_a_bust_is_no_missing_execution():
    made = tracker()
    heard(made, shown(), status("Filled", 100), execution(), execution("0001.01.02", 0))
    assert not made.lacks_executions()


# --- executions and what they cost ---


@pytest.mark.parametrize(
    "messages", orders_of([execution("0001.01.01", 100), execution("0001.01.02", 70), execution("0001.01.03", 0)])
)
def test_corrections_replace_each_other_in_whatever_order_they_come(messages):
    after = followed(ORDER, heard(tracker(), shown(), *messages))
    assert [(fill.quantity, fill.correction) for fill in after.fills.values()] == [(Decimal(0), 2)]


@pytest.mark.parametrize(
    "messages",
    orders_of(
        [execution("0001.01.01"), commission("0001.01.01", "1"), execution("0001.01.02"), commission("0001.01.02", "2")]
    ),
)
def test_the_commission_of_the_newest_version_counts(messages):
    after = followed(ORDER, heard(tracker(), *messages))
    assert after.commission == Commission(Decimal(2), "USD")


def test_a_commission_that_comes_before_its_execution_is_remembered():
    made = tracker()
    assert made.hear(commission()) == ()
    fill, cost = made.hear(execution())
    assert fill.fill.commission is None
    assert cost.commission == Commission(Decimal(1), "USD")


@pytest.mark.parametrize("told", [commission(amount=None), commission(currency="")])
def test_a_commission_that_is_none_is_not_told(told):
    assert len(heard(tracker(), execution(), told)) == 1


def test_a_commission_of_nothing_is_one():
    assert heard(tracker(), execution(), commission(amount="0"))[-1].commission == Commission(Decimal(0), "USD")


@pytest.mark.parametrize(
    ("execution_id", "name", "number"),
    [
        ("0000e0d5.6055a1e1.01.01", "0000e0d5.6055a1e1.01", 0),
        ("0000e0d5.6055a1e1.01.12", "0000e0d5.6055a1e1.01", 11),
        ("plain", "plain", 0),
        ("a.b", "a.b", 0),
    ],
)
def test_the_name_of_an_execution(execution_id, name, number):
    told = execution(execution_id)
    [fill] = fills_of(heard(tracker(), told))
    assert (fill.execution_id, fill.correction) == (name, number)


def test_an_execution_that_is_none_costs_no_session(caplog):
    assert heard(tracker(), execution(quantity=0), execution("2.01", side="?"), execution("3.01", -5)) == []
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3


# --- whose message it is ---


def test_a_status_before_anything_that_names_its_account_waits_for_it():
    made = tracker(order_id=None)
    assert made.hear(status("Submitted", 10)) == ()
    reports = made.hear(shown())
    assert {report.filled_quantity for report in reports} == {Decimal(10)}
    other = tracker(order_id=None)
    assert (
        heard(other, status(), shown(account="DU7654321"), status("Filled", 100), execution(account="DU7654321")) == []
    )
    assert not other.lacks_executions()


def test_an_end_before_anything_that_names_its_account_is_not_lost():
    made = tracker(order_id=None)
    reports = heard(made, status("Cancelled"), shown("Submitted"))
    assert ReportStatus.CANCELLED in statuses_of(reports)
    filled = heard(tracker(order_id=None), status("Filled", 100), shown("Submitted"))
    assert ReportStatus.FILLED in statuses_of(filled)


def test_other_accounts_are_ignored():
    made = tracker()
    told = (
        shown(perm_id=55, account="DU7654321", order_ref="x", order_id=3, client_id=9),
        status(perm_id=55, order_id=3, client_id=9),
        execution("9.9.01", perm_id=55, account="DU7654321", order_ref="x", order_id=3, client_id=9),
        commission("9.9.01"),
        completed("Cancelled", 55, account="DU7654321", order_ref="x"),
    )
    assert heard(made, *told) == []
    assert made.answer(7) is None


def test_another_clients_order_with_the_same_order_id_is_another_order():
    made = tracker()
    reports = heard(
        made,
        shown(perm_id=55, order_ref="theirs", client_id=9),
        status(perm_id=56, client_id=9),
        shown(perm_id=56, order_ref="", client_id=9),
    )
    assert {report.client_order_id for report in reports} == {None}
    assert {report.broker_order_id for report in reports} == {"55", "56"}
    assert made.answer(7) is None


def test_an_order_entered_by_hand_is_told_as_none_of_ours():
    made = tracker()
    manual = {"order_id": 0, "client_id": 0, "order_ref": ""}
    bought = execution("8.8.01", 5, perm_id=77, side="SLD", **manual)
    reports = heard(made, shown(perm_id=77, **manual), status(perm_id=77, order_id=0, client_id=0), bought)
    assert {(report.client_order_id, report.broker_order_id) for report in reports} == {(None, "77")}
    assert fills_of(reports)[0].side is Side.SELL
    assert made.answer(7) is None


@pytest.mark.parametrize("ref", ["free text", "abcdefghijklmnopqrst", "ABCDEFGHIJKLMNOPQRS1", f"{REF}-sl", ""])
def test_a_reference_that_is_none_of_ours_is_not_taken_for_one(ref):
    [told] = heard(tracker(order_id=None), shown(order_ref=ref, perm_id=77))
    assert (told.client_order_id, told.broker_order_id) == (None, "77")


def test_an_order_of_an_earlier_session_is_known_by_its_reference():
    made = tracker(order_id=None)
    reports = heard(made, shown(order_id=3), status(order_id=3), execution(order_id=3))
    assert {(report.client_order_id, report.broker_order_id) for report in reports} == {(REF, "900")}
    assert made.address(ORDER) == Address(3, CLIENT, 900, True)


def test_errors_about_an_order_of_an_earlier_session_find_it():
    made = tracker(order_id=None)
    reports = heard(made, shown(order_id=3), status("Cancelled", order_id=3), error(202, "Order Canceled - reason:", 3))
    assert statuses_of(reports)[-1] is ReportStatus.CANCELLED
    assert not made.lacks_reasons()


def test_errors_about_nothing_known_say_nothing():
    made = tracker()
    assert heard(made, error(201, "x", 99), ErrorTold(NO_REQUEST, 1100, "gone"), ErrorTold(0, 201, "x")) == []


def test_an_order_id_that_was_issued_again_is_another_order():
    made = tracker(order_id=None)
    old = order("old").client_order_id
    heard(made, execution("1.1.01", perm_id=111, order_ref=old), completed("Filled", 111, order_ref=old))
    made.sending(7, ORDER, sent(), SPY, DETAILS)
    assert made.answer(7) is None
    reports = heard(
        made,
        status("Filled", 100, perm_id=111),
        execution("1.1.01", perm_id=111, order_ref=old),
        shown("Submitted", 111, order_ref=old),
    )
    assert {report.client_order_id for report in reports} == {old}
    assert made.answer(7) is None
    heard(
        made, status("Submitted", perm_id=222), error(202, "Order Canceled - reason:"), status("Cancelled", perm_id=222)
    )
    assert made.answer(7) == Taken("222", ReportStatus.WORKING)


def test_a_status_of_an_older_order_with_that_order_id_is_not_kept_for_ours():
    made = tracker()
    made.hear(status("Filled", 100, perm_id=111))
    heard(made, shown("Filled", 111, order_ref=order("old").client_order_id))
    assert made.answer(7) is None
    assert made.address(ORDER) == Address(7, CLIENT, 0, True)
    heard(made, status("PreSubmitted", perm_id=222), shown("PreSubmitted", 222))
    assert made.answer(7) == Taken("222", ReportStatus.HELD)


def test_the_same_order_id_sent_again_names_the_newer_order():
    made = tracker()
    heard(made, shown(), execution())
    second = order("second")
    made.sending(7, second, sent(second), SPY, DETAILS)
    assert made.answer(7) is None
    assert made.hear(error(201, REJECTION))[0].client_order_id == second.client_order_id
    [late] = made.hear(execution("0002.01.01", 1))
    assert (late.client_order_id, late.broker_order_id) == (REF, "900")


def test_one_order_under_two_permanent_ids_is_told_under_both():
    made = tracker()
    reports = heard(made, shown(perm_id=900), status(perm_id=901), shown(perm_id=901), execution(perm_id=901))
    assert {(report.client_order_id, report.broker_order_id) for report in reports} == {(REF, "900"), (REF, "901")}
    heard(made, status("Cancelled", perm_id=901))
    assert made.address(ORDER) == Address(7, CLIENT, 900, True)
    heard(made, status("Submitted", perm_id=902), shown(perm_id=902), status("Cancelled", perm_id=900))
    assert made.address(ORDER) == Address(7, CLIENT, 902, True)


def test_the_list_of_ended_orders_answers_a_send():
    made = tracker()
    heard(made, completed("Cancelled", 900, completed_status="Cancelled by Trader"))
    assert made.answer(7) == Taken("900", ReportStatus.WORKING)
    reports = heard(made, status("Cancelled"))
    assert {report.client_order_id for report in reports} == {REF}


def test_an_execution_without_any_id_of_an_order_is_told_all_the_same():
    made = tracker()
    nobody = {"perm_id": 0, "order_id": 0, "client_id": 0, "order_ref": ""}
    reports = heard(made, execution("7.7.01", **nobody), execution("7.7.01", **nobody))
    assert [report.broker_order_id for report in reports] == ["0"]
    elsewhere = execution("6.6.01", perm_id=0, order_id=4, client_id=9)
    assert [report.client_order_id for report in heard(made, elsewhere)] == [REF]


def test_addresses():
    made = tracker()
    assert made.address(order("another")) is None
    assert made.address(ORDER) == Address(7, CLIENT, 0, True)
    heard(made, shown())
    assert made.address(ORDER) == Address(7, CLIENT, 900, True)
    by_id = replace(order("unheard"), broker_order_ids=("900",))
    assert made.address(by_id) == Address(7, CLIENT, 900, True)
    heard(made, status("Filled", 100))
    assert made.address(ORDER) == Address(7, CLIENT, 900, False)
    ended = tracker(order_id=None)
    heard(ended, completed("Filled", filled=Decimal(100)))
    assert ended.address(ORDER) == Address(0, 0, 900, False)
    theirs = tracker(order_id=None)
    heard(theirs, shown(client_id=5, order_id=12))
    assert theirs.address(ORDER) == Address(12, 5, 900, True)


# --- terms ---


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (Decimal(100), Decimal(500), None)),
        ({"total_quantity": Decimal(60), "limit_price": Decimal(490)}, (Decimal(60), Decimal(490), None)),
        ({"order_type": "MKT", "limit_price": Decimal(0)}, (Decimal(100), None, None)),
        ({"order_type": "STP", "limit_price": None, "stop_price": Decimal(495)}, (Decimal(100), None, Decimal(495))),
        ({"order_type": "STP LMT", "stop_price": Decimal(495)}, (Decimal(100), Decimal(500), Decimal(495))),
        ({"total_quantity": Decimal(0)}, (None, Decimal(500), None)),
        ({"cash_quantity": Decimal(1000), "total_quantity": Decimal(2)}, (None, Decimal(500), None)),
    ],
)
def test_the_terms_are_those_of_the_whole_order(fields, expected):
    [report] = heard(tracker(), shown(**fields))
    terms = report.terms
    assert (terms.quantity, terms.limit_price, terms.stop_price) == expected
    assert (terms.side, terms.instrument) == (Side.BUY, Instrument("SPY"))


def test_a_status_repeats_the_terms_and_an_end_tells_none():
    made = tracker()
    reports = heard(made, shown(), status(), status("Cancelled"), error(202))
    assert [report.terms is None for report in reports] == [False, False, True]


def test_an_order_of_a_stranger_shows_what_it_is():
    [report] = heard(tracker(order_id=None), shown(order_ref="", action="SELL", perm_id=5))
    assert (report.terms.instrument, report.terms.side) == (Instrument("SPY", currency="USD"), Side.SELL)
    assert report.details == InstrumentDetails(currency="USD")


def test_what_is_known_of_contracts_can_be_given():
    made = Tracker(ACCOUNT, CLIENT, lambda contract: InstrumentDetails(Decimal(50), currency=contract.currency))
    assert heard(made, shown())[0].details == InstrumentDetails(Decimal(50), currency="USD")


# --- orders for money ---


def test_a_cash_order_is_complete_with_the_quantity_of_its_last_word():
    one = order(quantity=None, cash_quantity=Decimal(1000), order_type=OrderType.MARKET, limit_price=None)
    told = [
        shown("Filled", total_quantity=None, cash_quantity=Decimal(1000)),
        status("Submitted", "1.5", remaining=Decimal(0)),
        status("Filled", "3.25", remaining=Decimal(0)),
        execution("1.1.01", "1.5"),
        execution("1.2.01", "1.75"),
    ]
    for messages in orders_of(told):
        made = tracker(one=one, quantity=None, cash_quantity=Decimal(1000))
        after = followed(one, heard(made, *messages))
        assert (after.status, after.quantity) == (OrderStatus.FILLED, Decimal("3.25"))


def test_a_quantity_that_was_sent_as_money_is_complete_with_what_it_bought():
    one = order(quantity=Decimal("0.5"), order_type=OrderType.MARKET, limit_price=None)
    made = tracker(one=one, quantity=None, cash_quantity=Decimal(25000))
    told = (
        shown(order_type="MKT", total_quantity=None, cash_quantity=Decimal(25000)),
        execution(quantity="0.4998"),
        status("Filled", "0.4998"),
    )
    after = followed(one, heard(made, *told))
    assert (after.status, after.filled_quantity) == (OrderStatus.FILLED, Decimal("0.4998"))


def test_an_order_that_was_lowered_and_filled_while_nobody_listened_is_complete():
    after = followed(
        ORDER, heard(tracker(order_id=None), execution(quantity=60), completed("Filled", filled=Decimal(60)))
    )
    assert (after.status, after.quantity) == (OrderStatus.FILLED, Decimal(60))


# --- combinations ---

WHOLE = {"contract": STRADDLE, "limit_price": Decimal(30), "total_quantity": Decimal(10)}
BAG = execution("c.01.01", 10, "30", contract=replace(STRADDLE, legs=()))
LEG_CALL = execution("c.02.01", 10, "18", contract=CALL)
LEG_PUT = execution("c.03.01", 10, "12", contract=PUT)


@pytest.mark.parametrize("order_id", [7, None])
def test_executions_of_legs_are_never_the_orders_own(order_id):
    one = order(quantity=Decimal(10), limit_price=Decimal(30))
    for messages in orders_of([BAG, LEG_CALL, LEG_PUT, shown(**WHOLE), status("Filled", 10)]):
        made = tracker(one=one, order_id=order_id, contract=STRADDLE)
        reports = heard(made, *messages, settle=False)
        assert {(fill.execution_id, fill.leg) for fill in fills_of(reports)} == {
            ("c.01", None),
            ("c.02", 0),
            ("c.03", 1),
        }
        assert not made.lacks_legs()
        assert not made.lacks_executions()
        after = followed(one, reports)
        assert (after.status, after.filled_quantity, len(after.fills)) == (OrderStatus.FILLED, Decimal(10), 3)


def test_executions_that_may_be_of_legs_wait_until_that_is_known():
    made = tracker(order_id=None)
    assert heard(made, LEG_CALL, commission("c.02.01"), settle=False)[1:] == []
    assert made.lacks_legs()
    reports = heard(made, completed("Filled", filled=Decimal(10), contract=STRADDLE), settle=False)
    assert [fill.leg for fill in fills_of(reports)] == [0]
    assert not made.lacks_legs()


def test_an_execution_whose_order_is_never_shown_is_told_in_the_end():
    made = tracker(order_id=None)
    assert fills_of(heard(made, execution(), settle=False)) == []
    assert made.lacks_legs()
    assert [fill.leg for fill in fills_of(made.settle())] == [None]
    assert not made.lacks_legs()


def test_legs_whose_combination_is_never_shown_are_never_told_as_the_orders_own():
    made = tracker(order_id=None)
    reports = heard(made, LEG_CALL, LEG_PUT, BAG)
    assert {(fill.execution_id, fill.leg) for fill in fills_of(reports)} == {("c.01", None)}
    assert made.lacks_legs()


def test_the_commission_of_an_execution_that_waits_is_told_with_it():
    made = tracker(order_id=None)
    heard(made, LEG_PUT, commission("c.03.01", "0.7"), settle=False)
    reports = heard(made, shown(**WHOLE), settle=False)
    costs = [report for report in reports if isinstance(report, CommissionReport)]
    assert [(cost.execution_id, cost.commission.amount) for cost in costs] == [("c.03", Decimal("0.7"))]


@pytest.mark.parametrize("kind", ["CASH", "CRYPTO"])
def test_what_is_never_a_leg_does_not_wait(kind):
    made = tracker(order_id=None)
    contract = replace(SPY, sec_type=kind)
    assert len(fills_of(heard(made, execution(contract=contract), settle=False))) == 1


# --- any order, any repetition ---


def summary_of(after):
    commissions = dict(after.commissions)
    fills = {key: (fill.quantity, fill.price, fill.correction, fill.leg) for key, fill in after.fills.items()}
    return (after.status, after.quantity, after.filled_quantity, after.average_price, commissions, fills)


def reason_of(after):
    return after.reason_code, after.reason


part = st.integers(1, 100)
cents = st.integers(100, 99999).map(lambda number: Decimal(number) / 100)


@st.composite
def histories(draw):
    """What TWS says of one order for 100, in the order in which it happened: executions, corrections, an end."""
    told = [shown("PendingSubmit"), shown("PreSubmitted"), status("PreSubmitted"), shown(), status()]
    if draw(st.booleans()):
        return [error(201, REJECTION), shown("Inactive"), status("Inactive")]
    filled = Decimal(0)
    for number in range(draw(st.integers(0, 4))):
        quantity = min(Decimal(draw(part)), 100 - filled)
        if not quantity:
            break
        filled += quantity
        newest = draw(st.integers(1, 3))
        told.append(execution(f"00{number}.01.01", str(quantity), str(draw(cents))))
        if draw(st.booleans()):
            told.append(commission(f"00{number}.01.01", str(draw(cents))))
        for version in range(2, newest + 1):
            corrected = draw(st.integers(0, int(quantity)))
            told.append(execution(f"00{number}.01.0{version}", corrected, str(draw(cents))))
            if draw(st.booleans()):
                told.append(commission(f"00{number}.01.0{version}", str(draw(cents))))
        if draw(st.booleans()):
            told.append(status("Submitted", str(filled)))
    if filled < 100:
        reason = draw(st.sampled_from(["", "Order expired", "by OCA"]))
        end = [status("PendingCancel", str(filled)), status("Cancelled", str(filled)), shown("Cancelled")]
        told += draw(st.sampled_from([[], [*end, error(202, f"Order Canceled - reason:{reason}")]]))
    elif draw(st.booleans()):
        told += [status("Filled", str(filled)), shown("Filled")]
    return told


@given(st.data(), histories(), st.booleans())
def test_any_order_and_repetition_of_messages_leads_to_the_same_order(data, told, is_sent_here):
    order_id = 7 if is_sent_here else None
    if not is_sent_here:
        told = [one for one in told if not isinstance(one, ErrorTold)]  # who did not send it hears no errors about it
        told += [completed("Cancelled", completed_status="")] if any("Inactive" in str(one) for one in told) else []
    straight = heard(tracker(order_id=order_id), *told)
    repeated = data.draw(st.lists(st.sampled_from(told), max_size=5))
    shuffled = data.draw(st.permutations(told + repeated))
    mixed = heard(tracker(order_id=order_id), *shuffled)
    one, other = followed(ORDER, straight), followed(ORDER, mixed)
    assert summary_of(one) == summary_of(other)
    assert reason_of(one)[0] == reason_of(other)[0]
    named = {
        (one.execution_id.rpartition(".")[0], int(one.execution_id[-2:]) - 1)
        for one in told
        if hasattr(one, "execution_id") and hasattr(one, "side")
    }
    for reports in (straight, mixed):
        assert {(fill.execution_id, fill.correction) for fill in fills_of(reports)} == named, "no execution is missing"


@given(st.data())
def test_no_message_of_others_disturbs_ours(data):
    """Orders of other clients, other accounts and by hand, with ids like ours, before, between and after."""
    strangers = [
        shown(perm_id=800, client_id=9, order_ref="theirs"),
        status("Cancelled", perm_id=800, client_id=9),
        execution("s.1.01", 5, perm_id=800, client_id=9, order_ref="theirs"),
        shown(perm_id=801, account="DU7654321"),
        status("Filled", 100, perm_id=801),
        execution("s.2.01", 7, perm_id=801, account="DU7654321"),
        shown("Inactive", perm_id=802, client_id=0, order_id=0, order_ref=""),
        status("Cancelled", perm_id=802, client_id=0, order_id=0),
        execution("s.3.01", 9, perm_id=802, client_id=0, order_id=0, order_ref=""),
        completed("Cancelled", 803, order_ref="old", completed_status="Cancelled by Trader"),
        commission("s.2.01"),
    ]
    ours = [shown(), status(), execution("o.1.01", 40), status("Cancelled", 40), error(202, "Order Canceled - reason:")]
    # Ours come in their order; a status of the other account's order 801 comes after what says whose it is.
    mixed = list(ours)
    for stranger in strangers:
        mixed.insert(data.draw(st.integers(0, len(mixed))), stranger)
    mixed.sort(key=lambda one: 0 if getattr(one, "perm_id", 0) == 801 and getattr(one, "account", None) else 1)
    made = tracker()
    after = followed(ORDER, heard(made, *mixed))
    assert (after.status, after.filled_quantity, after.broker_order_ids) == (
        OrderStatus.CANCELLED,
        Decimal(40),
        ("900",),
    )
