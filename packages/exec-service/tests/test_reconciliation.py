"""What the broker says against what we have: exact, silent where nothing is proven, the same however often asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from exec_core.broker import BrokerPosition, Found, View
from exec_core.fills import Fill
from exec_core.identifiers import AccountId, BrokerOrderId, ClientOrderId, ExecutionId, SignalId
from exec_core.instruments import AssetClass, Instrument, Right
from exec_core.modifications import ToldTerm
from exec_core.orders import Order, OrderRequest, OrderStatus, OrderType
from exec_core.reports import FillReport, OrderReport, OrderTerms, ReportStatus
from exec_core.sides import Side
from exec_service import findings
from exec_service.findings import Event
from exec_service.reconciliation import (
    ORDER_KINDS,
    Finding,
    Kind,
    Look,
    Shown,
    agreed,
    beyond_asked,
    by_our_books,
    compare_orders,
    external,
    is_suspicious,
    joined,
    look_of,
    missing,
)
from exec_service.reconciliation_positions import Holding, compare_positions, held_by_broker
from exec_service.recovery import NOT_SHOWN
from exec_service.stores import Document
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WHOLE = View(NOW, complete=True, covers_from=NOW - timedelta(days=1))
PART = View(NOW, complete=False, covers_from=NOW - timedelta(days=1))
D = Decimal


def order(signal_id: str = "sig_1", quantity: str | None = "100", **state: Any) -> Order:
    """An order that the broker has as b-1, unless told otherwise."""
    amount: dict[str, Any] = {"cash_quantity": D(500)} if quantity is None else {"quantity": D(quantity)}
    request = OrderRequest(
        SignalId(signal_id),
        AccountId("acc_1"),
        "Trend",
        Instrument("SPY"),
        Side.BUY,
        OrderType.LIMIT,
        limit_price=D("235.20"),
        **amount,
    )
    known = {"status": OrderStatus.SUBMITTED, "broker_order_ids": (BrokerOrderId("b-1"),), "acknowledged_at": NOW}
    return replace(Order.new(request), **{**known, **state})


def filled(one: Order, *quantities: str) -> Order:
    fills = {
        ExecutionId(f"e-{number}"): Fill(ExecutionId(f"e-{number}"), Side.BUY, D(quantity), D(235), NOW)
        for number, quantity in enumerate(quantities)
    }
    return replace(one, fills=MappingProxyType(fills))


def report(
    one: Order | None, name: str = "b-1", quantity: str | None = "100", done: str = "0", **other: Any
) -> OrderReport:
    terms = None if quantity is None else OrderTerms(D(quantity))
    known: dict[str, Any] = {"status": ReportStatus.WORKING, "filled_quantity": D(done), "terms": terms, **other}
    client = None if one is None else one.client_order_id
    return OrderReport(client_order_id=client, broker_order_id=BrokerOrderId(name), **known)


def fill_report(one: Order, name: str, execution: str, quantity: str, correction: int = 0) -> FillReport:
    fill = Fill(ExecutionId(execution), Side.BUY, D(quantity), D(235), NOW, correction=correction)
    return FillReport(fill, one.client_order_id, BrokerOrderId(name))


def by_id(*orders: Order) -> dict[ClientOrderId, Order]:
    return {one.client_order_id: one for one in orders}


def look(*orders: Order, shown: tuple[OrderReport, ...] = (), found: Mapping[Any, Any] | None = None) -> Look:
    """One look at orders that did not change meanwhile."""
    ours = by_id(*orders)
    live = {key: one for key, one in ours.items() if not one.status.is_final}
    ids = [Shown(line, line.client_order_id if line.client_order_id in ours else None) for line in shown]
    return compare_orders(live, ours, ids, found or {})


def kinds(one: Look) -> set[Kind]:
    return {about[0] for about in one.findings}


class TestOrders:
    def test_where_both_say_the_same_there_is_nothing(self) -> None:
        one = order()
        assert look(one, shown=(report(one),)) == look_of((), ORDER_KINDS)

    def test_an_order_that_is_not_listed_is_asked_for_before_anything_is_said(self) -> None:
        one = order()
        assert missing(by_id(one), by_id(one), []) == [one.client_order_id]
        assert look(one).findings == {}

    def test_one_that_the_broker_does_not_know_is_found_and_no_more_once_it_is_listed(self) -> None:
        one = order(attention=NOT_SHOWN)
        assert kinds(look(one)) == {Kind.UNKNOWN_TO_BROKER}
        again = look(one, shown=(report(one),))
        assert again.findings == {}
        assert again.denies((Kind.UNKNOWN_TO_BROKER, one.client_order_id))

    @pytest.mark.parametrize("status", [OrderStatus.PENDING, OrderStatus.SUBMITTING, OrderStatus.UNKNOWN])
    def test_what_is_being_sent_or_settled_is_not_judged(self, status: OrderStatus) -> None:
        one = order(status=status, attention=NOT_SHOWN)
        assert missing(by_id(one), by_id(one), []) == []
        seen = look(one)
        assert seen.findings == {}
        assert not seen.denies((Kind.UNKNOWN_TO_BROKER, one.client_order_id))

    def test_what_changed_while_the_broker_was_asked_is_not_judged(self) -> None:
        before = order(attention=NOT_SHOWN)
        after = replace(before, revision=2)
        seen = compare_orders(by_id(before), by_id(after), [], {})
        assert missing(by_id(before), by_id(after), []) == []
        assert (seen.findings, seen.again) == ({}, True)
        assert not seen.denies((Kind.UNKNOWN_TO_BROKER, before.client_order_id))

    def test_what_was_accepted_while_the_broker_was_asked_is_not_judged(self) -> None:
        one = order(attention=NOT_SHOWN)
        seen = compare_orders({}, by_id(one), [], {})
        assert (seen.findings, seen.again) == ({}, True)
        assert missing({}, by_id(one), []) == []

    def test_one_that_ended_while_the_broker_was_asked_is_not_judged(self) -> None:
        one = order()
        seen = compare_orders(by_id(one), {}, [], {})
        assert (seen.findings, seen.again) == ({}, True)

    @pytest.mark.parametrize(
        ("told", "figures"),
        [
            ((ToldTerm("limit_price", D(234)),), {"limit_price": D(234)}),
            ((ToldTerm("quantity", D(60)),), {"quantity": D(60)}),
            (
                (ToldTerm("quantity", D(60)), ToldTerm("limit_price", D(234))),
                {"quantity": D(60), "limit_price": D(234)},
            ),
            ((ToldTerm("limit_price", D("235.2")),), None),
            ((ToldTerm("quantity", D("100.0")),), None),
        ],
    )
    def test_other_terms_than_were_asked_are_found_exactly(self, told: Any, figures: Any) -> None:
        one = order(told_terms=told)
        found = list(look(one, shown=(report(one, quantity=None),)).findings.values())
        assert [finding.figures for finding in found] == ([] if figures is None else [figures])
        assert all(finding.kind is Kind.MODIFIED for finding in found)

    def test_an_order_that_has_ended_here_and_is_open_there_is_found(self) -> None:
        one = order(status=OrderStatus.CANCELLED)
        shown = report(one)
        found = {one.client_order_id: Found(WHOLE, (shown,))}
        assert kinds(look(one, shown=(shown,), found=found)) == {Kind.STILL_OPEN}

    def test_an_order_of_nobody_is_external_and_says_what_is_known_of_it(self) -> None:
        terms = OrderTerms(D(10), D("1.5"), side=Side.SELL, instrument=Instrument("QQQ"))
        line = replace(report(None, "theirs"), terms=terms)
        (finding,) = look(shown=(line,)).findings.values()
        assert (finding.kind, finding.subject) == (Kind.EXTERNAL_ORDER, "theirs")
        assert "SELL 10 QQQ limit 1.5 (order id theirs). It is left alone" in finding.text

    def test_an_id_like_ours_is_external_too_and_it_says_so(self) -> None:
        stranger = order("of another database")
        finding = external(report(stranger, "b-9"))
        assert finding.kind is Kind.EXTERNAL_ORDER
        assert "looks like one of ours" in finding.text
        by_hand = replace(report(None), client_order_id=ClientOrderId("by hand"))
        assert "looks like one of ours" not in external(by_hand).text

    @pytest.mark.parametrize(("client", "is_found"), [(None, False), ("by hand", True)])
    def test_an_order_without_an_id_may_be_the_one_that_is_being_sent(self, client: str | None, is_found: bool) -> None:
        sending = order(status=OrderStatus.SUBMITTING, broker_order_ids=())
        line = replace(report(None, "new"), client_order_id=client)
        seen = look(sending, shown=(line,))
        assert bool(seen.findings) is is_found
        assert not seen.denies((Kind.EXTERNAL_ORDER, "new"))


class TestBeyondAsked:
    @pytest.mark.parametrize(
        ("lines", "fills", "total"),
        [
            ((("b-1", "100", "0", "WORKING"),), (), None),
            ((("b-1", "60", "0", "WORKING"), ("b-2", "40", "0", "WORKING")), (), None),
            ((("b-1", "60", "0", "WORKING"), ("b-2", "41", "0", "WORKING")), (), "101"),
            ((("b-1", "100", "0", "WORKING"), ("b-2", "100", "0", "HELD")), (), "200"),
            ((("b-1", "100", "0", "CANCELLED"), ("b-2", "100", "0", "WORKING")), (), None),
            ((("b-1", "100", "30", "CANCELLED"), ("b-2", "100", "0", "WORKING")), (), "130"),
            ((("b-1", "100", "100", "FILLED"), ("b-2", "100", "0", "WORKING")), (), "200"),
            ((("b-1", None, "0", "WORKING"), ("b-2", None, "0", "WORKING")), (), "200"),
            ((("b-1", "100", "0", "REJECTED"), ("b-2", "100", "0", "WORKING")), (), None),
            ((("b-1", "100.1", "0", "WORKING"),), (), "100.1"),
            ((("b-1", "100", "0", "CANCELLED"),), (("b-1", "e-1", "101", 0),), "101"),
            ((("b-1", "100", "0", "CANCELLED"),), (("b-1", "e-1", "101", 0), ("b-1", "e-1", "99", 1)), None),
            ((("b-1", "100", "40", "WORKING"),), (("b-1", "e-1", "40", 0), ("b-2", "e-2", "1", 0)), "101"),
        ],
    )
    def test_all_orders_under_one_id_are_summed(self, lines: Any, fills: Any, total: str | None) -> None:
        one = order()
        reports = [
            report(one, name, quantity, done, status=ReportStatus(status)) for name, quantity, done, status in lines
        ]
        told = tuple(fill_report(one, *fill) for fill in fills)
        finding = beyond_asked(one, Found(WHOLE, tuple(reports), told))
        assert (None if finding is None else finding.figures["total"]) == (None if total is None else D(total))

    def test_more_than_one_order_for_an_amount_of_money_is_too_much(self) -> None:
        one = order(quantity=None)
        first, second = report(one, "b-1", None), report(one, "b-2", None)
        assert beyond_asked(one, Found(WHOLE, (first,))) is None
        finding = beyond_asked(one, Found(WHOLE, (first, second)))
        assert finding is not None
        assert finding.figures == {"asked": 1, "total": 2}

    def test_our_own_executions_are_enough(self) -> None:
        assert by_our_books(filled(order(), "60", "40")) is None
        finding = by_our_books(filled(order(), "60", "41"))
        assert finding is not None
        assert finding.figures == {"asked": 100, "total": 101}

    def test_a_lowered_quantity_does_not_make_what_was_asked_too_much(self) -> None:
        assert by_our_books(filled(order(told_terms=(ToldTerm("quantity", D(60)),)), "100")) is None

    @pytest.mark.parametrize(
        ("reports", "ids", "status", "expected"),
        [
            ([("b-1", "100")], ("b-1",), OrderStatus.SUBMITTED, False),
            ([("b-1", "101")], ("b-1",), OrderStatus.SUBMITTED, True),
            ([("b-2", "100")], ("b-1",), OrderStatus.SUBMITTED, True),
            ([("b-1", "50"), ("b-1", "50")], ("b-1",), OrderStatus.SUBMITTED, True),
            ([("b-1", "100")], ("b-1",), OrderStatus.FILLED, True),
            ([], ("b-1",), OrderStatus.FILLED, False),
            ([], ("b-1", "b-2"), OrderStatus.SUBMITTED, True),
        ],
    )
    def test_whose_full_figures_are_asked_for(
        self, reports: Any, ids: Any, status: OrderStatus, expected: bool
    ) -> None:
        one = order(status=status, broker_order_ids=tuple(map(BrokerOrderId, ids)))
        assert is_suspicious(one, [report(one, name, quantity) for name, quantity in reports]) is expected

    @pytest.mark.parametrize("answer", [None, Found(PART)])
    def test_without_a_whole_answer_it_is_neither_found_nor_cleared(self, answer: Found | None) -> None:
        one = order()
        seen = look(one, shown=(report(one), report(one, "b-2")), found={one.client_order_id: answer})
        assert Kind.BEYOND_ASKED not in kinds(seen)
        assert not seen.denies((Kind.BEYOND_ASKED, one.client_order_id))


SPY = Instrument("SPY")
USD = Instrument("SPY", currency="USD")
CALL = Instrument("SPX", AssetClass.OPTION, expiry="20261218", strike=D("5900"), right=Right.CALL)


class TestPositions:
    @pytest.mark.parametrize(
        ("ours", "theirs", "differences"),
        [
            ([], [], []),
            ([(SPY, "100")], [(SPY, "100.0")], []),
            ([(SPY, "60"), (SPY, "40")], [(SPY, "100")], []),
            ([(SPY, "60"), (SPY, "-60")], [], []),
            ([(SPY, "0.1"), (SPY, "0.2")], [(SPY, "0.3")], []),
            ([(SPY, "100")], [], [("100", "0")]),
            ([], [(SPY, "-5")], [("0", "-5")]),
            ([(USD, "100")], [(SPY, "100")], []),
            ([(USD, "100")], [(Instrument("SPY", currency="EUR"), "100")], [("100", "0"), ("0", "100")]),
            ([(SPY, "100")], [(Instrument("SPY", AssetClass.ETF, exchange="ARCA"), "100")], []),
            ([(SPY, "100")], [(Instrument("SPY", AssetClass.CRYPTO), "100")], [("100", "0"), ("0", "100")]),
            ([(CALL, "1")], [(replace(CALL, strike=D("5900.00"), exchange="CBOE"), "1")], []),
            ([(CALL, "1")], [(replace(CALL, right=Right.PUT), "1")], [("1", "0"), ("0", "1")]),
            ([(CALL, "1")], [(replace(CALL, expiry="20261219"), "1")], [("1", "0"), ("0", "1")]),
            ([(SPY, "100", "CNC")], [(SPY, "60", "CNC"), (SPY, "40", "MIS")], [("100", "60"), ("0", "40")]),
            ([(SPY, "100")], [(SPY, "60", "CNC"), (SPY, "40", "MIS")], []),
        ],
    )
    def test_sums_per_instrument_as_far_as_both_know(self, ours: Any, theirs: Any, differences: Any) -> None:
        mine, broker = ([holding(*line) for line in lines] for lines in (ours, theirs))
        for order_of_lines in (mine, mine[::-1]):
            found = compare_positions(order_of_lines, order_of_lines, broker).findings.values()
            figures = sorted((finding.figures["ours"], finding.figures["broker"]) for finding in found)
            assert figures == sorted((D(a), D(b)) for a, b in differences)

    def test_what_changed_meanwhile_or_is_in_doubt_is_neither_found_nor_cleared(self) -> None:
        before, after, theirs = [holding(SPY, "10")], [holding(SPY, "20")], [holding(SPY, "30")]
        moved = compare_positions(before, after, theirs)
        doubtful = compare_positions(after, after, theirs, [USD])
        for seen in (moved, doubtful, compare_positions(before, [], [])):
            assert seen.findings == {}
            assert not seen.denies((Kind.POSITION_DIFFERS, "STOCK|SPY|||||"))
        assert (moved.again, doubtful.again) == (True, False)

    def test_a_finding_keeps_its_name_when_one_side_closes(self) -> None:
        first = compare_positions([holding(USD, "5")], [holding(USD, "5")], [holding(SPY, "7")])
        second = compare_positions([], [], [holding(SPY, "7")])
        assert first.findings.keys() == second.findings.keys()


class TestOtherNames:
    """A venue has several names for one instrument; an order used one of them."""

    MONTH = Instrument("CL", AssetClass.FUTURE, expiry="202701")
    LAST_DAY = Instrument("CL", AssetClass.FUTURE, expiry="20261221")

    def test_a_position_bears_the_name_that_our_orders_used(self) -> None:
        told = BrokerPosition(self.LAST_DAY, D(2), also_known_as=(self.MONTH,))
        ours = [holding(self.MONTH, "2")]
        assert compare_positions(ours, ours, held_by_broker([told], ours)).findings == {}

    def test_a_position_that_is_not_ours_keeps_its_first_name(self) -> None:
        told = BrokerPosition(self.LAST_DAY, D(2), also_known_as=(self.MONTH,))
        assert held_by_broker([told], [holding(SPY, "1")]) == [holding(self.LAST_DAY, "2")]


def holding(instrument: Instrument, quantity: str, product: str | None = None) -> Holding:
    return Holding(instrument, D(quantity), product)


def difference(subject: str, broker: str) -> Finding:
    return Finding(Kind.POSITION_DIFFERS, subject, f"{subject} {broker}", {"ours": D(0), "broker": D(broker)})


class TestTwoLooks:
    def test_only_what_both_say_is_found_and_only_what_both_deny_is_denied(self) -> None:
        covered = frozenset(Kind)
        first = look_of([difference("A", "1"), difference("B", "1"), difference("C", "1")], covered)
        second = look_of([difference("A", "1"), difference("B", "2"), difference("D", "1")], covered)
        both = agreed(first, second)
        assert {about[1] for about in both.findings} == {"A"}
        assert {name for name in "ABCDE" if both.denies((Kind.POSITION_DIFFERS, name))} == {"E"}
        assert both.again

    def test_a_list_that_gave_no_answer_denies_nothing(self) -> None:
        whole = look_of((), frozenset(Kind))
        for other in (Look(), joined(look_of((), ORDER_KINDS), Look())):
            assert not agreed(whole, other).denies((Kind.POSITION_DIFFERS, "A"))
            assert not agreed(other, whole).denies((Kind.POSITION_DIFFERS, "A"))


subjects = st.sampled_from("ABCD")
looks = st.builds(
    lambda found, undecided, covered: look_of(
        [difference(subject, str(figure)) for subject, figure in found.items()],
        frozenset(Kind) if covered else frozenset(),
        {(Kind.POSITION_DIFFERS, subject) for subject in undecided},
    ),
    st.dictionaries(subjects, st.integers(1, 3)),
    st.sets(subjects),
    st.booleans(),
)


def stored_after(stored: dict[str, Document], one: Look, now: datetime) -> list[Event]:
    """Write the look's steps; what they were."""
    done = findings.steps("acc_1", one, stored.values(), now)
    for step in done:
        write = step.write()
        assert write.expected_revision == stored.get(step.id, {"revision": 0})["revision"]
        stored[step.id] = {**stored.get(step.id, {"_id": step.id}), **write.document}
    return [step.event for step in done]


@given(st.lists(looks, max_size=6))
def test_a_second_pass_finds_nothing_new_and_a_look_leaves_what_it_found(history: list[Look]) -> None:
    stored: dict[str, Document] = {}
    now = NOW
    for one in history:
        now += timedelta(seconds=1)
        standing = {name for name, document in stored.items() if document["cleared_at"] is None}
        is_news = findings.is_news(one, stored.values())
        events = stored_after(stored, one, now)
        assert is_news == (set(events) & {Event.APPEARED, Event.CHANGED, Event.CLEARED} != set())
        assert stored_after(stored, one, now) == []
        assert not findings.is_news(one, stored.values())
        found = {findings.finding_id("acc_1", about) for about in one.findings}
        kept = {name for name in standing if not one.denies((Kind.POSITION_DIFFERS, stored[name]["subject"]))}
        assert {name for name, document in stored.items() if document["cleared_at"] is None} == found | kept


quantities = st.decimals(-1000, 1000, places=4)
lines = st.lists(st.builds(Holding, st.sampled_from([SPY, USD, CALL]), quantities, st.sampled_from([None, "CNC"])))


@given(lines, st.randoms())
def test_the_same_holdings_in_any_order_and_split_are_no_difference(ours: list[Holding], dice: Any) -> None:
    theirs = [
        part for line in ours for part in (replace(line, quantity=line.quantity - 1), replace(line, quantity=D(1)))
    ]
    dice.shuffle(theirs)
    seen = compare_positions(ours, ours, theirs)
    assert seen == look_of((), {Kind.POSITION_DIFFERS})
