"""The transition table as a whole."""

from __future__ import annotations

import pytest
from exec_core.orders import FINAL_STATUSES, OrderStatus
from exec_core.transitions import ILLEGAL, TABLE, Next, Trigger

MAY_LEAVE_AN_END = {Trigger.FILL_PART, Trigger.FILL_ALL, Trigger.UNFILL}
OURS = {Trigger.REFUSE, Trigger.WITHDRAW, Trigger.DISPATCH}


def targets(cell: Next) -> set[OrderStatus]:
    """Where a cell may lead; what follows from executions may be any state of an order at the broker."""
    if cell.derive:
        return {OrderStatus.SUBMITTED, OrderStatus.PARTIALLY_FILLED} | FINAL_STATUSES
    return {cell.status} if cell.status else set()


def reachable(start: OrderStatus) -> set[OrderStatus]:
    found = {start}
    waiting = [start]
    while waiting:
        status = waiting.pop()
        for row in TABLE.values():
            for target in targets(row[status]) - found:
                found.add(target)
                waiting.append(target)
    return found


def test_every_trigger_has_a_cell_for_every_status() -> None:
    assert set(TABLE) == set(Trigger)
    for row in TABLE.values():
        assert set(row) == set(OrderStatus)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        TABLE[Trigger.CANCEL] = {}  # type: ignore[index]
    with pytest.raises(TypeError):
        TABLE[Trigger.CANCEL][OrderStatus.FILLED] = ILLEGAL  # type: ignore[index]


def test_every_status_can_be_reached_from_pending() -> None:
    assert reachable(OrderStatus.PENDING) == set(OrderStatus)


@pytest.mark.parametrize("status", sorted(set(OrderStatus) - FINAL_STATUSES))
def test_every_open_status_can_end_every_way(status: OrderStatus) -> None:
    assert reachable(status) >= FINAL_STATUSES


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES))
def test_a_final_status_is_left_only_for_executions_or_where_we_had_only_concluded_it(status: OrderStatus) -> None:
    for trigger, row in TABLE.items():
        if targets(row[status]) - {status} and trigger not in MAY_LEAVE_AN_END:
            assert row[status].only_if_ours, trigger
            assert row[status].alarm, trigger


def test_filled_is_left_only_when_an_execution_is_taken_back() -> None:
    leaving = {trigger for trigger, row in TABLE.items() if targets(row[OrderStatus.FILLED]) - {OrderStatus.FILLED}}
    assert leaving == {Trigger.UNFILL}


def test_a_part_that_comes_late_leaves_cancelled_and_expired_and_reopens_rejected() -> None:
    row = TABLE[Trigger.FILL_PART]
    assert not targets(row[OrderStatus.CANCELLED])
    assert not targets(row[OrderStatus.EXPIRED])
    assert row[OrderStatus.REJECTED] == Next(OrderStatus.PARTIALLY_FILLED, alarm=True)


@pytest.mark.parametrize("trigger", [Trigger.FILL_PART, Trigger.FILL_ALL, Trigger.UNFILL])
def test_no_status_calls_an_execution_illegal(trigger: Trigger) -> None:
    assert not any(cell.illegal for cell in TABLE[trigger].values())


@pytest.mark.parametrize("trigger", sorted(OURS, key=lambda trigger: trigger.value))
def test_what_we_decide_ourselves_is_legal_only_before_anything_was_sent(trigger: Trigger) -> None:
    for status, cell in TABLE[trigger].items():
        assert cell.illegal == (status is not OrderStatus.PENDING), status


def test_submitting_is_entered_from_pending_only() -> None:
    entering = {
        (trigger, status)
        for trigger, row in TABLE.items()
        for status, cell in row.items()
        if cell.status is OrderStatus.SUBMITTING
    }
    assert entering == {(Trigger.DISPATCH, OrderStatus.PENDING)}


def test_pending_is_entered_only_when_a_send_provably_failed() -> None:
    entering = {
        (trigger, status)
        for trigger, row in TABLE.items()
        for status, cell in row.items()
        if cell.status is OrderStatus.PENDING
    }
    assert entering == {(Trigger.SEND_FAILED, OrderStatus.SUBMITTING)}


def test_absence_ends_nothing_but_unknown() -> None:
    leading = {status for status, cell in TABLE[Trigger.ABSENT].items() if targets(cell)}
    assert leading == {OrderStatus.UNKNOWN}


def test_a_lost_answer_ends_nothing() -> None:
    for cell in TABLE[Trigger.ANSWER_LOST].values():
        assert targets(cell) <= {OrderStatus.UNKNOWN}


def test_illegal_cells_lead_nowhere_and_are_heard_of() -> None:
    for row in TABLE.values():
        for cell in row.values():
            if cell.illegal:
                assert cell.alarm
                assert not targets(cell)
