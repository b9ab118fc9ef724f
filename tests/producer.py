"""Who sends the orders: in bursts, through outages of the bus, and once more what a bus has forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from exec_service.buses import BusError, Outgoing
from exec_service.stores import Store
from harness import ORDERS_TOPIC, World, encode, order, until

ACCOUNTS = ("acc_1", "acc_2", "acc_3")


def messages(count: int, dice: random.Random, accounts: Sequence[str] = ACCOUNTS) -> list[dict[str, Any]]:
    """A mixed load: market and limit orders, entries and exits, sixteen symbols on each of the accounts."""
    made = []
    for number in range(count):
        kind = dice.choice(("MARKET", "MARKET", "LIMIT", "IOC"))
        fields: dict[str, Any] = {
            "account_id": dice.choice(accounts),
            "symbol": f"SYM{dice.randrange(16)}",
            "strategy_name": dice.choice(("Trend", "Carry")),
            "side": dice.choice(("BUY", "SELL")),
            "quantity": dice.randint(1, 500),
            "price": round(dice.uniform(10, 400), 2),
        }
        if kind == "LIMIT":
            better = 1.01 if fields["side"] == "BUY" else 0.99
            fields |= {"order_type": "LIMIT", "limit_price": round(fields["price"] * better, 2)}
        if kind == "IOC":
            fields["time_in_force"] = "IOC"
        made.append(order(f"chaos_{number:05d}", **fields))
    return made


def _identity(message: Mapping[str, Any] | bytes) -> str | bytes:
    """What a message is recognised by: its signal, or, where it must become a dead letter, its text."""
    return message if isinstance(message, bytes) else str(message["signal_id"])


class Producer:
    """Publishes `load`, as far as `allow` lets it, in bursts of uneven size.

    A publish without an answer is repeated, as every producer does: repetitions are harmless.
    """

    def __init__(self, world: World, load: Sequence[Mapping[str, Any] | bytes], dice: random.Random) -> None:
        self._world = world
        self.load = load
        self._dice = dice
        #: How many of them it has published.
        self.published = 0
        self._allowed = 0
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._known: set[str | bytes] = set()
        #: When the last order was published, or published again (`time.monotonic()`).
        self.done_at = 0.0

    async def __aenter__(self) -> Producer:
        self._task = asyncio.create_task(self._run(), name="producer")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def allow(self, count: int) -> None:
        """Let it publish the first `count` orders, in its own time."""
        self._allowed = count
        self._changed.set()

    async def finished(self) -> None:
        """Wait until all that it may publish is published."""
        if self._task is None:
            raise RuntimeError("the producer was not entered")
        await asyncio.wait([self._task])
        self._task.result()

    @contextlib.asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """No burst is under way in here."""
        async with self._turn:
            yield

    async def all_known(self, seconds: float) -> int:
        """Wait until the journal knows all that was published, without publishing any again; how many.

        To be called while `paused`.
        """
        async with self._world.store() as store:

            async def all_are() -> bool:
                return not await self._unknown(store, 0)

            await until(all_are, seconds=seconds, what=f"all of the {self.published} published messages are stored")
        return self.published

    async def publish_lost(self, since: int) -> int:
        """Publish again what was published after the first `since`, and the journal does not know; how many.

        To be called while `paused`.
        """
        async with self._world.store() as store:
            lost = await self._unknown(store, since)
        await self._publish(lost)
        return len(lost)

    async def _unknown(self, store: Store, since: int) -> list[Mapping[str, Any] | bytes]:
        """What was published after the first `since`, and is neither an order in the journal nor a dead letter."""
        left = [message for message in self.load[since : self.published] if _identity(message) not in self._known]
        names = sorted({name for message in left if isinstance(name := _identity(message), str)})
        if names:
            self._known |= {row["signal_id"] for row in await store.load("orders", {"signal_id": names})}
        if any(isinstance(message, bytes) for message in left):
            letters = await store.load("dead_letters")
            self._known |= {letter["body"].encode() for letter in letters if letter["body"] is not None}
        return [message for message in left if _identity(message) not in self._known]

    async def burst(self) -> None:
        """Publish the next few. To be called while `paused`."""
        size = min(self._allowed - self.published, self._dice.randint(1, 40))
        await self._publish(self.load[self.published : self.published + size])
        self.published += size

    async def _run(self) -> None:
        while self.published < len(self.load):
            self._changed.clear()
            if self.published == self._allowed:
                await self._changed.wait()
                continue
            async with self._turn:
                await self.burst()
            await asyncio.sleep(self._dice.uniform(0.1, 0.5))

    async def _publish(self, messages: Sequence[Mapping[str, Any] | bytes]) -> None:
        for begin in range(0, len(messages), 100):
            outgoing = [Outgoing(encode(message)) for message in messages[begin : begin + 100]]
            while True:
                try:
                    async with self._world.bus("producer") as bus:
                        await bus.publish(ORDERS_TOPIC, outgoing)
                    break
                except BusError:
                    await asyncio.sleep(0.1)  # it is away, or not set up again yet
        self.done_at = time.monotonic()
