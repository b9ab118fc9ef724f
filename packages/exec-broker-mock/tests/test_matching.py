"""The rules of the market alone."""

from __future__ import annotations

from decimal import Decimal

import pytest
from exec_broker_mock.matching import is_last_slice, next_slice, rejection
from exec_broker_mock.rows import OrderRow
from exec_core.instruments import AssetClass, Instrument
from exec_core.orders import OrderType, TimeInForce
from exec_core.reports import ReportStatus
from exec_core.sides import Side
from hypothesis import given
from hypothesis import strategies as st


def row(
    quantity: Decimal | None, slices: int, kind: AssetClass = AssetClass.STOCK, cash: Decimal | None = None
) -> OrderRow:
    return OrderRow(
        number=1,
        account_id="a",
        client_order_id="c",
        signal_id="s",
        leg_index=0,
        strategy_name="t",
        symbol="X",
        instrument=Instrument("X", kind),
        side=Side.BUY,
        order_type=OrderType.MARKET,
        time_in_force=TimeInForce.DAY,
        quantity=quantity,
        cash_quantity=cash,
        limit_price=None,
        stop_price=None,
        reference_price=None,
        arrival_price=Decimal(1),
        currency="USD",
        slices=slices,
        fill_delay=0,
        commission=Decimal(1),
        accepted_at=0,
        updated_at=0,
        status=ReportStatus.WORKING,
    )


def slices_of(order: OrderRow, price: Decimal = Decimal(10)) -> list[Decimal]:
    found: list[Decimal] = []
    while quantity := next_slice(order, price):
        found.append(quantity)
        order = order._replace(
            filled_quantity=order.filled_quantity + quantity,
            spent=order.spent + quantity * price,
            fill_count=order.fill_count + 1,
        )
        if is_last_slice(order):
            break
    return found


@pytest.mark.parametrize(
    ("quantity", "slices", "expected"),
    [(100, 3, [33, 33, 34]), (2, 3, [1, 1]), (1, 5, [1]), (100, 1, [100]), (7, 7, [1] * 7)],
)
def test_whole_quantities_are_divided_in_whole_numbers_without_a_slice_of_zero(quantity, slices, expected):
    assert slices_of(row(Decimal(quantity), slices)) == expected


@given(
    st.decimals("0.00000001", "1e12", places=8),
    st.integers(1, 40),
    st.sampled_from([AssetClass.CRYPTO, AssetClass.FOREX]),
)
def test_slices_add_up_exactly_and_none_is_zero(quantity, slices, kind):
    found = slices_of(row(quantity, slices, kind))
    assert sum(found) == quantity
    assert all(part > 0 for part in found)
    assert len(found) <= slices


@given(st.decimals("0.01", "1e9", places=2), st.integers(1, 40), st.decimals("0.01", "100000", places=2))
def test_slices_of_an_amount_of_money_never_cost_more_than_it(cash, slices, price):
    found = slices_of(row(None, slices, AssetClass.CRYPTO, cash), price)
    total = sum(found, Decimal(0))
    assert total * price <= cash
    assert cash - total * price < price * Decimal("0.00000001")


def test_the_chance_of_a_rejection_is_the_one_asked_for():
    ids = [f"ORDER{number}" for number in range(4000)]
    refused = [found for found in (rejection(1, name, 0.25) for name in ids) if found]
    assert 0.2 < len(refused) / len(ids) < 0.3
    assert 0.4 < sum(found.late for found in refused) / len(refused) < 0.6
    assert not any(rejection(1, name, 0) for name in ids)
    assert all(rejection(1, name, 1) for name in ids)
