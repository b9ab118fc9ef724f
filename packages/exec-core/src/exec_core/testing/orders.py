"""Cards on orders: each declared kind arrives at the venue exactly as it was asked, and nothing else ever does."""

from __future__ import annotations

import pytest

from exec_core.errors import OrderUnsupported
from exec_core.orders import OrderStatus, OrderType
from exec_core.testing.base import BrokerSuite
from exec_core.testing.cards import card
from exec_core.testing.stage import Stage


class OrderCards(BrokerSuite):
    """What is sent."""

    @card(200)
    @pytest.mark.parametrize("order_type", OrderType)
    async def test_order_type(self, stage: Stage, order_type: OrderType) -> None:
        """Each declared order type arrives as it was asked; one that is not declared is refused before it is sent.

        Prerequisite: a session.
        Action: send an order of the type.
        Expected: declared: the venue holds one order under our client order id, with the type, side, quantity and
        prices that were asked, and it counts as submitted. Not declared: `OrderUnsupported`; the adapter itself, asked
        without the core's guard, sends nothing either.
        If this fails: check that `Capabilities.order_types` says what `place_order` does, and that the translation
        of the type sets each price in the venue's field for it.
        """
        session = await stage.session()
        order = stage.new_order(order_type=order_type)
        if order_type not in stage.plugin.capabilities.order_types:
            with pytest.raises(OrderUnsupported):
                await session.place(order)
            assert await stage.venue.orders() == ()
            return
        await session.place(order)
        known = await stage.at_venue(order)
        assert known.order_type is order_type
        assert stage.followed(order).status is OrderStatus.SUBMITTED
