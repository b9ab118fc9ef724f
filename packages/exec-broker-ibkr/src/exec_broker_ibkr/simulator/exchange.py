"""The venue as clients of the simulated TWS meet it: it checks orders, takes them, modifies and cancels them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from exec_core.money import ZERO

from exec_broker_ibkr.messages import ErrorTold, TwsContract, TwsOrder
from exec_broker_ibkr.simulator import life
from exec_broker_ibkr.simulator.book import Book
from exec_broker_ibkr.simulator.checks import Checked, Purse, Refused, check, rejected
from exec_broker_ibkr.simulator.faults import Faults
from exec_broker_ibkr.simulator.market import Market
from exec_broker_ibkr.simulator.requests import PlaceOrder
from exec_broker_ibkr.simulator.rows import FILLED, PRE_SUBMITTED, OrderRow, micros
from exec_broker_ibkr.simulator.terms import Terms
from exec_broker_ibkr.simulator.trading import Trading

#: What a bracket's children are to each other: one's execution reduces the other.
_REDUCE: Final = 3
_DUPLICATE: Final = "Duplicate order id"


@dataclass(frozen=True, slots=True)
class Dormant:
    """An order that was sent without being transmitted: it is in TWS's memory only, and ends with TWS."""

    client_id: int
    order_id: int
    checked: Checked


class Exchange(Trading):
    """One venue."""

    def __init__(self, book: Book, terms: Terms, market: Market, faults: Faults) -> None:
        super().__init__(book, terms, market, faults)
        self._dormant: dict[tuple[int, int], Dormant] = {}

    def place(self, client_id: int, asked: PlaceOrder) -> None:
        """Take an order, modify an open one, or keep one until it is transmitted; the client is told what came of it.

        Armed faults that concern the next order are used up by a new one.
        """
        with self._event():
            known = self.book.order_of_client(client_id, asked.order_id)
            if known is not None and known.is_open:
                self._modify(client_id, known, asked)
                return
            is_dormant = (client_id, asked.order_id) in self._dormant
            if not is_dormant and asked.order_id < self.book.next_order_id(client_id):
                what = (104, "Cannot modify a filled order.") if known and known.status == FILLED else (103, _DUPLICATE)
                self._tell(client_id, ErrorTold(asked.order_id, *what))
                return
            self.book.set_next_order_id(client_id, max(asked.order_id + 1, self.book.next_order_id(client_id)))
            try:
                checked = self._checked(asked.contract, asked.order)
                self._check_parent(client_id, checked.order)
                if (refusal := self.faults.refuses_next()) is not None:
                    raise Refused(*refusal)
            except Refused as refused:
                self._refuse(client_id, asked, refused)
                return
            self._arrived(Dormant(client_id, asked.order_id, checked))

    def _checked(self, contract: TwsContract, order: TwsOrder, *, is_new: bool = True) -> Checked:
        return check(contract, order, self.terms, self.market.listing, self.purse, is_new=is_new)

    def purse(self, account: str) -> Purse:
        """What an account has."""
        return Purse(
            lambda con_id: self.holdings.quantity(account, con_id),
            lambda: self.holdings.available(account),
            self.market.price,
        )

    def _check_parent(self, client_id: int, order: TwsOrder) -> None:
        if not order.parent_id or (client_id, order.parent_id) in self._dormant:
            return
        parent = self.book.order_of_client(client_id, order.parent_id)
        if parent is None or not parent.is_open:
            raise Refused(10006, "Missing parent order.")

    def _refuse(self, client_id: int, asked: PlaceOrder, refused: Refused) -> None:
        if not refused.is_kept:
            self._tell(client_id, ErrorTold(asked.order_id, refused.code, refused.text))
            return
        contract = self._listed(asked.contract)
        order = self.book.add_order(self._row(client_id, asked.order_id, contract, asked.order))
        self._happened(*life.refused(order, refused.code, refused.text, self._when()))

    def _listed(self, contract: TwsContract) -> TwsContract:
        found = self.market.listing.find(contract)
        return found[0].at(contract.exchange).contract if found else contract

    def _arrived(self, dormant: Dormant) -> None:
        order = dormant.checked.order
        key = (dormant.client_id, dormant.order_id)
        self._dormant[key] = dormant
        if not order.transmit:
            return
        parent = self._dormant.get((dormant.client_id, order.parent_id))
        head = parent or dormant
        family = [
            one
            for one in self._dormant.values()
            if one.client_id == head.client_id and one.checked.order.parent_id == head.order_id
        ]
        # All of them are there before the first may trade.
        for number in [self._transmit(one) for one in (head, *family)]:
            self._examine(number)

    def _transmit(self, dormant: Dormant) -> int:
        del self._dormant[dormant.client_id, dormant.order_id]
        checked = dormant.checked
        row = self._row(dormant.client_id, dormant.order_id, checked.contract, checked.order)
        if checked.order.parent_id:
            parent = self.book.order_of_client(dormant.client_id, checked.order.parent_id)
            if parent is not None and parent.is_open:
                group = row.oca_group or str(parent.perm_id)
                row = row._replace(waits_for=parent.perm_id, oca_group=group, oca_type=row.oca_type or _REDUCE)
        order = self.book.add_order(row)
        if self.faults.hangs_next():
            # It has it, and says nothing; what becomes of it later is told.
            self.book.change_order(life.resting(order))
            return order.number
        if self.faults.locates_next():
            self._happened(*life.located(order, self._when()))
            return order.number
        for warning in checked.warnings:
            self._tell(dormant.client_id, ErrorTold(dormant.order_id, warning.code, warning.text))
        self._happened(*life.taken(order))
        return order.number

    def _row(self, client_id: int, order_id: int, contract: TwsContract, order: TwsOrder) -> OrderRow:
        now = micros(self.book.now)
        is_limit, is_stop = order.order_type in ("LMT", "STP LMT"), order.order_type in ("STP", "STP LMT")
        return OrderRow(
            number=0,
            client_id=client_id,
            order_id=order_id,
            account=order.account or self.terms.accounts[0],
            order_ref=order.order_ref,
            contract=contract,
            action=order.action,
            order_type=order.order_type,
            tif=order.tif,
            total_quantity=order.quantity or None,
            cash_quantity=order.cash_quantity or None,
            limit_price=order.limit_price if is_limit else None,
            stop_price=order.stop_price if is_stop else None,
            parent_id=order.parent_id,
            waits_for=0,
            oca_group=order.oca_group,
            oca_type=order.oca_type,
            outside_rth=order.outside_rth,
            status=PRE_SUBMITTED,
            why_held="",
            word="",
            ended_as="",
            reason="",
            filled=ZERO,
            spent=ZERO,
            is_triggered=False,
            accepted_at=now,
            changed_at=now,
            ended_on=0,
        )

    def _modify(self, client_id: int, order: OrderRow, asked: PlaceOrder) -> None:
        """The client sends an open order again, on other terms. A refusal of that ends nothing (`ib_insync#502`)."""
        try:
            if asked.order.action != order.action or asked.contract.con_id not in (0, order.contract.con_id):
                raise Refused(105, "Order being modified does not match original order.")
            checked = self._checked(asked.contract, asked.order, is_new=False).order
            if checked.quantity is not None and checked.quantity < order.filled:
                raise rejected("The quantity is less than what is filled already.")
        except Refused as refused:
            self._tell(client_id, ErrorTold(asked.order_id, refused.code, refused.text))
            return
        changed = order._replace(
            total_quantity=checked.quantity or None,
            cash_quantity=checked.cash_quantity or None,
            limit_price=checked.limit_price if order.limit_price is not None else None,
            stop_price=checked.stop_price if order.stop_price is not None else None,
            tif=checked.tif,
        )
        self._happened(*life.modified(changed, self._when()))
        self._settle(changed.number)

    def cancel(self, client_id: int, order_id: int) -> None:
        """A client wants its order cancelled."""
        with self._event():
            if self._dormant.pop((client_id, order_id), None) is not None:
                self._tell(client_id, ErrorTold(order_id, 202, "Order Canceled - reason:"))
                return
            order = self.book.order_of_client(client_id, order_id)
            if order is None:
                text = f"OrderId {order_id} that needs to be cancelled is not found."
                self._tell(client_id, ErrorTold(order_id, 10147, text))
            elif not order.is_open:
                text = f"OrderId {order_id} that needs to be cancelled cannot be cancelled, state: {order.status}."
                self._tell(client_id, ErrorTold(order_id, 10148, text))
            else:
                self._happened(*life.cancel_asked(order, self._when()))
                if not self.faults.holds_cancels:
                    self._end(order.number, lambda one: life.cancelled(one, "", self._when()))

    def cancel_all(self) -> None:
        """``reqGlobalCancel``: every open order, whoever placed it."""
        with self._event():
            for order in self.book.open_orders():
                self.end(order, lambda one: life.cancelled(one, "", self._when()))

    # What a person does

    def enter(self, order: OrderRow) -> OrderRow:
        """A person enters an order in TWS itself: no client hears of it."""
        with self._event():
            order, told = life.taken(self.book.add_order(order))
            self._happened(order, told)
            self._examine(order.number)
        return self._order(order.number)

    def row_by_hand(self, contract: TwsContract, order: TwsOrder) -> OrderRow:
        """An order as a person enters it."""
        return self._row(0, 0, contract, order)

    def forget_dormant(self) -> None:
        """TWS starts anew: what was not transmitted is gone."""
        self._dormant.clear()
