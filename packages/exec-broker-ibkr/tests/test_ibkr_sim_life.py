"""An order's life at the simulated TWS: what is told, to whom, in which order, and what the book holds then."""

from __future__ import annotations

import pytest
from exec_broker_ibkr.messages import (
    CommissionTold,
    ErrorTold,
    ExecutionTold,
    OrderShown,
    StatusTold,
    TwsContract,
    TwsLeg,
)
from exec_broker_ibkr.simulator import life
from exec_broker_ibkr.simulator.faults import NextOrder
from ibkr_sim_hall import D, Hall, tws_order, words


def statuses(told: object) -> list[StatusTold]:
    assert isinstance(told, list)
    return [one for one in told if isinstance(one, StatusTold)]


def test_an_order_gets_an_id_of_the_account_at_once() -> None:
    hall = Hall()
    shown, status = hall.place(tws_order(order_ref="MINE"))
    assert isinstance(shown, OrderShown)
    assert isinstance(status, StatusTold)
    assert shown.perm_id == status.perm_id == hall.order(1).perm_id > 0
    assert (shown.order_ref, shown.total_quantity, shown.limit_price, shown.status) == ("MINE", 10, 200, "Submitted")
    assert (status.filled, status.remaining) == (0, 10)
    assert hall.told_to == [5, 5]


@pytest.mark.parametrize("kind", ["STP", "STP LMT"])
def test_a_stop_is_held_for_its_trigger(kind: str) -> None:
    hall = Hall()
    status = statuses(hall.place(tws_order("BUY", kind)))[0]
    assert (status.status, status.why_held) == ("PreSubmitted", "trigger")
    assert words(hall.execute(1, "4")) == ["Execution", "Order", "Submitted", "Commission"]


def test_an_execution_comes_first_its_status_after_it_its_commission_last() -> None:
    hall = Hall()
    hall.place()
    told = hall.execute(1, "4", "199.99")
    assert words(told) == ["Execution", "Order", "Submitted", "Commission"]
    execution, _, status, commission = told
    assert isinstance(execution, ExecutionTold)
    assert isinstance(status, StatusTold)
    assert isinstance(commission, CommissionTold)
    assert (execution.side, execution.quantity, execution.price, execution.cumulative_quantity) == (
        "BOT",
        4,
        D("199.99"),
        4,
    )
    assert (status.filled, status.remaining, status.average_price) == (4, 6, D("199.99"))
    assert (commission.execution_id, commission.commission, commission.currency) == (execution.execution_id, 1, "USD")
    assert words(hall.execute(1, "6")) == ["Execution", "Order", "Filled", "Commission"]
    assert not hall.order(1).is_open


def test_a_cancel_is_pending_then_done_then_confirmed() -> None:
    hall = Hall()
    hall.place()
    hall.execute(1, "3")
    told = hall.cancel(1)
    assert words(told) == ["PendingCancel", "Cancelled", "202"]
    assert (statuses(told)[-1].filled, statuses(told)[-1].remaining) == (3, 0)
    assert hall.order(1).ended_as == life.CANCELED


def test_cancels_of_what_cannot_be_cancelled() -> None:
    hall = Hall()
    hall.place()
    hall.execute(1, "10")
    assert words(hall.cancel(1)) == ["10148"]
    assert words(hall.cancel(2)) == ["10147"]
    hall.place()
    assert words(hall.cancel(2, client_id=6)) == ["10147"], "an order id is this client's own"
    assert hall.order(2).is_open


def test_a_held_cancel_can_still_trade() -> None:
    hall = Hall()
    hall.faults.holds_cancels = True
    hall.place()
    assert words(hall.cancel(1)) == ["PendingCancel"]
    assert words(hall.execute(1, "4"))[2] == "PendingCancel"
    assert words(hall.execute(1, "6"))[2] == "Filled"


def test_an_id_is_used_once_and_an_open_one_modifies() -> None:
    hall = Hall()
    hall.place(order_id=5)
    assert words(hall.place(tws_order(quantity="8", limit_price=D("199.5")), order_id=5)) == ["Order", "Submitted"]
    assert (hall.order(5).total_quantity, hall.order(5).limit_price) == (8, D("199.5"))
    assert words(hall.place(order_id=4)) == ["103"]
    hall.cancel(5)
    assert words(hall.place(order_id=5)) == ["103"]
    assert len(hall.book.orders()) == 1
    assert words(hall.place(order_id=1, client_id=6)) == ["Order", "Submitted"], "each client counts for itself"
    hall.place(order_id=6)
    hall.execute(6, "10")
    assert words(hall.place(order_id=6)) == ["104"]


def test_a_modification_that_is_refused_ends_nothing() -> None:
    hall = Hall()
    hall.place()
    hall.execute(1, "6")
    for wrong in (tws_order(quantity="5"), tws_order(limit_price=D("1.001")), tws_order("SELL")):
        told = hall.place(wrong, order_id=1)
        assert len(told) == 1
        assert isinstance(told[0], ErrorTold)
    assert (hall.order(1).status, hall.order(1).total_quantity) == ("Submitted", 10)
    assert words(hall.place(tws_order(quantity="6"), order_id=1)) == ["Order", "Filled"]


def test_executions_after_the_end_and_beyond_the_quantity() -> None:
    hall = Hall()
    hall.place()
    hall.cancel(1)
    assert words(hall.execute(1, "4"))[2] == "Cancelled"
    assert words(hall.execute(1, "6"))[2] == "Filled"
    told = hall.execute(1, "5")
    assert statuses(told)[0].filled == 15
    assert len(hall.book.ended_today()) == 1


def test_a_correction_keeps_the_stem_and_counts_up() -> None:
    hall = Hall()
    hall.place()
    hall.execute(1, "4", "200")
    first = hall.book.executions()[0]
    told = hall.does(lambda: hall.exchange.correct(first, D(3), D("199.5")))
    assert words(told) == ["Execution", "Order", "Submitted", "Commission"]
    ids = [hall.book.execution_id(one) for one in hall.book.executions()]
    assert [one.rpartition(".")[0] for one in ids] == [hall.book.stem(first)] * 2
    assert [one.rpartition(".")[2] for one in ids] == ["01", "02"]
    assert statuses(told)[0].filled == 3
    assert hall.exchange.holdings.quantity("DU1", 265598) == 3
    hall.does(lambda: hall.exchange.correct(hall.book.versions(first.execution)[-1], D(0), D("199.5")))
    assert (hall.order(1).filled, hall.exchange.holdings.quantity("DU1", 265598)) == (0, 0)


def test_a_correction_upwards_can_complete_an_order() -> None:
    hall = Hall()
    hall.place()
    hall.execute(1, "4")
    assert words(hall.does(lambda: hall.exchange.correct(hall.book.executions()[0], D(10), D(200))))[2] == "Filled"


def test_a_filled_order_stays_so_in_tws_words_when_an_execution_is_busted() -> None:
    hall = Hall()
    hall.place()
    hall.execute(1, "10")
    told = hall.does(lambda: hall.exchange.correct(hall.book.executions()[0], D(0), D(200)))
    assert (statuses(told)[0].status, statuses(told)[0].filled) == ("Filled", 10)
    assert hall.order(1).filled == 0


def test_commissions_can_be_withheld_or_lost() -> None:
    hall = Hall()
    hall.faults.withholds_commissions = True
    hall.place()
    assert words(hall.execute(1, "4")) == ["Execution", "Order", "Submitted"]
    told = hall.does(lambda: hall.exchange.bill(hall.book.unbilled()[0]))
    assert words(told) == ["Commission"]
    assert hall.book.unbilled() == []
    hall.faults.withholds_commissions, hall.faults.loses_commissions = False, True
    assert words(hall.execute(1, "4")) == ["Execution", "Order", "Submitted"]
    assert hall.book.unbilled() == [], "it is billed, and only was not told"


def test_filled_may_never_be_said() -> None:
    hall = Hall()
    hall.faults.never_says_filled = True
    hall.place()
    assert words(hall.execute(1, "10")) == ["Execution", "Commission"]
    assert hall.order(1).status == "Filled"


def test_an_order_that_hangs_is_taken_and_its_executions_are_told() -> None:
    hall = Hall()
    hall.faults.next_orders = [NextOrder.HANGS]
    assert hall.place() == []
    assert hall.order(1).status == "Submitted"
    assert words(hall.execute(1, "4"))[0] == "Execution"
    assert words(hall.place()) == ["Order", "Submitted"]


def test_a_locate_is_inactive_and_comes_back_to_life() -> None:
    hall = Hall()
    hall.faults.next_orders = [NextOrder.LOCATE]
    told = hall.place(tws_order("SELL"))
    assert words(told) == ["404", "Order", "Inactive"]
    assert statuses(told)[0].why_held == "locate"
    assert hall.order(1).is_open
    assert words(hall.does(lambda: hall.exchange.release(hall.order(1)))) == ["Order", "Submitted"]


def test_a_combination_trades_as_itself_and_by_its_legs() -> None:
    legs = (TwsLeg(700000001, 1, "BUY", "SMART"), TwsLeg(700000003, 2, "SELL", "SMART"))
    bag = TwsContract("BAG", "SPY", exchange="SMART", currency="USD", legs=legs)
    hall = Hall()
    hall.place(tws_order(limit_price=D("-3.5")), bag)
    told = hall.execute(1, "2", "-3.5")
    executions = [one for one in told if isinstance(one, ExecutionTold)]
    assert [(one.contract.con_id, one.side, one.quantity) for one in executions[1:]] == [
        (700000001, "BOT", 2),
        (700000003, "SLD", 4),
    ]
    assert executions[0].contract.sec_type == "BAG"
    assert executions[0].price == executions[1].price - 2 * executions[2].price == D("-3.5")
    assert {one.perm_id for one in executions} == {hall.order(1).perm_id}
    billed = {one.execution_id for one in told if isinstance(one, CommissionTold)}
    assert billed == {one.execution_id for one in executions[1:]}, "only legs are billed"
    assert hall.order(1).filled == 2
    assert hall.exchange.holdings.quantity("DU1", 700000003) == -4


def test_positions_keep_their_cost_until_they_turn() -> None:
    hall = Hall()
    for action, quantity, price in (
        ("BUY", "10", "100"),
        ("BUY", "10", "200"),
        ("SELL", "5", "300"),
        ("SELL", "20", "120"),
    ):
        hall.place(tws_order(action, "MKT", quantity))
        hall.execute(len(hall.book.orders()), quantity, price)
        position = hall.exchange.holdings.positions()[0]
        expected = {"100": (10, 100), "200": (20, 150), "300": (15, 150), "120": (-5, 120)}[price]
        assert (position.quantity, position.average_cost) == expected
    hall.place(tws_order("BUY", "MKT", "5"))
    hall.execute(5, "5", "100")
    assert hall.exchange.holdings.positions() == []
    values = {one.tag: one.value for one in hall.exchange.holdings.values("DU1")}
    # Bought 1000 + 2000 + 500, sold 1500 + 2400, five executions at 1.00.
    assert values["TotalCashValue"] == values["NetLiquidation"] == "1000395.00"
