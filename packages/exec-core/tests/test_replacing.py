"""The cheap `replace`: the same as the ordinary one, and what was computed is handed on only where it still holds."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType

import pytest
from exec_core.fills import Commission, Fill
from exec_core.identifiers import AccountId, BrokerOrderId, ExecutionId, SignalId
from exec_core.instruments import Instrument
from exec_core.orders import Order, OrderRequest, OrderStatus, OrderType
from exec_core.positions import Position, PositionKey, PositionSide
from exec_core.replacing import replace
from exec_core.sides import Side

NOW = datetime(2026, 1, 3, 12, 51, 53, tzinfo=UTC)
SPY = Instrument("SPY")
ORDER = Order.new(
    OrderRequest(SignalId("sig_1"), AccountId("acc_1"), "S", SPY, Side.BUY, OrderType.MARKET, Decimal(100))
)
COMPUTED = [name for name, value in vars(Order).items() if isinstance(value, cached_property)]


def fill(name: str, quantity: str, price: str, cost: str | None = None, leg: int | None = None) -> Fill:
    commission = None if cost is None else Commission(Decimal(cost), "USD")
    return Fill(ExecutionId(name), Side.BUY, Decimal(quantity), Decimal(price), NOW, commission, leg=leg)


def fills(*made: Fill) -> MappingProxyType[ExecutionId, Fill]:
    return MappingProxyType({one.execution_id: one for one in made})


FILLED = replace(ORDER, fills=fills(fill("E1", "40", "10.1", "1"), fill("E2", "2", "7", leg=0)))
CHANGES = [
    {"status": OrderStatus.SUBMITTED},
    {"broker_order_ids": (BrokerOrderId("B1"),), "revision": 7},
    {"fills": fills(fill("E1", "60", "12.5", "2"), fill("E3", "1", "1", "3"))},
    {"fills": fills()},
    {"late_commissions": MappingProxyType({ExecutionId("E1"): Commission(Decimal(5), "USD")})},
    {"quantity": Decimal(7), "attention": "look"},
]


def computed(order: Order) -> list[object]:
    return [getattr(order, name) for name in COMPUTED]


@pytest.mark.parametrize("changes", CHANGES)
@pytest.mark.parametrize("order", [ORDER, FILLED])
def test_it_makes_what_the_ordinary_one_makes(order: Order, changes: dict[str, object]) -> None:
    before = computed(order)  # from here on it is known, and could be handed on wrongly
    made, expected = replace(order, **changes), dataclasses.replace(order, **changes)
    assert made == expected
    assert repr(made) == repr(expected)
    assert computed(made) == computed(expected)
    assert computed(order) == before


def test_a_series_of_changes_ends_where_the_ordinary_one_does() -> None:
    made = expected = FILLED
    for changes in CHANGES * 2:
        assert computed(made) == computed(expected)
        made, expected = replace(made, **changes), dataclasses.replace(expected, **changes)
    assert (made, computed(made)) == (expected, computed(expected))


def test_what_an_order_computes_is_handed_on_and_stands_in_the_way_of_nothing() -> None:
    order = dataclasses.replace(FILLED)
    assert order.own_fills is order.own_fills
    made = replace(order, status=OrderStatus.PARTIALLY_FILLED)
    assert made.own_fills is order.own_fills
    assert replace(order, status=order.status) == dataclasses.replace(FILLED)
    assert repr(order) == repr(dataclasses.replace(FILLED))


def test_every_computed_value_is_named_with_what_it_is_made_of() -> None:
    assert set(COMPUTED) == set(Order.COMPUTED_FROM["fills"])


def test_a_record_is_still_frozen_and_has_no_other_fields() -> None:
    made = replace(ORDER, revision=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.revision = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        replace(ORDER, colour="red")


def test_a_position_is_replaced_alike() -> None:
    key = PositionKey("S", AccountId("acc_1"), SPY.key)
    position = Position("pos_1", key, SPY, Decimal(1), NOW, NOW, PositionSide.LONG)
    assert replace(position, quantity=Decimal(5)) == dataclasses.replace(position, quantity=Decimal(5))
    assert position.quantity == 0


def test_a_record_that_checks_its_fields_still_does() -> None:
    with pytest.raises(ValueError, match="above zero"):
        replace(fill("E1", "1", "1"), quantity=Decimal(-1))
