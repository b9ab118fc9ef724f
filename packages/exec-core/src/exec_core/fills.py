"""One execution, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from exec_core.clock import check_aware
from exec_core.identifiers import ExecutionId
from exec_core.sides import Side


@dataclass(frozen=True, slots=True)
class Commission:
    """What an execution cost, in `currency`; negative is a rebate. `estimated` = computed, not billed."""

    amount: Decimal
    currency: str
    estimated: bool = False

    def __post_init__(self) -> None:
        if not self.amount.is_finite():
            raise ValueError(f"a commission must be finite, got {self.amount}")


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution at the venue.

    `execution_id` identifies it within (broker, account). A *correction* carries the same id and a higher
    `correction` number and replaces the earlier one (IBKR writes it as a suffix of the execId: ``….01`` -> ``.02``);
    quantity 0 busts it. `commission` None means not known yet: it is never 0 for "unknown". `leg` is set on the
    executions of a combination's legs; these change positions, while the order itself counts combinations.
    """

    execution_id: ExecutionId
    side: Side
    quantity: Decimal
    price: Decimal
    time: datetime
    commission: Commission | None = None
    correction: int = 0
    leg: int | None = None

    def __post_init__(self) -> None:
        check_aware("Fill.time", self.time)
        if not self.execution_id:
            raise ValueError("a fill needs an execution id")
        if not self.quantity.is_finite() or self.quantity < 0 or (self.quantity == 0 and not self.correction):
            raise ValueError(f"a fill's quantity must be above zero, got {self.quantity}")
        if not self.price.is_finite():
            raise ValueError(f"a fill's price must be finite, got {self.price}")
        if self.correction < 0:
            raise ValueError(f"a correction's number must not be negative, got {self.correction}")
