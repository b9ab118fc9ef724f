"""Cards on questions: what is found, what absence proves, what is open, held and owned."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from typing import Final

import pytest

from exec_core.broker import AccountSummary, BrokerPosition, Snapshot
from exec_core.errors import BrokerError, ConnectionFailed, NotSent, OrderRejected
from exec_core.money import ZERO
from exec_core.orders import Order, OrderStatus
from exec_core.reports import ReportStatus
from exec_core.sides import Side
from exec_core.testing.brokers.base import BrokerSuite
from exec_core.testing.cards import card
from exec_core.testing.following import Follower
from exec_core.testing.session import Session
from exec_core.testing.stage import Stage
from exec_core.testing.venue import Ability, Tradable

_LISTS: Final = ("find_order", "open_orders", "positions")
_QUESTIONS: Final = (*_LISTS, "account")
_OPEN: Final = (ReportStatus.HELD, ReportStatus.WORKING)
#: Beyond any money: a number that stands for "not told" in some venue's wire.
_SENTINEL: Final = Decimal("1e30")


class ViewCards(BrokerSuite):
    """What the venue shows."""

    @card(600)
    async def test_found_by_our_id(self, stage: Stage) -> None:
        """A working order is found by our client order id alone.

        Prerequisite: two orders that work at the venue.
        Action: look for one of them with an order that knows no broker order id.
        Expected: a trace of this order, which is open, and of no other.
        If this fails: check that the client order id is sent in a field that the venue gives back, and that
        `find_order` searches for it: after a crash between the send and its answer it is the only id there is.
        Catches: nautilus #4958: the query needed the broker's id, so an order that was live counted as rejected.
        """
        session = await stage.session()
        order, other = stage.new_order(), stage.new_order()
        await session.place(order)
        await session.place(other)

        async def shown() -> bool:
            return (await _looked_up(session, order)).orders[order.client_order_id].status is OrderStatus.SUBMITTED

        await stage.until(shown, "the look-up showed the order as open")
        assert (await _looked_up(session, order)).strangers == [], "the look-up told of another order"

    @card(610)
    @pytest.mark.parametrize("end", ["filled", "cancelled", "filled in part, then cancelled"])
    async def test_ended_order_is_found(self, stage: Stage, end: str) -> None:
        """An order that has ended is found as well, with its end and all its executions.

        Prerequisite: an order that ended: filled in two parts, cancelled, or filled in part and then cancelled.
        Action: look for it with an order that knows our client order id only.
        Expected: whoever knows only that the order was sent learns from the answer how it ended, with every execution
        that the venue made, once.
        If this fails: check that the look-up asks for ended orders and for executions too, not only for what is open,
        and that executions are tied to our id where the venue's record of them does not carry it.
        Catches: nautilus #3870, #4160, ccxt #2599: filled at once, so not among the open orders, so "rejected".
        """
        session = await stage.session()
        part, price = stage.tradable.quantity, stage.tradable.price
        order = stage.new_order(quantity=2 * part)
        await session.place(order)
        name = (await stage.at_venue(order)).broker_order_id
        fills = {"filled": 2, "cancelled": 0}.get(end, 1)
        for _ in range(fills):
            await stage.venue.fill(name, part, price)
        if end != "filled":
            await stage.venue.cancel(name)
        expected = OrderStatus.FILLED if end == "filled" else OrderStatus.CANCELLED

        async def shown() -> bool:
            known = (await _looked_up(session, order)).orders[order.client_order_id]
            # Prices, digit for digit, are the business of the card on figures.
            return known.status is expected and [fill.quantity for fill in known.own_fills] == [part] * fills

        await stage.until(shown, f"the look-up showed the order as {expected}, with {fills} executions")

    @card(620)
    async def test_found_in_a_new_session(self, stage: Stage) -> None:
        """A new session finds an order of an earlier one, without any memory of it.

        Prerequisite: an order was placed, and the session was left.
        Action: enter a new session, and look for the order.
        Expected: a trace of the order, which is open.
        If this fails: check that the look-up asks the venue, and not what this session happens to have seen or placed.
        Catches: nautilus #4970, ib_insync #416: orders of an earlier session, or of another client, were invisible.
        """
        first = await stage.session()
        order = stage.new_order()
        await first.place(order)
        await first.leave()
        second = await stage.session()

        async def shown() -> bool:
            found = await second.broker.find_order(stage.followed(order))
            return any(report.status in _OPEN for report in found.orders)

        await stage.until(shown, "the look-up showed the order as open")

    @card(630)
    async def test_absence(self, stage: Stage) -> None:
        """An order that the venue never had leaves no trace, and the view says how much that proves.

        Prerequisite: a session on a healthy line.
        Action: look for an order that was never sent. Then send it so that it is lost on its way, and look again.
        Expected: no trace, in a complete view, which covers nothing that is yet to come. If the view says what it
        covers at all, the lost order is provably absent by it, at once or a little later.
        If this fails: check that "not found" is an answer (an empty `Found`), not an error; that `complete` is true
        when every request answered; that `as_of` is the time of asking; and that `covers_from` is the start of what
        the venue shows: the day, say. None is honest where ended orders are not shown; but then such an order is
        never settled without a person.
        Catches: freqtrade's start, which declares every order that is not found cancelled, however old the view.
        """
        session = await stage.session()
        order = stage.new_order()
        found = await session.broker.find_order(order)
        assert not found.has_trace
        assert found.view.complete
        covers_from = found.view.covers_from
        assert covers_from is None or covers_from <= found.view.as_of
        await stage.venue.lose_next_answer(taken=False)
        sent_at = stage.follower.clock()
        with suppress(BrokerError):  # which of them it may be is the subject of another card
            await session.place(order)

        async def absent(current: Session) -> bool:
            found = await current.broker.find_order(order)
            return covers_from is None or found.view.proves_absence_since(sent_at)

        await stage.through(session, absent, "a view proved that the lost order is not at the venue")

    @card(640)
    @pytest.mark.parametrize("question", _QUESTIONS)
    async def test_error_is_not_an_answer(self, stage: Stage, question: str) -> None:
        """A question that fails raises; it is never answered by an empty list.

        Prerequisite: an order that works at the venue, which answers every question by an error.
        Action: look for the order, ask for the open orders, the positions, the account; later, when the venue answers
        again, ask again.
        Expected: `ConnectionFailed` while the venue fails, and an answer afterwards, in this session or in the next.
        If this fails: look for an ``except`` that returns an empty list, for a default in ``.get("data", [])``, for
        an answer from a cache, and for a client library that logs an error and returns nothing.
        Catches: nautilus PR #4230: a request that timed out was mapped to an empty list, and live orders were taken
        for rejected.
        """
        session = await stage.session()
        order = stage.new_order()
        await session.place(order)
        await stage.venue.fail_questions()
        with pytest.raises(ConnectionFailed):
            await _ask(session, question, order)
        await stage.venue.answer_questions()
        await stage.through(session, lambda current: _ask(current, question, order), f"{question} was answered again")

    @card(650, needs=[Ability.HIDE])
    @pytest.mark.parametrize("question", _LISTS)
    async def test_answer_in_part(self, stage: Stage, question: str) -> None:
        """An answer in part is never called complete.

        Prerequisite: an order of which a third was executed, and which every answer shows.
        Action: the venue answers in part only, and says so in its way; ask. Later it answers as it should.
        Expected: an error, or a view that is not `complete`, unless the answer lacks nothing. Afterwards the answer
        is whole and complete again, in this session or in the next one.
        If this fails: check that `complete` is true only if every page and every request behind the answer came, and
        the line between the venue and its exchanges was up: absence ends orders on the strength of this flag.
        Catches: Lean.IB #249: what happened while a line behind the gateway was down was dropped.
        """
        session = await stage.session()
        part = stage.tradable.quantity
        order = stage.new_order(quantity=3 * part)
        held_before = _sum(await session.broker.positions(), stage.tradable)
        await session.place(order)
        await stage.venue.fill((await stage.at_venue(order)).broker_order_id, part, stage.tradable.price)

        async def look(current: Session) -> tuple[bool, bool]:
            """Whether the view is complete, and whether nothing is missing in it."""
            if question == "find_order":
                found = await current.broker.find_order(stage.followed(order))
                return found.view.complete, found.has_trace
            if question == "open_orders":
                listed = await current.broker.open_orders()
                return listed.view.complete, [stage.our_id(report) for report in listed.items] == [
                    str(order.client_order_id)
                ]
            held = await current.broker.positions()
            return held.view.complete, _sum(held, stage.tradable) == held_before + part

        async def is_whole(current: Session) -> bool:
            return all(await look(current))

        await stage.until(lambda: is_whole(session), f"{question} showed the order, in a complete view")
        await stage.venue.answer_in_part()
        try:
            is_complete, lacks_nothing = await look(session)
        except NotSent:
            pass  # an error is honest as well
        else:
            assert lacks_nothing or not is_complete, "an answer in part was called complete"
        await stage.venue.answer_questions()
        await stage.through(session, is_whole, f"{question} showed the order again, in a complete view")

    @card(680)
    async def test_positions(self, stage: Stage) -> None:
        """Positions are signed and exact.

        Prerequisite: a session.
        Action: buy three times the quantity and sell one; then, if the venue lets anybody go short, sell three more.
        Expected: the account holds two times the quantity more than before, then one time less than before, in a
        complete view; a short position is negative.
        If this fails: check the sign of what was sold, that no quantity passes through a float, that a position's
        instrument bears the order's symbol, and that lots are not taken for units.
        Catches: openalgo #1109: quantities that came as "65.0".
        """
        session = await stage.session()
        tradable = stage.tradable
        before = _sum(await session.broker.positions(), tradable)
        await _trade(stage, session, Side.BUY, 3 * tradable.quantity)
        await _trade(stage, session, Side.SELL, tradable.quantity)
        await _until_held(stage, session, before + 2 * tradable.quantity)
        try:
            await _trade(stage, session, Side.SELL, 3 * tradable.quantity)
        except OrderRejected:
            return  # nobody goes short here
        await _until_held(stage, session, before - tradable.quantity)

    @card(690)
    async def test_account(self, stage: Stage) -> None:
        """The account's money is told exactly, or not told.

        Prerequisite: a session.
        Action: ask for the account, before and after an execution.
        Expected: a currency, an aware time, and each amount either a finite `Decimal` or None.
        If this fails: check that amounts are made from text, not from floats, and that a number which stands for "not
        told" in the venue's wire (-1, 1.797e308) becomes None.
        Catches: ib_async #208, nautilus PR #4230: what was not told came as 0, as -1 or as 1.797e308.
        """
        session = await stage.session()
        _check_account(await session.broker.account())
        await _trade(stage, session, Side.BUY, stage.tradable.quantity)
        _check_account(await session.broker.account())


async def _looked_up(session: Session, order: Order) -> Follower:
    """What a look-up by our id alone tells somebody who knows only that the order was sent."""
    sent = Order.new(order.request)
    follower = Follower()
    follower.sending(sent)
    follower.found(await session.broker.find_order(sent))
    return follower


async def _ask(session: Session, question: str, order: Order) -> object:
    """One of the questions about an account."""
    match question:
        case "find_order":
            return await session.broker.find_order(order)
        case "open_orders":
            return await session.broker.open_orders()
        case "positions":
            return await session.broker.positions()
        case _:
            return await session.broker.account()


def _sum(held: Snapshot[BrokerPosition], tradable: Tradable) -> Decimal:
    """How much of it a list of positions shows."""
    wanted = (tradable.instrument.asset_class, tradable.instrument.symbol)
    found = [one for one in held.items if (one.instrument.asset_class, one.instrument.symbol) == wanted]
    return sum((one.quantity for one in found), ZERO)


async def _until_held(stage: Stage, session: Session, quantity: Decimal) -> None:
    """Wait for the position."""

    async def holds() -> bool:
        held = await session.broker.positions()
        return held.view.complete and _sum(held, stage.tradable) == quantity

    await stage.until(holds, f"the account was shown to hold {quantity}, in a complete view")


async def _trade(stage: Stage, session: Session, side: Side, quantity: Decimal) -> None:
    """Send an order, which is executed."""
    order = stage.new_order(side=side, quantity=quantity)
    await session.place(order)
    await stage.venue.fill((await stage.at_venue(order)).broker_order_id, quantity, stage.tradable.price)


def _check_account(account: AccountSummary) -> None:
    assert account.currency.strip()
    assert account.as_of.utcoffset() is not None
    for amount in (account.equity, account.cash, account.buying_power):
        assert amount is None or isinstance(amount, Decimal)
        assert amount is None or (amount.is_finite() and abs(amount) < _SENTINEL)
