"""What is played: small stories of orders that between them touch every kind of effect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from exec_service.stores import Document

from crash.world import ACCOUNT, World

#: A status, and a reason code where it is not a plain fill.
Outcome = tuple[str, str | None]

FILLED: Outcome = ("FILLED", None)
REJECTED: Outcome = ("REJECTED", "BROKER_REJECTED")
NOT_PLACED: Outcome = ("REJECTED", "NOT_PLACED")
TIMED_OUT: Outcome = ("CANCELLED", "TIMEOUT")
CANCELLED: Outcome = ("CANCELLED", "CANCELLED_BY_USER")
AT_THE_BROKER = ("SUBMITTED", "PARTIALLY_FILLED")
FINAL = frozenset({"FILLED", "REJECTED", "CANCELLED", "EXPIRED"})


@dataclass(frozen=True)
class Scenario:
    """A story: what the world does (`play`), and how each order may end where no crash caught it.

    `dead_letters`: how many of its messages are kept as dead letters.
    """

    name: str
    play: Callable[[World], Awaitable[None]]
    ends: Mapping[str, frozenset[Outcome]]
    venue: Mapping[str, Any] = field(default_factory=dict)
    dead_letters: int = 0
    accounts: tuple[str, ...] = (ACCOUNT,)
    lease_seconds: float = 15.0
    #: With how many workers at once it is played, besides alone.
    workers: tuple[int, ...] = ()
    #: Whether one worker alone plays it too.
    alone: bool = True
    #: So many of the workers come only when the story calls them.
    late: int = 0

    @property
    def text(self) -> str:
        """What it is about."""
        return (self.play.__doc__ or "").strip().rstrip(".")


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    name: str,
    *,
    dead_letters: int = 0,
    venue: Mapping[str, Any] | None = None,
    accounts: tuple[str, ...] = (ACCOUNT,),
    lease_seconds: float = 15.0,
    workers: tuple[int, ...] = (),
    alone: bool = True,
    late: int = 0,
    **ends: Outcome | frozenset[Outcome],
) -> Callable[[Callable[[World], Awaitable[None]]], Callable[[World], Awaitable[None]]]:
    """Add a scenario."""

    def add(play: Callable[[World], Awaitable[None]]) -> Callable[[World], Awaitable[None]]:
        allowed = {key: end if isinstance(end, frozenset) else frozenset({end}) for key, end in ends.items()}
        SCENARIOS[name] = Scenario(
            name, play, allowed, venue or {}, dead_letters, accounts, lease_seconds, workers, alone, late
        )
        return play

    return add


def order(signal_id: str, **fields: Any) -> dict[str, Any]:
    """A market order for 100 SPY at a reference price of 235.15."""
    return {
        "signal_id": signal_id,
        "account_id": ACCOUNT,
        "strategy_name": "Trend",
        "symbol": "SPY",
        "side": "BUY",
        "quantity": 100,
        "order_type": "MARKET",
        "price": 235.15,
        **fields,
    }


def resting(signal_id: str, **fields: Any) -> dict[str, Any]:
    """A limit order that the market does not reach."""
    return order(signal_id, order_type="LIMIT", limit_price=230, **fields)


def is_final(document: Document) -> bool:
    """Whether the order has ended."""
    return document["status"] in FINAL


def at_broker(document: Document) -> bool:
    """Whether the order works at the broker, or has ended."""
    return document["status"] in AT_THE_BROKER or is_final(document)


@scenario("market", workers=(2, 3), sig_1=FILLED)
async def market(world: World) -> None:
    """A market order that is filled at once."""
    await world.publish(order("sig_1"))


@scenario("partials", workers=(2,), sig_1=FILLED, venue={"partial_fills": 3, "fill_delay_seconds": 0.1})
async def partials(world: World) -> None:
    """A market order that is filled in three parts."""
    await world.publish(order("sig_1"))


@scenario("rejected", sig_1=REJECTED)
async def rejected(world: World) -> None:
    """The broker rejects the order at once."""
    world.fault("reject")
    await world.publish(order("sig_1"))


@scenario("rejected-late", workers=(2,), sig_1=REJECTED, venue={"fill_delay_seconds": 0.1})
async def rejected_late(world: World) -> None:
    """The broker takes the order and rejects it then."""
    world.fault("reject-late")
    await world.publish(order("sig_1"))


@scenario("timeout", workers=(2,), sig_1=TIMED_OUT)
async def timeout(world: World) -> None:
    """A limit order that is not reached in time and is cancelled."""
    await world.publish(resting("sig_1", timeout_seconds=0.5))


@scenario(
    "crossing",
    workers=(2,),
    sig_1=frozenset({FILLED, TIMED_OUT}),
    venue={"cancel_delay_seconds": 0.4, "partial_fills": 2},
)
async def crossing(world: World) -> None:
    """A fill that crosses the cancel of a time-out."""
    await world.publish(resting("sig_1", timeout_seconds=0.3))
    await world.until("sig_1", lambda document: document["state"]["cancel"] is not None or is_final(document))
    world.set_price("SPY", 229)


@scenario("lost-taken", workers=(2,), sig_1=FILLED)
async def lost_taken(world: World) -> None:
    """The broker's answer is lost; it has taken the order."""
    world.fault("lose-answer")
    await world.publish(order("sig_1"))


@scenario("lost-hidden", sig_1=FILLED)
async def lost_hidden(world: World) -> None:
    """The broker's answer is lost; it has taken the order, and shows it only a while later."""
    world.fault("lose-answer")
    world.fault("hidden", seconds=0.7)
    await world.publish(order("sig_1"))


@scenario("lost-not-taken", sig_1=NOT_PLACED)
async def lost_not_taken(world: World) -> None:
    """The connection is reset while the order is sent; the broker never had it."""
    world.fault("lose-order")
    world.fault("incomplete", count=1)
    await world.publish(order("sig_1"))


@scenario("duplicate", sig_1=FILLED)
async def duplicate(world: World) -> None:
    """The message is delivered twice at once, and once more when the order is filled."""
    await world.publish(order("sig_1"), order("sig_1"))
    await world.until("sig_1", is_final)
    await world.publish(order("sig_1"))


@scenario("late-commission", sig_1=FILLED, venue={"partial_fills": 2})
async def late_commission(world: World) -> None:
    """What the execution cost is told a while later."""
    world.fault("late-commission", seconds=0.4)
    await world.publish(order("sig_1"))


@scenario("flip", workers=(2,), sig_1=FILLED, sig_2=FILLED, venue={"partial_fills": 2, "fill_delay_seconds": 0.05})
async def flip(world: World) -> None:
    """Two orders; the second takes the position through zero."""
    await world.publish(order("sig_1"), order("sig_2", side="SELL", quantity=250, price=236.5))


@scenario("correction", sig_1=FILLED, venue={"partial_fills": 2})
async def correction(world: World) -> None:
    """The broker corrects the price of an execution afterwards."""
    await world.publish(order("sig_1"))
    document = await world.until("sig_1", is_final)
    if document["status"] == "FILLED":
        world.desk.correct(document["order_id"], price=Decimal("235.05"))


@scenario("cancel", workers=(2,), sig_1=CANCELLED)
async def cancel(world: World) -> None:
    """Somebody cancels an order that rests at the broker."""
    await world.publish(resting("sig_1", time_in_force="GTC"))
    await world.until("sig_1", at_broker)
    await world.command("cancel", "sig_1")


@scenario("late-fill", workers=(2,), sig_1=CANCELLED)
async def late_fill(world: World) -> None:
    """A part is filled after the order was cancelled."""
    await world.publish(resting("sig_1", time_in_force="GTC"))
    await world.until("sig_1", at_broker)
    await world.command("cancel", "sig_1")
    document = await world.until("sig_1", is_final)
    if document["status"] == "CANCELLED" and document["order_id"] is not None:
        world.desk.fill(document["order_id"], Decimal(40), Decimal(230))


@scenario("stopped", sig_1=FILLED, sig_2=FILLED, venue={"partial_fills": 2, "fill_delay_seconds": 0.2})
async def stopped(world: World) -> None:
    """The service is asked to stop while it sends two orders."""
    await world.publish(order("sig_1"), order("sig_2", symbol="QQQ", price=410))
    await world.until("sig_1", lambda document: document["status"] != "PENDING", every=0.001)
    world.stop()


@scenario(
    "refused",
    dead_letters=2,
    sig_1=("REJECTED", "INVALID"),
    sig_2=("REJECTED", "UNKNOWN_ACCOUNT"),
    sig_3=FILLED,
)
async def refused(world: World) -> None:
    """Orders and messages that are refused, among one that is not."""
    await world.publish(
        order("sig_1", quantity=-5),
        b"no JSON at all",
        order("sig_2", account_id="acc_9"),
        order("sig_3"),
        b'{"signal_id": "sig_3", "quantity": 7}',
    )


@scenario("idle", lease_seconds=1.0, workers=(2,), sig_1=CANCELLED)
async def idle(world: World) -> None:
    """An order rests while only heartbeats are written; it is cancelled, and the service is asked to stop."""
    await world.publish(resting("sig_1", time_in_force="GTC"))
    await world.until("sig_1", at_broker)
    await asyncio.sleep(0.7)
    await world.command("cancel", "sig_1")
    await world.until("sig_1", is_final)
    world.stop()


@scenario(
    "shares", workers=(2, 3), alone=False, accounts=("acc_1", "acc_2"), sig_1=FILLED, sig_2=FILLED, sig_3=CANCELLED
)
async def shares(world: World) -> None:
    """Orders of two accounts, which the workers share; one rests, and is cancelled."""
    await world.publish(order("sig_1"), order("sig_2", account_id="acc_2"))
    await world.publish(resting("sig_3", account_id="acc_2", time_in_force="GTC"))
    await world.until("sig_3", at_broker)
    await world.command("cancel", "sig_3")


@scenario(
    "joins",
    workers=(2, 3),
    alone=False,
    late=1,
    accounts=("acc_1", "acc_2"),
    venue={"partial_fills": 2, "fill_delay_seconds": 0.1},
    sig_1=FILLED,
    sig_2=CANCELLED,
    sig_3=FILLED,
)
async def joins(world: World) -> None:
    """One more worker comes while orders of both accounts are at work, and gets its share."""
    await world.publish(order("sig_1"), resting("sig_2", account_id="acc_2", time_in_force="GTC"))
    await world.until("sig_2", at_broker)
    world.join()
    await world.publish(order("sig_3", account_id="acc_2"))
    await world.until("sig_3", is_final)
    await world.command("cancel", "sig_2")


@scenario(
    "leaves",
    workers=(2,),
    alone=False,
    venue={"partial_fills": 2, "fill_delay_seconds": 0.1},
    sig_1=FILLED,
    sig_2=FILLED,
    sig_3=CANCELLED,
)
async def leaves(world: World) -> None:
    """The worker that serves the account is asked to stop while it sends; another goes on at once."""
    await world.publish(order("sig_1"), order("sig_2", symbol="QQQ", price=410))
    await world.publish(resting("sig_3", time_in_force="GTC"))
    await world.until("sig_1", lambda document: document["status"] != "PENDING", every=0.001)
    world.stop(world.witness.owner(ACCOUNT))
    await world.until("sig_3", at_broker)
    await world.command("cancel", "sig_3")
