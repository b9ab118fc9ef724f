"""What goes wrong at the simulated TWS on command. Armed here, looked at by whoever it concerns."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class NextOrder(StrEnum):
    """What becomes of a coming order, or of its answer."""

    LOST = "lost"
    """The line breaks before TWS has it."""
    LOST_AFTER = "lost-after"
    """TWS has it, and the line breaks before an answer."""
    HANGS = "hangs"
    """TWS has it, and says nothing of it until something happens to it."""
    LOCATE = "locate"
    """It is held while shares to sell short are looked for."""


class Answers(StrEnum):
    """How questions are answered."""

    WHOLE = "whole"
    FAIL = "fail"
    """By an error where the question has an id, else by something that nobody can read."""
    SILENT = "silent"
    """By an error where the question has an id, else not at all."""
    PART = "part"
    """The lists of orders, executions and positions are empty, because TWS has lost its line to IB; it says so."""


@dataclass(slots=True)
class Faults:
    """What is armed. `refusals` and `next_orders` concern the orders to come, one each."""

    refusals: list[tuple[int, str]] = field(default_factory=list)
    next_orders: list[NextOrder] = field(default_factory=list)
    loses_next_cancel: bool = False
    holds_cancels: bool = False
    answers: Answers = Answers.WHOLE
    hangs_requests: set[str] = field(default_factory=set)
    withholds_commissions: bool = False
    loses_commissions: bool = False
    never_says_filled: bool = False
    tells_twice: bool = False
    tells_in_reverse: bool = False
    is_half_open: bool = False
    refuses_connections: bool = False
    keeps_client_ids: bool = False

    def refuses_next(self) -> tuple[int, str] | None:
        """Code and words by which the next order is refused; used up by asking."""
        return self.refusals.pop(0) if self.refusals else None

    def hangs_next(self) -> bool:
        """Whether the next order hangs; used up by asking."""
        return self._takes(NextOrder.HANGS)

    def locates_next(self) -> bool:
        """Whether the next order is held for a locate; used up by asking."""
        return self._takes(NextOrder.LOCATE)

    def line_of_next(self) -> NextOrder | None:
        """Whether the line breaks at the next order, before or after TWS has it; used up by asking."""
        for kind in (NextOrder.LOST, NextOrder.LOST_AFTER):
            if self._takes(kind):
                return kind
        return None

    def _takes(self, kind: NextOrder) -> bool:
        """Only the first that is armed concerns the next order."""
        if self.next_orders[:1] != [kind]:
            return False
        del self.next_orders[0]
        return True
