"""The lifecycle against venue histories that arrive late, twice, and in any order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from exec_core import lifecycle
from exec_core.events import (
    AnswerLost,
    CancelAsked,
    Dispatched,
    Event,
    NeedsAttention,
    ProvenAbsent,
    Refused,
    Resolution,
    Resolved,
    SendFailed,
    Withdrawn,
)
from exec_core.fills import Commission, Fill
from exec_core.identifiers import AccountId, BrokerOrderId, ExecutionId, SignalId
from exec_core.instruments import Instrument
from exec_core.lifecycle import apply
from exec_core.orders import Order, OrderRequest, OrderStatus, OrderType, ReasonCode, TimeInForce
from exec_core.reports import CommissionReport, FillReport, OrderReport, OrderTerms, Report, ReportStatus
from exec_core.sides import Side
from hypothesis import assume, given, settings
from hypothesis import strategies as st

NOW = datetime(2024, 11, 24, 10, 30, tzinfo=UTC)
VENUE_ID = BrokerOrderId("ord_1")
OTHER_ID = BrokerOrderId("ord_2")
ASKED_LIMIT = Decimal(10)


def order(**fields: object) -> Order:
    asked: dict[str, object] = {"order_type": OrderType.MARKET, "quantity": Decimal(100)} | fields
    request = OrderRequest(SignalId("sig_1"), AccountId("acc_1"), "Strategy", Instrument("SPY"), Side.BUY, **asked)
    return Order.new(request)


def after(start: Order, events: Iterable[Event]) -> Order:
    """`start` after `events`; each change is checked for what must hold of any change on the way."""
    current = start
    for number, event in enumerate(events):
        change = apply(current, event, NOW + timedelta(seconds=number))
        check_bookkeeping(current, event, change)
        current = change.order
    return current


def check_bookkeeping(before: Order, event: Event, change: lifecycle.Change) -> None:
    """What holds of every change, whatever the event and the state."""
    now = change.order
    if not change.changed:
        assert now is before, "nothing new: the very same object"
        assert change.booking is None
        assert not change.alarms
        return
    assert now.revision == before.revision + 1
    assert now.history == (*before.history, change.entry)
    assert change.entry is not None
    assert (change.entry.revision, change.entry.status) == (now.revision, now.status)
    assert set(before.fills) <= set(now.fills), "no execution is ever forgotten"
    assert (now.fills != before.fills) == (change.booking is not None), "positions hear of all that changed in fills"
    if change.booking is not None:
        old, new = change.booking.reversed, change.booking.added
        held = sum((fill.quantity for fill in before.fills.values()), Decimal(0))
        held += (new.quantity if new else 0) - (old.quantity if old else 0)
        assert held == sum((fill.quantity for fill in now.fills.values()), Decimal(0))
    if now.status is OrderStatus.FILLED:
        assert now.quantity is not None
        assert now.filled_quantity >= now.quantity, "filled is what executions add up to, never a word"
    if now.status is OrderStatus.REJECTED:
        assert not now.filled_quantity, "an order of which something traded was not rejected"
    if before.acknowledged_at is not None:
        assert now.acknowledged_at is not None
        assert now.status not in {OrderStatus.PENDING, OrderStatus.SUBMITTING, OrderStatus.UNKNOWN}


# --- the venue: one coherent history ---


@dataclass(frozen=True)
class History:
    """What a venue says of one order, in the order in which it happened."""

    reports: tuple[Report, ...]
    order: Order


quantities = st.integers(1, 60).map(Decimal)
prices = st.decimals(Decimal("0.01"), Decimal("999.99"), places=2)
fees = st.decimals(Decimal("-1"), Decimal("5"), places=4)


def terms_of(order: Order) -> tuple[object, ...]:
    """What is modified at the broker; when that was told depends on which report came first."""
    known = order.modified
    return () if known is None else (known.quantity, known.limit_price, known.stop_price)


@st.composite
def modifications(draw: st.DrawFn, quantities: list[int], limits: list[int]) -> list[Report]:
    """What the venue says while somebody gives the order these quantities and limits, one after the other."""
    now, found = [Decimal(100), ASKED_LIMIT], []
    steps = [(0, Decimal(value)) for value in quantities], [(1, Decimal(value)) for value in limits]
    while any(steps):
        words = draw(st.integers(0, 2))
        found += [tuple(now)] * words
        which = draw(st.sampled_from([one for one in steps if one]))
        index, value = which.pop(0)
        now[index] = value
        found.append(tuple(now))
    working = st.sampled_from([ReportStatus.WORKING, ReportStatus.WORKING, ReportStatus.HELD, ReportStatus.FILLED])
    return [
        OrderReport(
            draw(working),
            broker_order_id=VENUE_ID,
            venue_time=NOW + timedelta(seconds=number),
            terms=OrderTerms(
                quantity if draw(st.booleans()) or number == len(found) - 1 else None,
                limit,
            ),
        )
        for number, (quantity, limit) in enumerate(found)
    ]


def snapshot(status: ReportStatus, filled: Decimal | None = None, reason: str | None = None) -> OrderReport:
    return OrderReport(status, broker_order_id=VENUE_ID, filled_quantity=filled, reason=reason)


@st.composite
def executions(draw: st.DrawFn, ordered: Decimal | None) -> list[list[Report]]:
    """For each execution: its report, its corrections and its commissions, each in the venue's own order."""
    found: list[list[Report]] = []
    left = Decimal(draw(st.sampled_from([100, 100, 60, 130]))) if ordered is not None else Decimal(100)
    for number in range(draw(st.integers(0, 4))):
        quantity = min(draw(quantities), left)
        if not quantity:
            break
        left -= quantity
        found.append(execution_story(draw, number, quantity))
    return found


def execution_story(draw: st.DrawFn, number: int, quantity: Decimal) -> list[Report]:
    execution_id = ExecutionId(f"x{number}")
    price = draw(prices)
    fill = Fill(execution_id, Side.BUY, quantity, price, NOW + timedelta(seconds=number))
    billed = Commission(draw(fees), "USD")
    estimate = Commission(draw(fees), "USD", estimated=True)
    how = draw(st.sampled_from(["never", "with it", "apart", "estimated with it", "estimated apart", "both ways"]))
    if how in ("with it", "both ways"):
        fill = replace(fill, commission=billed)
    if how == "estimated with it":
        fill = replace(fill, commission=estimate)
    story: list[Report] = [FillReport(fill, broker_order_id=VENUE_ID)]
    for correction in range(1, 1 + draw(st.sampled_from([0, 0, 0, 1, 2]))):
        corrected = draw(st.integers(0, int(quantity))) if draw(st.booleans()) else quantity + draw(st.integers(0, 9))
        fill = replace(fill, quantity=Decimal(corrected), price=draw(prices), correction=correction)
        story.append(FillReport(fill, broker_order_id=VENUE_ID))
    if how in ("estimated apart", "both ways"):
        story.append(CommissionReport(execution_id, estimate, broker_order_id=VENUE_ID))
    if how in ("apart", "estimated apart", "estimated with it"):
        story.append(CommissionReport(execution_id, billed, broker_order_id=VENUE_ID))
    return story


@st.composite
def starts(draw: st.DrawFn, asked: Order) -> Order:
    """Where the first report may find the order: our own side of its life."""
    sent = apply(asked, Dispatched(), NOW).order
    unknown = apply(sent, AnswerLost("time-out"), NOW).order
    by_hand = Resolved(Resolution.CANCELLED, "Ann", "the broker's screen")
    start = draw(
        st.sampled_from(
            [
                sent,
                sent,
                unknown,
                asked,
                apply(sent, SendFailed("refused connection"), NOW).order,
                apply(unknown, ProvenAbsent("not in the book"), NOW).order,
                apply(asked, Refused(ReasonCode.STALE, "too old"), NOW).order,
                apply(asked, Withdrawn(ReasonCode.CANCELLED_BY_USER, "changed my mind"), NOW).order,
                apply(unknown, by_hand, NOW).order,
            ]
        )
    )
    if draw(st.booleans()):
        start = apply(start, CancelAsked(ReasonCode.TIMEOUT, "not filled within 60 s"), NOW).order
    return start


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A whole life at the venue: taken, filled, corrected, billed, and at most one end."""
    in_cash = draw(st.booleans())
    ioc = draw(st.booleans())
    fields: dict[str, object] = {"quantity": None, "cash_quantity": Decimal(5000)} if in_cash else {}
    if draw(st.booleans()):
        fields |= {"order_type": OrderType.LIMIT, "limit_price": ASKED_LIMIT}
    asked = order(time_in_force=TimeInForce.IOC if ioc else None, **fields)
    stories = draw(executions(asked.quantity))
    filled = sum((story[0].fill.quantity for story in stories if isinstance(story[0], FillReport)), Decimal(0))
    begin = draw(st.lists(st.sampled_from([ReportStatus.HELD, ReportStatus.WORKING]), min_size=1, max_size=2))
    reports: list[Report] = [snapshot(status) for status in begin]
    if draw(st.booleans()):
        quantities = draw(st.lists(st.sampled_from([30, 60, 80, 130]), unique=True, max_size=3))
        limits = draw(st.lists(st.sampled_from([8, 9, 11]), unique=True, max_size=2))
        reports += draw(modifications(quantities, limits))
    if draw(st.sampled_from([False, False, False, True])):  # a second order under our id
        terms = OrderTerms(draw(st.sampled_from([None, Decimal(100), Decimal(40)])))
        reports.append(OrderReport(ReportStatus.WORKING, broker_order_id=OTHER_ID, venue_time=NOW, terms=terms))
    reports += [report for story in stories for report in story]
    if draw(st.booleans()):
        reports.append(snapshot(ReportStatus.WORKING, filled))
    reports += draw(ends(asked, stories, filled))
    return History(tuple(reports), draw(starts(asked)))


@st.composite
def ends(draw: st.DrawFn, asked: Order, stories: list[list[Report]], filled: Decimal) -> list[Report]:
    """None, or one end that a venue with this history may declare."""
    possible: list[ReportStatus] = [ReportStatus.CANCELLED, ReportStatus.EXPIRED, ReportStatus.REJECTED]
    if (asked.quantity is None and filled) or (asked.quantity is not None and filled >= asked.quantity):
        possible += [ReportStatus.FILLED] * 3
    status = draw(st.none() | st.sampled_from(possible))
    if status is None:
        return []
    figure = filled if status in (ReportStatus.FILLED, ReportStatus.REJECTED) and stories else None
    lowered = None if status is ReportStatus.FILLED else OrderTerms(filled or None)
    found: list[Report] = [replace(snapshot(status, figure, "as it is"), terms=lowered)]
    if status is ReportStatus.FILLED and draw(st.booleans()):
        found.append(snapshot(ReportStatus.CANCELLED, figure, "the remainder"))
    return found


@st.composite
def deliveries(draw: st.DrawFn, reports: tuple[Report, ...]) -> list[Report]:
    """`reports`, each at least once, in any order."""
    again = draw(st.lists(st.sampled_from(reports), max_size=4))
    return draw(st.permutations([*reports, *again]))


# --- what must hold ---


@given(st.data())
@settings(max_examples=250)
def test_reordered_and_repeated_reports_give_the_same_order(data: st.DataObject) -> None:
    history = data.draw(histories())
    in_order = after(history.order, history.reports)
    shuffled = after(history.order, data.draw(deliveries(history.reports)))
    for name in ("status", "quantity", "filled_quantity", "average_price", "commission", "reason_code", "rejected_by"):
        assert getattr(shuffled, name) == getattr(in_order, name), name
    assert shuffled.fills == in_order.fills
    assert terms_of(shuffled) == terms_of(in_order)


@given(st.data())
@settings(max_examples=60)
def test_where_a_modification_was_taken_back_the_next_word_of_the_venue_puts_it_right(data: st.DataObject) -> None:
    quantities = data.draw(st.lists(st.sampled_from([60, 100, 130]), min_size=2, max_size=4))
    words = data.draw(modifications(quantities, data.draw(st.lists(st.sampled_from([9, 10]), max_size=3))))
    stories = data.draw(executions(Decimal(100)))
    reports = (*words, *(report for story in stories for report in story))
    asked = apply(order(order_type=OrderType.LIMIT, limit_price=ASKED_LIMIT), Dispatched(), NOW).order
    last = words[-1]
    in_order = after(asked, [*reports, last])
    shuffled = after(asked, [*data.draw(deliveries(reports)), last])
    for name in ("status", "quantity", "filled_quantity", "remaining_quantity"):
        assert getattr(shuffled, name) == getattr(in_order, name), name
    assert terms_of(shuffled) == terms_of(in_order)
    assert isinstance(last, OrderReport)
    assert last.terms is not None
    assert last.terms.quantity == ((in_order.modified and in_order.modified.quantity) or Decimal(100))


@given(st.data())
@settings(max_examples=100)
def test_the_figures_are_those_of_the_venues_last_word(data: st.DataObject) -> None:
    """An independent account: per execution the highest correction, billed before estimated."""
    history = data.draw(histories())
    final = after(history.order, data.draw(deliveries(history.reports)))
    last: dict[str, Fill] = {}
    billed: dict[str, Fraction] = {}
    for report in history.reports:
        if isinstance(report, FillReport):
            last[report.fill.execution_id] = report.fill
            commission, name = report.fill.commission, report.fill.execution_id
        elif isinstance(report, CommissionReport):
            commission, name = report.commission, report.execution_id
        else:
            continue
        if commission is not None and not commission.estimated:
            billed[name] = Fraction(commission.amount)
    quantity = sum((Fraction(fill.quantity) for fill in last.values()), Fraction(0))
    assert Fraction(final.filled_quantity) == quantity
    if quantity:
        value = sum((Fraction(fill.quantity) * Fraction(fill.price) for fill in last.values()), Fraction(0))
        assert final.average_price is not None
        assert abs(Fraction(final.average_price) - value / quantity) < Fraction(1, 10**25)
    else:
        assert final.average_price is None
    total = final.commission
    assert (total is None) == (not billed)
    if total is not None:
        assert Fraction(total.amount) == sum(billed.values(), Fraction(0))
        assert not total.estimated


@given(st.data())
@settings(max_examples=80)
def test_every_report_heard_twice_changes_nothing_the_second_time(data: st.DataObject) -> None:
    history = data.draw(histories())
    final = after(history.order, history.reports)
    settled = after(final, history.reports)
    again = after(settled, data.draw(deliveries(history.reports)))
    assert again is settled


@given(st.data())
@settings(max_examples=100)
def test_only_declared_evidence_ends_an_acknowledged_order(data: st.DataObject) -> None:
    weak: st.SearchStrategy[Event] = st.sampled_from(
        [
            AnswerLost("time-out"),
            ProvenAbsent("not in the book"),
            SendFailed("no connection"),
            CancelAsked(ReasonCode.TIMEOUT, "not filled"),
            NeedsAttention("look at it"),
            Refused(ReasonCode.STALE, "too old"),
            Withdrawn(ReasonCode.CANCELLED_BY_USER, "no more"),
            Dispatched(),
            snapshot(ReportStatus.HELD),
            snapshot(ReportStatus.WORKING),
            snapshot(ReportStatus.FILLED, Decimal(100)),
        ]
    )
    start = apply(order(), Dispatched(), NOW).order
    acknowledged = after(start, [snapshot(data.draw(st.sampled_from([ReportStatus.HELD, ReportStatus.WORKING])))])
    if data.draw(st.booleans()):
        part = FillReport(Fill(ExecutionId("x"), Side.BUY, Decimal(1), Decimal(1), NOW), broker_order_id=VENUE_ID)
        acknowledged = after(acknowledged, [part])
    final = after(acknowledged, data.draw(st.lists(weak, max_size=8)))
    assert final.status is acknowledged.status
    assert final.end is None


@given(st.lists(st.sampled_from([AnswerLost("a"), ProvenAbsent("b"), SendFailed("c"), Dispatched()]), max_size=8))
def test_without_a_word_of_the_broker_only_absence_ends_and_only_what_is_unknown(events: list[Event]) -> None:
    current = order()
    for event in events:
        following = after(current, [event])
        if following.status.is_final and not current.status.is_final:
            assert isinstance(event, ProvenAbsent)
            assert current.status is OrderStatus.UNKNOWN
            assert (following.status, following.reason_code) == (OrderStatus.REJECTED, ReasonCode.NOT_PLACED)
        current = following


@given(st.data())
@settings(max_examples=80)
def test_absence_never_ends_an_order_of_which_the_broker_said_anything(data: st.DataObject) -> None:
    """Also if the only word was a commission, which tells of an execution that is still to come."""
    history = data.draw(histories())
    heard = data.draw(st.lists(st.sampled_from(history.reports), min_size=1, max_size=4))
    sent = apply(order(quantity=Decimal(100)), Dispatched(), NOW).order
    unknown = apply(sent, AnswerLost("time-out"), NOW).order
    told = after(unknown, heard)
    assume(not told.status.is_final)
    assert not after(told, [AnswerLost("again"), ProvenAbsent("not in the book")]).status.is_final


@given(st.data())
@settings(max_examples=80)
def test_no_report_and_no_event_is_too_odd_for_any_state(data: st.DataObject) -> None:
    """Reports of a history, ours in between: whatever happens is judged, and `after` checks each change."""
    history = data.draw(histories())
    ours: list[Event] = [
        Dispatched(),
        AnswerLost("a"),
        SendFailed("b"),
        ProvenAbsent("c"),
        Refused(ReasonCode.STALE, "d"),
        Withdrawn(ReasonCode.CANCELLED_BY_USER, "e"),
        CancelAsked(ReasonCode.TIMEOUT, "f"),
        NeedsAttention("g"),
        NeedsAttention(None),
        Resolved(Resolution.PLACED, "Ann", "h"),
        Resolved(Resolution.CANCELLED, "Ann", "i"),
        Resolved(Resolution.NOT_PLACED, "Ann", "j"),
        Resolved(Resolution.FILLED, "Ann", "k", Decimal(5), Decimal(10)),
    ]
    events = data.draw(st.permutations([*history.reports, *data.draw(st.lists(st.sampled_from(ours), max_size=6))]))
    booked = after(history.order, events).fills
    assert {report.fill.execution_id for report in history.reports if isinstance(report, FillReport)} <= set(booked)


@pytest.mark.parametrize("status", [ReportStatus.CANCELLED, ReportStatus.EXPIRED])
@given(data=st.data())
def test_after_an_end_and_all_its_fills_nothing_is_left_open(status: ReportStatus, data: st.DataObject) -> None:
    history = data.draw(histories())
    assume(not any(isinstance(r, OrderReport) and r.status is ReportStatus.REJECTED for r in history.reports))
    final = after(history.order, data.draw(deliveries((*history.reports, snapshot(status)))))
    assert final.status.is_final
