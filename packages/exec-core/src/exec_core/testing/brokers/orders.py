"""Cards on orders: each declared kind arrives at the venue exactly as it was asked, and nothing else ever does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from exec_core.broker import Placed
from exec_core.capabilities import Idempotency
from exec_core.errors import BrokerError
from exec_core.instruments import AssetClass, InstrumentDetails, Right
from exec_core.money import ZERO
from exec_core.orders import Leg, Order, OrderStatus, OrderType, TimeInForce
from exec_core.reports import CommissionReport, ReportStatus
from exec_core.sides import Side
from exec_core.testing.brokers.base import BrokerSuite
from exec_core.testing.brokers.undeclared import check_nothing_is_sent, undeclared_tradable
from exec_core.testing.cards import card
from exec_core.testing.session import Session
from exec_core.testing.stage import Stage
from exec_core.testing.venue import Tradable


class OrderCards(BrokerSuite):
    """What is sent."""

    @card(200)
    @pytest.mark.parametrize("side", Side)
    @pytest.mark.parametrize("order_type", OrderType)
    async def test_order_type(self, stage: Stage, order_type: OrderType, side: Side) -> None:
        """Each declared order type arrives as it was asked, on either side; one that is not declared is never sent.

        Prerequisite: a session.
        Action: send an order of the type, once to buy and once to sell.
        Expected: declared: the venue holds one order under our client order id, with the type, side, quantity and
        prices that were asked, and it counts as submitted. Not declared: `OrderUnsupported`; the adapter itself, asked
        without the core's guard, sends nothing either.
        If this fails: check that `Capabilities.order_types` says what `place_order` does; that the translation of the
        type puts each price into the venue's field for it, and not the stop price into that of the limit; and that
        `place_order` raises `OrderUnsupported` for every type that it has no word for, instead of taking the nearest.
        """
        order = stage.new_order(order_type=order_type, side=side)
        if order_type not in stage.plugin.capabilities.order_types:
            await check_nothing_is_sent(stage, order)
            return
        session = await stage.session()
        await session.place(order)
        known = await stage.at_venue(order)
        assert (known.order_type, known.side, known.quantity) == (order_type, side, order.quantity)
        # Digit for digit is the business of another card.
        for asked, arrived in (
            (order.request.limit_price, known.limit_price),
            (order.request.stop_price, known.stop_price),
        ):
            if asked is not None:
                assert arrived is not None
                assert abs(arrived - asked) < stage.tradable.price_increment / 2
        assert stage.followed(order).status is OrderStatus.SUBMITTED

    @card(210)
    @pytest.mark.parametrize("time_in_force", TimeInForce)
    async def test_time_in_force(self, stage: Stage, time_in_force: TimeInForce) -> None:
        """Each declared time in force arrives as it was asked; one that is not declared is never sent.

        Prerequisite: a session.
        Action: send an order with the time in force.
        Expected: declared: the venue holds one order with it (where its wire has a place for it). Not declared:
        `OrderUnsupported`; the adapter itself, asked without the core's guard, sends nothing either.
        If this fails: check that `Capabilities.times_in_force` says what `place_order` does, and that a time in force
        for which the venue has no word is refused, not replaced by its default: an order that should be gone by the
        evening and stays for months is found by whoever it fills.
        """
        order = stage.new_order(time_in_force=time_in_force)
        if time_in_force not in stage.plugin.capabilities.times_in_force:
            await check_nothing_is_sent(stage, order)
            return
        session = await stage.session()
        await session.place(order)
        assert (await stage.at_venue(order)).time_in_force in (time_in_force, None)

    @card(220)
    @pytest.mark.parametrize("asset_class", AssetClass)
    async def test_asset_class(self, stage: Stage, asset_class: AssetClass) -> None:
        """Each declared kind of instrument can be traded, and what comes back of its contract makes sense.

        Prerequisite: a session.
        Action: send an order for something of that kind.
        Expected: declared: the venue holds one order for that instrument, and whatever `InstrumentDetails` come back
        hold `Decimal` figures above zero which the order's price and quantity are multiples of. Not declared:
        `OrderUnsupported`; the adapter itself, asked without the core's guard, sends nothing either.
        If this fails: check that `Capabilities.asset_classes` says what the adapter can resolve, that a kind it cannot
        resolve is refused and not looked up as a stock of the same symbol, and that the multiplier and the increments
        are the contract's, made from the venue's text and not from a float; what the venue does not say stays None.
        """
        if asset_class not in stage.plugin.capabilities.asset_classes:
            await check_nothing_is_sent(stage, stage.new_order(undeclared_tradable(stage, asset_class)))
            return
        tradable = stage.venue.tradable(asset_class)
        order = stage.new_order(tradable)
        session = await stage.session()
        placed = await session.place(order)
        assert (await stage.at_venue(order)).symbol == tradable.instrument.symbol
        await stage.all_told(session)
        for details in _details(session, placed, order):
            _check_sane(details, tradable)

    @card(230)
    async def test_default_time_in_force(self, stage: Stage) -> None:
        """An order without a time in force gets the one that is declared as the default.

        Prerequisite: a session.
        Action: send an order that says nothing of its time in force.
        Expected: the venue's order has `Capabilities.default_time_in_force` (where its wire has a place for it).
        If this fails: check that the adapter always says the time in force, with its declared default where the order
        has none: a venue's own default differs between products, and may change.
        """
        session = await stage.session()
        order = stage.new_order(time_in_force=None)
        await session.place(order)
        default = stage.plugin.capabilities.default_time_in_force
        assert (await stage.at_venue(order)).time_in_force in (default, None)

    @card(240)
    async def test_figures_arrive_exactly(self, stage: Stage) -> None:
        """Prices and quantities arrive digit for digit.

        Prerequisite: a session.
        Action: send orders whose prices are one, three and seven increments apart, whose quantities are one increment
        beyond a round one, and whose figures are written in other ways (``1E+1``, ``10.00``).
        Expected: the venue's figures equal, as `Decimal`, those that were asked.
        If this fails: check that figures go from `Decimal` to the wire as text (``format(value, "f")``), or through the
        shortest float where the SDK insists on one; that nobody computes with floats on the way; and that a whole
        quantity written as ``10.00`` or ``1E+1`` is still a whole number to the venue.
        Catches: openalgo #1109: a quantity went out as the text "65.0" and was refused as not a whole number.
        """
        session = await stage.session()
        for order in _exact_orders(stage):
            await session.place(order)
            known = await stage.at_venue(order)
            assert known.quantity == order.quantity
            if order.request.limit_price is not None:
                assert known.limit_price == order.request.limit_price
            if order.request.stop_price is not None:
                assert known.stop_price == order.request.stop_price

    @card(250)
    @pytest.mark.parametrize("asset_class", AssetClass)
    async def test_fractional_quantity(self, stage: Stage, asset_class: AssetClass) -> None:
        """A fraction arrives exactly where it is declared, and is never sent, nor rounded, where it is not.

        Prerequisite: the plugin declares the kind of instrument; where it declares fractions of it, the venue's
        smallest step is a fraction.
        Action: send an order for a quantity that is not whole.
        Expected: declared: the venue's quantity equals what was asked. Not declared: `OrderUnsupported`; the adapter
        itself, asked without the core's guard, sends nothing either.
        If this fails: check `Capabilities.fractional_quantity`, and look for ``int(quantity)`` or a rounding in the
        translation: an order for another quantity than was asked is worse than none.
        """
        capabilities = stage.plugin.capabilities
        if asset_class not in capabilities.asset_classes:
            pytest.skip(f"the plugin does not declare {asset_class}")
        tradable = stage.venue.tradable(asset_class)
        if asset_class not in capabilities.fractional_quantity:
            order = stage.new_order(tradable, quantity=tradable.quantity + Decimal("0.5"))
            await check_nothing_is_sent(stage, order)
            return
        quantity = tradable.quantity + tradable.quantity_increment
        if quantity == quantity.to_integral_value():
            pytest.skip(f"the venue's {asset_class} is traded in whole steps of {tradable.quantity_increment}")
        session = await stage.session()
        order = stage.new_order(tradable, quantity=quantity)
        await session.place(order)
        assert (await stage.at_venue(order)).quantity == quantity

    @card(260)
    @pytest.mark.parametrize("asset_class", AssetClass)
    async def test_cash_quantity(self, stage: Stage, asset_class: AssetClass) -> None:
        """An order for an amount of money arrives as one where it is declared, and is never sent where it is not.

        Prerequisite: the plugin declares the kind of instrument.
        Action: send an order for an amount that buys a round quantity; if it is taken, execute it.
        Expected: declared: the venue got the amount, or a quantity that is worth it; the execution is booked, and once
        the venue calls the order complete, its quantity is known. Not declared: `OrderUnsupported`; the adapter itself,
        asked without the core's guard, sends nothing either.
        If this fails: check `Capabilities.cash_quantity`, that the amount goes into the venue's field for money and not
        into the one for a quantity, and that the report of the complete order carries its cumulative quantity.
        """
        capabilities = stage.plugin.capabilities
        if asset_class not in capabilities.asset_classes:
            pytest.skip(f"the plugin does not declare {asset_class}")
        tradable = stage.venue.tradable(asset_class)
        worth = tradable.price * tradable.quantity * tradable.instrument.multiplier_or_default()
        amount = worth.quantize(Decimal("0.01"))  # nobody pays in parts of a cent
        changes: dict[str, Any] = {"cash_quantity": amount}
        if OrderType.MARKET in capabilities.order_types:
            changes["order_type"] = OrderType.MARKET
        order = stage.new_order(tradable, **changes)
        if asset_class not in capabilities.cash_quantity:
            await check_nothing_is_sent(stage, order)
            return
        session = await stage.session()
        await session.place(order)
        known = await stage.at_venue(order)
        if known.cash_quantity is not None:
            assert known.cash_quantity == amount
        else:
            assert known.quantity is not None
            # Derived from the market as the adapter saw it, perhaps with something kept back for the commission.
            assert Decimal("0.9") < known.quantity / tradable.quantity < Decimal("1.1")
        bought = known.quantity or tradable.quantity
        await stage.venue.fill(known.broker_order_id, bought, tradable.price)
        await stage.until(lambda: stage.followed(order).filled_quantity == bought, "what was bought is booked")
        if (await stage.at_venue(order)).status is ReportStatus.FILLED:
            await stage.until(
                lambda: stage.followed(order).status is OrderStatus.FILLED,
                "the order is complete, and its quantity is known",
            )
            assert stage.followed(order).quantity == bought

    @card(270)
    async def test_combination(self, stage: Stage) -> None:
        """A combination arrives as one order where combinations are declared, and is never sent where they are not.

        Prerequisite: where combinations are declared, options are, and the venue knows the other right of the option
        that can be traded.
        Action: send a straddle (a call and a put of one strike) as one order, and execute it; where combinations are
        not declared, send any order with two legs.
        Expected: declared: the venue holds one order, not one per leg, with the quantity that was asked in
        combinations, and the executed combination completes it. Not declared: `OrderUnsupported`; the adapter itself,
        asked without the core's guard, sends nothing either: above all not the order without its legs.
        If this fails: check `Capabilities.combinations`; that a request with `legs` never takes the path of a single
        instrument; and that executions of single legs carry `Fill.leg`, so that they are not counted as combinations.
        """
        declared = stage.plugin.capabilities
        if not declared.combinations:
            one = stage.tradable.instrument
            legs = (Leg(one, Side.BUY, Decimal(1)), Leg(one, Side.SELL, Decimal(1)))
            await check_nothing_is_sent(stage, stage.new_order(legs=legs))
            return
        if AssetClass.OPTION not in declared.asset_classes:
            pytest.skip("the plugin declares combinations, but no options to make one of")
        tradable = stage.venue.tradable(AssetClass.OPTION)
        option = tradable.instrument
        if option.right is None:
            pytest.skip("the venue's option is named by a symbol of its own: its counterpart cannot be named")
        other = replace(option, right=Right.PUT if option.right is Right.CALL else Right.CALL)
        whole = replace(option, expiry=None, strike=None, right=None)
        legs = (Leg(option, Side.BUY, Decimal(1)), Leg(other, Side.BUY, Decimal(1)))
        order = stage.new_order(replace(tradable, instrument=whole), legs=legs)
        session = await stage.session()
        await session.place(order)
        known = await stage.at_venue(order)
        assert (len(await stage.venue.orders()), known.quantity) == (1, order.quantity)
        await stage.venue.fill(known.broker_order_id, tradable.quantity, tradable.price)
        await stage.until(lambda: stage.followed(order).status is OrderStatus.FILLED, "the combination is filled")
        await stage.all_told(session)
        assert stage.followed(order).filled_quantity == tradable.quantity

    @card(280)
    async def test_each_order_keeps_its_identity(self, stage: Stage) -> None:
        """Each order carries its own client order id, and what is told of it is told of no other.

        Prerequisite: a session.
        Action: send three orders of different quantities at the same time; then execute one of them.
        Expected: the venue holds each quantity under the client order id of its order; the answers name three
        different broker order ids; the execution is booked to its order, and to no other.
        If this fails: check that the id goes, unchanged and whole, into the venue's field for it (`orderRef`, `tag`,
        `client_order_id`), that an answer is matched to its request and not to "the last one", and that reports are
        given the id of the order that the venue names in them.
        Catches: Lean.IB #242: ids were issued twice, so that one order was told the other's executions.
        """
        session = await stage.session()
        unit = stage.tradable.quantity
        orders = [stage.new_order(quantity=unit * times) for times in (1, 2, 3)]
        answers = await asyncio.gather(*(session.place(order) for order in orders))
        assert [(await stage.at_venue(order)).quantity for order in orders] == [order.quantity for order in orders]
        names = {answer.broker_order_id for answer in answers}
        assert (len(names), all(names)) == (3, True)
        second = await stage.at_venue(orders[1])
        await stage.venue.fill(second.broker_order_id, unit, stage.tradable.price)
        await stage.until(lambda: stage.followed(orders[1]).filled_quantity, "the execution is booked to its order")
        await stage.all_told(session)
        assert [stage.followed(order).filled_quantity for order in orders] == [ZERO, unit, ZERO]

    @card(290)
    async def test_idempotency_is_declared_truthfully(self, stage: Stage) -> None:
        """What becomes of an order that is sent twice is what the plugin declares.

        Prerequisite: none.
        Action: send an order in one session; leave it; send the same order, under the same client order id, in a new
        session.
        Expected: with `DEDUPLICATES` the venue holds one order, and both answers name it; with `CORRELATES` it holds
        two, both under our id.
        If this fails: declare in `Capabilities.idempotency` what the venue does, not what the adapter remembers: the
        adapter's memory is gone after a crash. If the venue refuses an id that it knows, the adapter must look for the
        first order and answer with it (`DEDUPLICATES`); it must never call the order rejected, because it lives.
        Catches: kotak-neo #30: the broker refused a tag that had been used before, and the order counted as rejected.
        """
        order = stage.new_order()
        sending = stage.follower.sending(order)
        session = await stage.session()
        first = await session.broker.place_order(sending)
        stage.follower.placed(order, first)
        await session.leave()
        session = await stage.session()
        second: Placed | BrokerError
        try:
            second = await session.broker.place_order(sending)
        except BrokerError as error:
            second = error
        await stage.all_told(session)
        held = len(await stage.all_at_venue(order.client_order_id))
        if stage.plugin.capabilities.idempotency is Idempotency.DEDUPLICATES:
            if held != 1:
                pytest.fail(f"the plugin declares DEDUPLICATES, but the venue holds {held} orders: declare CORRELATES")
            if not isinstance(second, Placed) or second.broker_order_id != first.broker_order_id:
                pytest.fail(f"the second send must be answered with the first order, {first}; it ended in {second!r}")
        elif held != 2:
            pytest.fail(
                f"the plugin declares CORRELATES, but the venue holds {held} orders after a second send, which ended "
                f"in {second!r}: declare DEDUPLICATES, and answer with the first order"
            )


def _details(session: Session, placed: Placed, order: Order) -> Iterable[InstrumentDetails]:
    """What was told of the contract of an order's instrument, wherever it was told."""
    if placed.details is not None:
        yield placed.details
    for report in session.heard:
        if isinstance(report, CommissionReport) or report.client_order_id != order.client_order_id:
            continue
        if report.details is not None:
            yield report.details


def _check_sane(details: InstrumentDetails, tradable: Tradable) -> None:
    for figure in (details.multiplier, details.price_increment, details.quantity_increment):
        if figure is not None:
            assert isinstance(figure, Decimal)
            assert figure.is_finite()
            assert figure > 0
    if details.price_increment is not None:
        assert tradable.price % details.price_increment == 0
    if details.quantity_increment is not None:
        assert tradable.quantity % details.quantity_increment == 0
    assert details.currency != ""


def _exact_orders(stage: Stage) -> Iterable[Order]:
    """Orders whose figures floats cannot hold, or are written in more than one way."""
    tradable = stage.tradable
    step = tradable.quantity_increment
    if stage.asset_class not in stage.plugin.capabilities.fractional_quantity:
        step = max(step, Decimal(1))
    figures = [
        (1, tradable.quantity + step),
        (3, 3 * tradable.quantity),
        (7, 7 * tradable.quantity + step),
        (10, tradable.quantity.normalize()),
        (11, tradable.quantity.quantize(Decimal("0.00")) if tradable.quantity % 1 == 0 else tradable.quantity),
    ]
    order_type = stage.new_order().request.order_type
    for increments, quantity in figures:
        price = tradable.price + increments * tradable.price_increment
        changes: dict[str, Any] = {}
        if order_type.has_limit:
            changes["limit_price"] = price
        if order_type.has_stop:
            changes["stop_price"] = price + tradable.price_increment
        yield stage.new_order(quantity=quantity, **changes)
