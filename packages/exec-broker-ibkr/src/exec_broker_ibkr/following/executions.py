"""The executions of one order at TWS, the combination's legs among them: each once, in its newest version.

TWS tells the execution of a combination as one for the whole, and one per leg under the same permanent id. Which one it
is can be said only once the order's contract is known; until then it waits. It does no I/O and has no clock.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from exec_core.fills import Fill
from exec_core.identifiers import ExecutionId
from exec_core.money import ZERO
from exec_core.orders import Leg
from exec_core.sides import Side

from exec_broker_ibkr.instruments import contracts
from exec_broker_ibkr.messages import ExecutionTold, TwsContract

logger = logging.getLogger(__name__)

SIDES: Final = MappingProxyType({"BUY": Side.BUY, "BOT": Side.BUY, "SELL": Side.SELL, "SLD": Side.SELL})
COMBINATION: Final = "BAG"
#: What is never a leg of a combination.
_NO_LEG: Final = frozenset({"CASH", "CRYPTO"})
#: Not known yet which leg it is.
_WAITS: Final = -1


def split_execution_id(execution_id: str) -> tuple[ExecutionId, int]:
    """The name of an execution, and the number of its correction (0: none).

    A correction has the same id with 1 more in its last part (TWS API, "Executions and Commissions").
    """
    stem, _, last = execution_id.rpartition(".")
    if not stem or not (last.isascii() and last.isdecimal()):
        return ExecutionId(execution_id), 0
    return ExecutionId(stem), max(int(last) - 1, 0)


def fill_of(told: ExecutionTold, leg: int | None) -> Fill | None:
    """The execution as the core books it; None (and an error in the log) for what is none."""
    stem, number = split_execution_id(told.execution_id)
    side = SIDES.get(told.side)
    if side is None or told.quantity < 0 or (not told.quantity and not number):
        logger.error("TWS tells an execution that is none, and that is not booked: %s", told)
        return None
    return Fill(stem, side, told.quantity, told.price, told.time, None, number, leg)


class Executions:
    """What was heard executed of one order.

    `contract` is the order's, None until it is known; `is_single`: it is known to be no combination; `is_settled`:
    nothing more is to come that would say so.
    """

    def __init__(self) -> None:
        self.contract: TwsContract | None = None
        self.is_single = False
        self.is_settled = False
        self._newest: dict[ExecutionId, tuple[int, ExecutionTold]] = {}
        self._largest: dict[ExecutionId, Decimal] = {}
        self._waiting: list[ExecutionTold] = []

    def copy(self) -> Executions:
        """The same, to be told more without changing this one."""
        other = Executions()
        other.contract, other.is_single, other.is_settled = self.contract, self.is_single, self.is_settled
        other._newest, other._largest = dict(self._newest), dict(self._largest)
        other._waiting = list(self._waiting)
        return other

    def know(self, contract: TwsContract) -> None:
        """The order is for that contract. One that names legs says more than one that does not."""
        if self.contract is None or (contract.legs and not self.contract.legs):
            self.contract = contract

    def hear(self, told: ExecutionTold) -> None:
        """An execution, its repetition or its correction."""
        stem, number = split_execution_id(told.execution_id)
        known = self._newest.get(stem)
        if known is None or number > known[0]:
            self._newest[stem] = (number, told)
        if told not in self._waiting:
            self._waiting.append(told)

    def take(self) -> list[tuple[ExecutionTold, int | None]]:
        """Those that can be told by now and were not taken yet, each as it was heard, with its leg."""
        placed = [(told, self._leg(told, ())) for told in self._waiting]
        self._waiting = [told for told, leg in placed if leg == _WAITS]
        return self._counted([(told, leg) for told, leg in placed if leg != _WAITS])

    def everything(self, legs: Sequence[Leg]) -> list[tuple[ExecutionTold, int | None]]:
        """All that can be told, in their newest versions; `legs` are the order's own, where it is a combination."""
        placed = [(told, self._leg(told, legs)) for _, told in self._newest.values()]
        return self._counted([(told, leg) for told, leg in placed if leg != _WAITS])

    @property
    def executed(self) -> Decimal:
        """What the order's own come to; also those that were corrected downwards since: none of them is missing."""
        return sum(self._largest.values(), ZERO)

    @property
    def is_corrected(self) -> bool:
        """Whether any of them came in another version than the first."""
        return any(number for number, _ in self._newest.values())

    @property
    def waiting(self) -> Decimal:
        """What those come to of which it is not known whose they are."""
        return sum((told.quantity for told in self._waiting), ZERO)

    @property
    def lacks_contract(self) -> bool:
        """Whether some wait until it is known which leg of which combination they are."""
        return bool(self._waiting)

    def _counted(self, placed: list[tuple[ExecutionTold, int | None]]) -> list[tuple[ExecutionTold, int | None]]:
        for told, leg in placed:
            if leg is None:
                stem = split_execution_id(told.execution_id)[0]
                self._largest[stem] = max(self._largest.get(stem, ZERO), told.quantity)
        return placed

    def _leg(self, told: ExecutionTold, legs: Sequence[Leg]) -> int | None:
        """Which leg it is an execution of; None: of none, it counts for the order itself."""
        contract, of = told.contract, self.contract
        if contract.sec_type == COMBINATION or contract.sec_type in _NO_LEG:
            return None
        if of is not None and of.sec_type != COMBINATION:
            return None
        for number, leg in enumerate(of.legs if of is not None else ()):
            if leg.con_id == contract.con_id:
                return number
        for number, wanted in enumerate(legs):
            if contracts.is_named(wanted.instrument, contract):
                return number
        if of is None and not legs and (self.is_single or (self.is_settled and self._is_plain())):
            return None
        return _WAITS

    def _is_plain(self) -> bool:
        """Whether all of them are of one contract: those of a combination are of several."""
        return len({(told.contract.sec_type, told.contract.con_id) for _, told in self._newest.values()}) == 1
