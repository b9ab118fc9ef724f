"""Brackets, orders that are not transmitted yet, and orders of which one cancels the other."""

from __future__ import annotations

from decimal import Decimal

from exec_broker_ibkr.messages import StatusTold
from ibkr_sim_hall import D, Hall, tws_order, words


def bracket(hall: Hall, quantity: str = "10") -> None:
    """A parent (1), its target (2) and its stop (3), sent as IB asks for it."""
    assert hall.place(tws_order("BUY", "LMT", quantity, transmit=False)) == []
    assert (
        hall.place(tws_order("SELL", "LMT", quantity, transmit=False, parent_id=1, limit_price=D(220), tif="GTC")) == []
    )
    told = hall.place(tws_order("SELL", "STP", quantity, parent_id=1, stop_price=D(190), tif="GTC"))
    assert words(told) == ["Order", "Submitted", "Order", "PreSubmitted", "Order", "PreSubmitted"]


def state(hall: Hall, order_id: int) -> tuple[str, str, Decimal | None]:
    order = hall.order(order_id)
    return order.status, order.why_held, order.total_quantity


def test_nothing_is_told_until_the_last_is_transmitted_and_then_of_all() -> None:
    hall = Hall()
    bracket(hall)
    held = [one for one in hall.told if isinstance(one, StatusTold) and one.status == "PreSubmitted"]
    assert [(one.order_id, one.why_held) for one in held] == [(2, "child"), (3, "child")]
    assert [hall.order(2).parent_id, hall.order(3).parent_id] == [1, 1]


def test_a_dormant_order_is_not_in_the_book_and_its_id_is_used() -> None:
    hall = Hall()
    hall.place(tws_order(transmit=False), order_id=5)
    assert hall.book.orders() == []
    assert words(hall.place(order_id=4)) == ["103"]
    assert words(hall.cancel(5)) == ["202"]
    assert words(hall.cancel(5)) == ["10147"]
    hall.place(tws_order(transmit=False), order_id=6)
    hall.exchange.forget_dormant()
    assert words(hall.place(tws_order(parent_id=6), order_id=7)) == ["10006"]


def test_a_dormant_order_can_be_sent_again_to_transmit_it() -> None:
    hall = Hall()
    hall.place(tws_order(transmit=False), order_id=5)
    assert words(hall.place(tws_order(), order_id=5)) == ["Order", "Submitted"]


def test_the_children_come_to_life_when_the_parent_is_filled() -> None:
    hall = Hall()
    bracket(hall)
    hall.execute(1, "4")
    assert state(hall, 2) == ("PreSubmitted", "child", 10)
    told = hall.execute(1, "6")
    assert words(told)[:4] == ["Execution", "Order", "Filled", "Commission"]
    assert state(hall, 2) == ("Submitted", "", 10)
    assert state(hall, 3) == ("PreSubmitted", "trigger", 10)


def test_one_child_cancels_the_other() -> None:
    hall = Hall()
    bracket(hall)
    hall.execute(1, "10")
    told = hall.execute(2, "10", "220")
    assert "202" in words(told)
    assert (hall.order(2).status, hall.order(3).status) == ("Filled", "Cancelled")


def test_a_part_of_one_child_reduces_the_other() -> None:
    hall = Hall()
    bracket(hall)
    hall.execute(1, "10")
    hall.execute(2, "4", "220")
    assert state(hall, 3) == ("PreSubmitted", "trigger", 6)
    hall.execute(3, "6", "190")
    assert (hall.order(3).status, hall.order(2).status) == ("Filled", "Cancelled")


def test_the_children_of_a_cancelled_parent_are_cancelled() -> None:
    hall = Hall()
    bracket(hall)
    hall.cancel(1)
    assert [hall.order(one).status for one in (1, 2, 3)] == ["Cancelled"] * 3


def test_the_children_of_a_parent_filled_in_part_keep_that_part() -> None:
    hall = Hall()
    bracket(hall)
    hall.execute(1, "4")
    hall.cancel(1)
    assert state(hall, 2) == ("Submitted", "", 4)
    assert state(hall, 3) == ("PreSubmitted", "trigger", 4)


def test_a_child_of_a_working_parent_waits_as_well() -> None:
    hall = Hall()
    hall.place()
    assert words(hall.place(tws_order("SELL", limit_price=D(220), parent_id=1))) == ["Order", "PreSubmitted"]
    hall.execute(1, "10")
    assert state(hall, 2) == ("Submitted", "", 10)


def test_a_group_of_ones_own() -> None:
    hall = Hall()
    for _ in range(3):
        hall.place(tws_order(oca_group="G", oca_type=1))
    hall.place(tws_order(oca_group="H", oca_type=1))
    hall.execute(2, "1")
    assert [hall.order(one).is_open for one in (1, 2, 3, 4)] == [False, True, False, True]
