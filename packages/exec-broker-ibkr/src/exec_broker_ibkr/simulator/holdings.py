"""What the accounts hold and what their money is, from the executions. Pure, apart from remembering the sums.

Kept along the way, because everybody who trades asks for it; a correction makes the contract's sum anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from exec_core.money import ZERO, exact

from exec_broker_ibkr.messages import AccountValueTold, PositionTold, TwsContract
from exec_broker_ibkr.simulator.rows import ExecutionRow
from exec_broker_ibkr.simulator.terms import BASE_CURRENCY, Terms, in_base, margin_rate, multiplier, spelled

#: The price of a contract now; None where nobody knows it.
Price = Callable[[TwsContract], Decimal | None]

_COST_DIGITS: Final = Decimal("1e-8")


@dataclass(frozen=True, slots=True)
class Holding:
    """One contract in one account. `cost` is the average price paid, per unit; `paid` all that its trades took."""

    contract: TwsContract
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    paid: Decimal = ZERO
    commissions: Decimal = ZERO

    def traded(self, execution: ExecutionRow) -> Holding:
        """After one more execution."""
        with exact():
            change = execution.sign * execution.quantity
            quantity = self.quantity + change
            if self.quantity == 0 or self.quantity * change > 0:
                cost = (self.quantity * self.cost + change * execution.price) / quantity if quantity else ZERO
            else:
                # Closing keeps the cost of what is left; what goes beyond zero has cost what it was traded at.
                cost = self.cost if self.quantity * quantity > 0 else execution.price
            paid = change * execution.price * multiplier(self.contract)
            return replace(
                self,
                quantity=quantity,
                cost=cost if quantity else ZERO,
                paid=self.paid + in_base(paid, self.contract.currency),
                commissions=self.commissions + in_base(execution.commission, execution.currency),
            )


class Holdings:
    """All accounts' holdings; `price` tells what a contract is worth now."""

    def __init__(self, terms: Terms, price: Price) -> None:
        self._terms = terms
        self._price = price
        self._held: dict[tuple[str, int], Holding] = {}

    def traded(self, execution: ExecutionRow) -> None:
        """Add an execution. One of a combination itself changes nothing: those of its legs do."""
        if execution.contract.sec_type == "BAG":
            return
        key = (execution.account, execution.contract.con_id)
        self._held[key] = self._held.get(key, Holding(execution.contract)).traded(execution)

    def retraded(self, account: str, contract: TwsContract, executions: Iterable[ExecutionRow]) -> None:
        """Make the sum of one contract anew, of all its executions as they stand."""
        holding = Holding(contract)
        for one in executions:
            if (one.account, one.contract.con_id) == (account, contract.con_id) and one.quantity:
                holding = holding.traded(one)
        self._held[account, contract.con_id] = holding

    def quantity(self, account: str, con_id: int) -> Decimal:
        """How much of it the account holds; negative for short."""
        held = self._held.get((account, con_id))
        return ZERO if held is None else held.quantity

    def position(self, account: str, con_id: int) -> PositionTold | None:
        """``position``; None for what was never traded. Zero where all of it was sold."""
        held = self._held.get((account, con_id))
        if held is None:
            return None
        with exact():
            cost = (held.cost * multiplier(held.contract)).quantize(_COST_DIGITS).normalize()
        # TWS says the exchange of an order's contract, not of a position's.
        return PositionTold(account, replace(held.contract, exchange="", primary_exchange=""), held.quantity, cost)

    def positions(self) -> list[PositionTold]:
        """Everything that is held."""
        known = [self.position(account, con_id) for (account, con_id), held in self._held.items() if held.quantity]
        return [one for one in known if one is not None]

    def values(self, account: str) -> list[AccountValueTold]:
        """The account's money, in the base currency."""
        return [
            AccountValueTold(account, "AccountType", "INDIVIDUAL", ""),
            *(AccountValueTold(account, tag, spelled(amount), BASE_CURRENCY) for tag, amount in self._amounts(account)),
        ]

    def available(self, account: str) -> Decimal:
        """What may still be used as margin."""
        return dict(self._amounts(account))["AvailableFunds"]

    def _amounts(self, account: str) -> list[tuple[str, Decimal]]:
        with exact():
            cash, value, gross, margin = self._terms.cash, ZERO, ZERO, ZERO
            for (owner, _), held in self._held.items():
                if owner != account:
                    continue
                cash -= held.paid + held.commissions
                price = self._price(held.contract)
                worth = held.quantity * (held.cost if price is None else price) * multiplier(held.contract)
                worth = in_base(worth, held.contract.currency)
                value += worth
                gross += abs(worth)
                margin += abs(worth) * margin_rate(held.contract)
            equity = cash + value
            free = equity - margin
            return [
                ("NetLiquidation", equity),
                ("TotalCashValue", cash),
                ("SettledCash", cash),
                ("EquityWithLoanValue", equity),
                ("GrossPositionValue", gross),
                ("InitMarginReq", margin),
                ("MaintMarginReq", margin),
                ("AvailableFunds", free),
                ("ExcessLiquidity", free),
                ("BuyingPower", max(free, ZERO) * 4),
                ("FullInitMarginReq", margin),
                ("FullMaintMarginReq", margin),
            ]
