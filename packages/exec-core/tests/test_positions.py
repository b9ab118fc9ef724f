"""Positions against an independent account in fractions, and in every order of executions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from exec_core.fills import Fill
from exec_core.identifiers import AccountId, ExecutionId
from exec_core.instruments import AssetClass, Instrument
from exec_core.positions import (
    Booked,
    Entry,
    Position,
    PositionKey,
    PositionSide,
    Share,
    add_commission,
    book,
    split_commission,
)
from exec_core.sides import Side
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2024, 11, 24, 10, 30, tzinfo=UTC)
KEY = PositionKey("Strategy", AccountId("acc_1"), "SPY")
CLOSE = Fraction(1, 10**18)


def entry(
    signed: int | str | Decimal, price: int | str | Decimal = 10, fee: str = "0", *, reversal: bool = False
) -> Entry:
    quantity = Decimal(signed)
    side = Side.BUY if quantity > 0 else Side.SELL
    fill = Fill(ExecutionId("x"), side, abs(quantity), Decimal(price), NOW)
    return Entry(fill, Decimal(fee), reversal)


def booked(
    held: Position | None, *entries: Entry, multiplier: int = 1, increment: str | None = "1", name: str = "pos_1"
) -> Booked:
    return book(
        held,
        entries,
        key=KEY,
        instrument=Instrument("SPY", AssetClass.STOCK),
        multiplier=Decimal(multiplier),
        increment=None if increment is None else Decimal(increment),
        new_id=name,
        at=NOW,
    )


def stretches(groups: Sequence[Sequence[Entry]], *, multiplier: int = 1, increment: str | None = "1") -> list[Position]:
    """All positions after booking `groups` one after the other, each like one commit; oldest first."""
    all_of_them: dict[str, Position] = {}
    held: Position | None = None
    for number, group in enumerate(groups):
        done = booked(held, *group, multiplier=multiplier, increment=increment, name=f"pos_{number}_")
        for position in done.positions:
            all_of_them[position.id] = position
            held = position
    return list(all_of_them.values())


@dataclass
class Account:
    """Average cost in fractions, written independently: what is held, what it cost, and what was earned."""

    quantity: Fraction = Fraction(0)
    average: Fraction = Fraction(0)
    realized: Fraction = Fraction(0)

    def trade(self, signed: Fraction, price: Fraction) -> None:
        closing = min(abs(signed), abs(self.quantity)) if signed * self.quantity < 0 else Fraction(0)
        if closing:
            direction = 1 if self.quantity > 0 else -1
            self.realized += closing * (price - self.average) * direction
            self.quantity -= closing * direction
            signed += closing * direction
        if signed:
            held = abs(self.quantity)
            self.average = (held * self.average + abs(signed) * price) / (held + abs(signed))
            self.quantity += signed


sizes = st.integers(-50, 50).filter(bool).map(Decimal) | st.decimals("-9", "9", places=3).filter(bool)
trades = st.builds(
    entry,
    sizes,
    st.decimals("-20", "999", places=4),
    st.decimals("-2", "5", places=3).map(str),
)
corrections = st.tuples(trades, trades).map(lambda pair: [replace(pair[0], reversal=True), pair[1]])
multipliers = st.sampled_from([1, 50, 100])


@given(st.lists(trades, max_size=12), multipliers, st.randoms())
def test_totals_do_not_depend_on_the_order_of_executions(entries: list[Entry], multiplier: int, random) -> None:  # type: ignore[no-untyped-def]
    def totals(these: list[Entry]) -> tuple[Fraction, Fraction, Fraction]:
        positions = stretches([[one] for one in these], multiplier=multiplier, increment=None)
        held = sum((Fraction(position.quantity) for position in positions), Fraction(0))
        cash = sum((Fraction(position.cash_flow) for position in positions), Fraction(0))
        fees = sum((Fraction(position.commission) for position in positions), Fraction(0))
        return held, cash, fees

    shuffled = list(entries)
    random.shuffle(shuffled)
    first, second = totals(entries), totals(shuffled)
    assert first[0] == second[0] == sum((Fraction(one.signed_quantity) for one in entries), Fraction(0))
    assert first[1] == second[1]
    assert abs(first[2] - second[2]) < CLOSE
    assert abs(first[2] - sum((Fraction(one.commission) for one in entries), Fraction(0))) < CLOSE


@given(st.lists(trades, max_size=12), multipliers)
def test_realized_pnl_and_average_are_those_of_an_independent_account(entries: list[Entry], multiplier: int) -> None:
    account = Account()
    for one in entries:
        account.trade(Fraction(one.signed_quantity), Fraction(one.fill.price))
    positions = stretches([[one] for one in entries], multiplier=multiplier, increment=None)
    realized = sum((Fraction(position.realized_pnl) for position in positions), Fraction(0))
    assert abs(realized - account.realized * multiplier) < CLOSE
    held = [position for position in positions if not position.is_closed]
    assert sum((Fraction(position.quantity) for position in held), Fraction(0)) == account.quantity
    if held:
        assert abs(Fraction(held[0].average_entry_price) - account.average) < CLOSE


@given(st.lists(st.lists(trades, min_size=1, max_size=1) | corrections, max_size=10), multipliers)
def test_money_is_neither_made_nor_lost(groups: list[list[Entry]], multiplier: int) -> None:
    """Of each position: what was paid in and out = what was earned - what the rest cost; also after corrections."""
    for position in stretches(groups, multiplier=multiplier, increment=None):
        left = Fraction(position.cash_flow)
        right = Fraction(position.realized_pnl) - Fraction(position.cost) * multiplier
        assert abs(left - right) < CLOSE


@given(st.lists(st.lists(trades, min_size=1, max_size=1) | corrections, max_size=8))
def test_at_most_one_position_is_open_and_its_side_is_that_of_its_quantity(groups: list[list[Entry]]) -> None:
    positions = stretches(groups)
    assert sum(not position.is_closed for position in positions) <= 1
    for position in positions:
        assert position.is_closed == (position.quantity == 0)
        if position.quantity:
            assert position.side is (PositionSide.LONG if position.quantity > 0 else PositionSide.SHORT)


@given(trades, trades, st.none() | trades)
def test_a_correction_is_a_reversal_plus_a_new_entry(first: Entry, second: Entry, instead: Entry | None) -> None:
    """Totals are those of a history in which the wrong execution had never been."""
    taken_back = [replace(second, reversal=True)] + ([instead] if instead is not None else [])
    corrected = stretches([[first], [second], taken_back], increment=None)
    never = stretches([[first]] + ([[instead]] if instead is not None else []), increment=None)
    for name in ("quantity", "cash_flow", "commission"):
        total = sum((Fraction(getattr(position, name)) for position in corrected), Fraction(0))
        expected = sum((Fraction(getattr(position, name)) for position in never), Fraction(0))
        assert abs(total - expected) < CLOSE, name


def test_buying_more_moves_the_average_and_selling_some_realizes() -> None:
    (position,) = stretches([[entry(100, 10)], [entry(100, 20)], [entry(-50, 25)]])
    assert (position.quantity, position.average_entry_price, position.cost) == (150, 15, 2250)
    assert position.realized_pnl == 500
    assert position.cash_flow == -1750


def test_a_short_position_earns_when_it_is_bought_back_lower() -> None:
    (position,) = stretches([[entry(-10, 50)], [entry(10, 40)]], multiplier=100)
    assert (position.side, position.quantity, position.is_closed) == (PositionSide.SHORT, 0, True)
    assert (position.realized_pnl, position.cash_flow, position.cost) == (10_000, 10_000, 0)
    assert position.average_entry_price == 50


def test_a_flip_closes_one_position_and_opens_the_next() -> None:
    first, second = stretches([[entry(10, 10, "1")], [entry(-15, 12, "3")]])
    assert (first.quantity, first.realized_pnl, first.closed_at, first.commission) == (0, 20, NOW, 3)
    assert (second.side, second.quantity, second.average_entry_price) == (PositionSide.SHORT, -5, 12)
    assert (second.realized_pnl, second.commission) == (0, 1)
    assert first.id != second.id


def test_a_flip_says_how_much_of_the_execution_went_where() -> None:
    held = booked(None, entry(10), name="first").positions[0]
    done = booked(held, entry(-15), name="second")
    assert done.shares == (Share("first", Decimal(10)), Share("second", Decimal(5)))
    assert [position.id for position in done.positions] == ["first", "second"]


def test_a_closed_position_is_not_reopened() -> None:
    (closed,) = stretches([[entry(10)], [entry(-10)]])
    again = booked(closed, entry(5), name="next").positions
    assert [position.id for position in again] == ["next"]


def test_a_correction_that_passes_through_zero_does_not_close() -> None:
    held = booked(None, entry(10, 10, "1")).positions[0]
    done = booked(held, entry(10, 10, "1", reversal=True), entry(8, 11, "2"))
    (position,) = done.positions
    assert (position.id, position.is_closed, position.quantity) == (held.id, False, 8)
    assert (position.average_entry_price, position.cost, position.realized_pnl) == (11, 88, 0)
    assert position.commission == 2
    assert done.shares == (Share(held.id, Decimal(8)),)


def test_an_execution_busted_after_its_position_closed_opens_the_other_side() -> None:
    (closed,) = stretches([[entry(10)], [entry(-10)]])
    (position,) = booked(closed, entry(10, reversal=True), name="next").positions
    assert (position.id, position.quantity, position.side) == ("next", -10, PositionSide.SHORT)


def test_a_correction_that_crosses_zero_on_its_way_names_each_position_differently() -> None:
    held = booked(None, entry(10), entry(-4), name="first").positions[0]
    done = booked(held, entry(10, reversal=True), entry(8), name="next")
    assert len({position.id for position in done.positions}) == len(done.positions) == 3
    assert done.positions[-1].quantity == 4


def test_dust_is_zero_and_is_remembered() -> None:
    (position,) = stretches([[entry("1.0005")], [entry("-1")]], increment="0.001")
    assert (position.is_closed, position.quantity, position.residual_quantity) == (True, 0, Decimal("0.0005"))
    (kept,) = stretches([[entry("1.001")], [entry("-1")]], increment="0.001")
    assert (kept.is_closed, kept.quantity) == (False, Decimal("0.001"))
    (exact,) = stretches([[entry("1.0005")], [entry("-1")]], increment=None)
    assert (exact.is_closed, exact.quantity) == (False, Decimal("0.0005"))


def test_what_an_entry_brought_is_never_dust() -> None:
    """A share bought for an amount of money comes in fractions, also where the venue trades it in whole ones."""
    (position,) = stretches([[entry("0.71067939")], [entry("0.7106794")]])
    assert (position.is_closed, position.quantity) == (False, Decimal("1.42135879"))
    (short,) = stretches([[entry("-0.5")], [entry("-0.25")]])
    assert (short.is_closed, short.quantity, short.side) == (False, Decimal("-0.75"), PositionSide.SHORT)
    (crossed,) = stretches([[entry("2.25")], [entry("-2.5")]])[1:]
    assert (crossed.is_closed, crossed.residual_quantity) == (True, Decimal("-0.25"))


def test_a_held_position_keeps_its_multiplier() -> None:
    held = booked(None, entry(1, 10), multiplier=100).positions[0]
    (position,) = booked(held, entry(-1, 11), multiplier=50).positions
    assert position.realized_pnl == 100


def test_nothing_to_book_changes_nothing() -> None:
    held = booked(None, entry(1)).positions[0]
    assert booked(held).positions == (held,)
    assert booked(None).positions == ()


def test_a_late_commission_reaches_a_closed_position_too() -> None:
    (closed,) = stretches([[entry(10)], [entry(-10)]])
    later = add_commission(closed, Decimal("1.25"), NOW)
    assert (later.commission, later.is_closed) == (Decimal("1.25"), True)


@given(
    st.decimals("-5", "9", places=4),
    st.lists(st.integers(1, 10**6).map(Decimal), min_size=1, max_size=4),
)
def test_the_parts_of_a_commission_add_up_exactly(amount: Decimal, quantities: list[Decimal]) -> None:
    shares = [Share(f"pos_{number}", quantity) for number, quantity in enumerate(quantities)]
    parts = split_commission(amount, shares)
    assert [name for name, _ in parts] == [share.position_id for share in shares]
    assert sum((Fraction(part) for _, part in parts), Fraction(0)) == Fraction(amount)


def test_a_commission_is_divided_by_quantity() -> None:
    parts = split_commission(Decimal(3), [Share("a", Decimal(10)), Share("b", Decimal(5))])
    assert parts == [("a", Decimal(2)), ("b", Decimal(1))]
    assert split_commission(Decimal(3), []) == []


@pytest.mark.parametrize(("held", "traded"), [(10, -15), (-7, 22), (3, -10)])
def test_a_late_commission_over_a_flip_ends_where_one_told_in_time_does(held: int, traded: int) -> None:
    in_time = stretches([[entry(held)], [entry(traded, 10, "1.10")]])
    done = booked(booked(None, entry(held), name="pos_0_").positions[0], entry(traded), name="pos_1_")
    for (name, part), position in zip(split_commission(Decimal("1.10"), done.shares), in_time, strict=True):
        assert name == position.id
        assert abs(part - position.commission) < Decimal("1e-30")
