"""Prices on the steps that the venue trades in."""

from __future__ import annotations

from decimal import Decimal

import pytest
from exec_broker_ibkr.instruments.prices import increment_at, priced
from exec_broker_ibkr.messages import PriceStep
from exec_core.errors import OrderRejected
from hypothesis import given
from hypothesis import strategies as st

CENTS = (PriceStep(Decimal(0), Decimal("0.01")),)
#: American shares: fractions of a cent below a dollar.
SHARES = (PriceStep(Decimal(1), Decimal("0.01")), PriceStep(Decimal(0), Decimal("0.0001")))
#: Options: nickels, dimes from three dollars on.
OPTIONS = (PriceStep(Decimal(0), Decimal("0.05")), PriceStep(Decimal(3), Decimal("0.1")))


@pytest.mark.parametrize(
    ("price", "steps", "increment"),
    [
        ("0.5", SHARES, "0.0001"),
        ("1", SHARES, "0.01"),
        ("235.15", SHARES, "0.01"),
        ("-235.15", SHARES, "0.01"),
        ("2.99", OPTIONS, "0.05"),
        ("3", OPTIONS, "0.1"),
        ("0.5", (PriceStep(Decimal(1), Decimal("0.01")),), "0.01"),
    ],
)
def test_which_step_counts(price, steps, increment):
    assert increment_at(Decimal(price), steps) == Decimal(increment)


def test_where_no_step_is_told_every_price_is_taken():
    assert increment_at(Decimal(1), ()) is None
    assert priced(Decimal("0.123456"), (), round_=False) == Decimal("0.123456")
    assert priced(Decimal("0.1"), (PriceStep(Decimal(0), Decimal(0)),), round_=True) == Decimal("0.1")


@pytest.mark.parametrize("price", ["235.15", "0.01", "0", "-1.25", "235.150", "1E+2"])
@pytest.mark.parametrize("round_", [True, False])
def test_a_price_on_a_step_is_itself(price, round_):
    assert str(priced(Decimal(price), CENTS, round_=round_)) == price


@pytest.mark.parametrize(
    ("price", "steps", "increment"),
    [
        ("235.155", CENTS, "0.01"),
        ("0.30000000000000004", CENTS, "0.01"),
        ("3.05", OPTIONS, "0.1"),
        ("-1.001", CENTS, "0.01"),
    ],
)
def test_a_price_between_two_steps_is_refused_naming_the_step(price, steps, increment):
    with pytest.raises(
        OrderRejected, match=f"limit_price {price} is not a multiple of {increment},.*IBKR_ROUND_PRICES"
    ):
        priced(Decimal(price), steps, round_=False, name="limit_price")


@pytest.mark.parametrize(
    ("price", "steps", "expected"),
    [
        ("235.154", CENTS, "235.15"),
        ("235.156", CENTS, "235.16"),
        ("235.155", CENTS, "235.16"),
        ("235.145", CENTS, "235.14"),
        ("0.30000000000000004", CENTS, "0.30"),
        ("-1.256", CENTS, "-1.26"),
        ("2.98", OPTIONS, "3.00"),
        ("0.99996", SHARES, "1.0000"),
        ("3.14", OPTIONS, "3.1"),
    ],
)
def test_or_rounded_to_the_nearest_where_that_is_wanted(price, steps, expected):
    assert priced(Decimal(price), steps, round_=True) == Decimal(expected)


def test_rounding_never_makes_nothing_of_a_price():
    with pytest.raises(OrderRejected, match="less than half"):
        priced(Decimal("0.004"), CENTS, round_=True)


def test_a_price_rounded_over_an_edge_is_on_the_steps_beyond():
    steps = (PriceStep(Decimal(0), Decimal("0.3")), PriceStep(Decimal("0.85"), Decimal("0.25")))
    assert priced(Decimal("0.84"), steps, round_=True) == Decimal("1.00")


@given(
    st.decimals(-10_000, 10_000, places=6),
    st.sampled_from([CENTS, SHARES, OPTIONS]),
)
def test_what_was_rounded_is_taken_and_near(price, steps):
    try:
        rounded = priced(price, steps, round_=True)
    except OrderRejected:
        assert abs(price) <= max(step.increment for step in steps) / 2
        return
    assert priced(rounded, steps, round_=False) == rounded
    assert abs(rounded - price) <= max(step.increment for step in steps)
