"""Cards on open orders: what can still trade, on which terms, and also what is not ours."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from exec_core.errors import OrderRejected
from exec_core.reports import OrderTerms, ReportStatus
from exec_core.sides import Side
from exec_core.testing.brokers.base import BrokerSuite
from exec_core.testing.cards import card
from exec_core.testing.stage import Stage
from exec_core.testing.venue import Ability, Tradable, VenueOrder

_OPEN: Final = (ReportStatus.HELD, ReportStatus.WORKING)


class OpenOrderCards(BrokerSuite):
    """What works at the venue."""

    @card(660)
    async def test_open_orders(self, stage: Stage) -> None:
        """The open orders are exactly those that can still trade.

        Prerequisite: four orders: one works, one is filled in part, one is filled, one is cancelled.
        Action: ask for the open orders.
        Expected: the first two, each as HELD or WORKING, under our client order id or under the broker's id that we
        know, in a complete view; neither of the others.
        If this fails: check which of the venue's words mean "open": a partly filled order is, a pending cancel is,
        and one that is held until the market opens or its trigger comes is as well.
        """
        session = await stage.session()
        part, price = stage.tradable.quantity, stage.tradable.price
        orders = [stage.new_order(quantity=2 * part) for _ in range(4)]
        names = []
        for order in orders:
            await session.place(order)
            names.append((await stage.at_venue(order)).broker_order_id)
        await stage.venue.fill(names[1], part, price)
        await stage.venue.fill(names[2], 2 * part, price)
        await stage.venue.cancel(names[3])
        working = [order.client_order_id for order in orders[:2]]

        async def shown() -> bool:
            answer = await session.broker.open_orders()
            listed = [stage.our_id(report) for report in answer.items]
            are_open = all(report.status in _OPEN for report in answer.items)
            return answer.view.complete and are_open and sorted(map(str, listed)) == sorted(working)

        await stage.until(shown, "the list held exactly the two open orders, in a complete view")

    @card(665)
    async def test_terms_of_open_orders(self, stage: Stage) -> None:
        """The open orders say what they are: instrument, side, quantity and prices.

        Prerequisite: an order to buy, filled in part, and one to sell (if the venue lets anybody go short) that a
        person has modified (if the venue knows that).
        Action: ask for the open orders.
        Expected: each carries `OrderTerms`: the instrument, the side, the quantity of the whole order and its prices,
        as they are now at the venue.
        If this fails: check that `terms` are told, and that their quantity is not what remains of the order. What works
        at the broker is compared with what should, and a list without terms hides an order that somebody raised.
        """
        session = await stage.session()
        part = stage.tradable.quantity
        orders = [stage.new_order(quantity=3 * part)]
        await session.place(orders[0])
        await stage.venue.fill((await stage.at_venue(orders[0])).broker_order_id, part, stage.tradable.price)
        with suppress(OrderRejected):
            selling = stage.new_order(side=Side.SELL, quantity=2 * part)
            await session.place(selling)
            orders.append(selling)
        if Ability.MODIFY not in stage.venue.cannot:
            await stage.venue.modify((await stage.at_venue(orders[-1])).broker_order_id, quantity=4 * part)
        truth = {order.client_order_id: await stage.at_venue(order) for order in orders}

        async def shown() -> bool:
            answer = await session.broker.open_orders()
            listed = {stage.our_id(report): report.terms for report in answer.items}
            told = all(_tells(listed.get(name), known, stage.tradable) for name, known in truth.items())
            return answer.view.complete and told

        await stage.until(shown, "the list told instrument, side, whole quantity and prices of each order")

    @card(670, needs=[Ability.BY_HAND])
    async def test_open_order_of_a_person(self, stage: Stage) -> None:
        """The open orders are those of the account, also where a person entered one by hand.

        Prerequisite: an order of ours works at the venue, and one that a person entered.
        Action: ask for the open orders.
        Expected: both, each once, and only one of them is ours.
        If this fails: check that the list is not filtered by client, by session or by our ids: what a person does in
        the account moves its positions and its money.
        Catches: ib_insync #130, #416: orders of another client were invisible.
        """
        session = await stage.session()
        order = stage.new_order()
        await session.place(order)
        await stage.venue.trade_by_hand(stage.tradable, Side.BUY, stage.tradable.quantity)

        async def shown() -> bool:
            answer = await session.broker.open_orders()
            listed = [stage.our_id(report) for report in answer.items]
            return len(listed) == 2 and set(listed) == {order.client_order_id, None}

        await stage.until(shown, "the list held our order and the person's")

    @card(675, needs=[Ability.BY_HAND])
    async def test_terms_of_a_persons_order(self, stage: Stage) -> None:
        """The open orders say what they are also where a person entered one by hand.

        Prerequisite: an order that a person entered; none of ours.
        Action: ask for the open orders.
        Expected: one, with the instrument, the side, the quantity and the prices that it has.
        If this fails: check that the terms are read from what the venue lists, not from what this session, or this
        service, has sent: nothing else tells what somebody else does in the account.
        """
        session = await stage.session()
        known = await stage.venue.trade_by_hand(stage.tradable, Side.BUY, stage.tradable.quantity)

        async def shown() -> bool:
            answer = await session.broker.open_orders()
            return len(answer.items) == 1 and _tells(answer.items[0].terms, known, stage.tradable)

        await stage.until(shown, "the list told instrument, side, quantity and prices of the person's order")


def _tells(terms: OrderTerms | None, known: VenueOrder, tradable: Tradable) -> bool:
    """Whether they are those of the order that the venue knows. A limit that only protects a market order is free."""
    if terms is None or terms.instrument is None:
        return False
    told = [terms.instrument.asset_class, terms.instrument.symbol, terms.side, terms.quantity, terms.stop_price]
    true = [tradable.instrument.asset_class, known.symbol, known.side, known.quantity, known.stop_price]
    if known.order_type.has_limit:
        told.append(terms.limit_price)
        true.append(known.limit_price)
    return told == true
