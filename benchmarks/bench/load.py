"""The load: orders at a steady rate or all at once, and the confirmations that come back.

Open loop: what is due is published every few milliseconds in one request, whatever has come back. One task listens.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from google.pubsub_v1.types import PubsubMessage
from harness import CONFIRMATIONS_SUBSCRIPTION, ORDERS_TOPIC, order
from percentiles import percentile

from bench.wire import Background, Clients

TICK_SECONDS = 0.005
SYMBOLS = 50
QUANTITY = 100
PRICE = 100.25
#: As many as are published in one request of a burst.
BURST = 500


@dataclass
class Heard:
    """When each order was published, and when its confirmation of being filled was there; by signal."""

    sent: dict[str, float] = field(default_factory=dict)
    received: dict[str, float] = field(default_factory=dict)
    #: Ends at which it was known to be refused.
    ended: set[str] = field(default_factory=set)

    @property
    def missing(self) -> int:
        """How many have not come back."""
        return len(self.sent) - len(self.received)

    def percentile(self, part: float) -> float:
        """Publish to confirmation, in milliseconds."""
        values = [at - self.sent[name] for name, at in self.received.items()]
        return round(percentile(values, part) * 1000, 1)

    @property
    def per_second(self) -> float:
        """From the first publish to the last confirmation."""
        return len(self.received) / (max(self.received.values()) - min(self.sent.values()))


class Producer:
    """Publishes orders of runs, and listens. `accounts` is how many accounts they are spread over."""

    def __init__(self, bus: Clients, accounts: int) -> None:
        self._bus = bus
        self._accounts = accounts
        self._background = Background()
        self._heard = Heard()
        self._progress = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        #: Every order ever published: its place, by signal.
        self.published: dict[str, tuple[str, str]] = {}

    async def __aenter__(self) -> Producer:
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self._background.settled()

    @property
    def confirmed(self) -> int:
        """How many orders of the present run have come back."""
        return len(self._heard.received)

    def place(self, number: int) -> tuple[str, str]:
        """The account and the symbol of the run's order of that number."""
        return f"acc_{number % self._accounts}", f"SYM{number % SYMBOLS}"

    def _message(self, run: str, number: int) -> tuple[str, PubsubMessage]:
        name = f"{run}_{number:07d}"
        account, symbol = self.published[name] = self.place(number)
        text = json.dumps(order(name, symbol=symbol, account_id=account, price=PRICE, quantity=QUANTITY))
        return name, PubsubMessage(data=text.encode())

    def _publish(self, run: str, numbers: range) -> None:
        made = [self._message(run, number) for number in numbers]
        now = time.monotonic()
        self._heard.sent |= dict.fromkeys((name for name, _ in made), now)
        self._background.start(self._bus.publish(ORDERS_TOPIC, [message for _, message in made]))

    async def at_rate(self, run: str, rate: float, seconds: float) -> Heard:
        """A steady rate for so long, and then until all is back."""
        self._heard = Heard()
        begin, done, total = time.monotonic(), 0, int(rate * seconds)
        while done < total:
            due = min(total, int((time.monotonic() - begin) * rate) + 1)
            if due > done:
                self._publish(run, range(done, due))
                done = due
            await asyncio.sleep(TICK_SECONDS)
        return await self.all_back()

    async def burst(self, run: str, count: int, *, at_once: int | None = None) -> Heard:
        """So many, as fast as they are taken; never more than `at_once` that have not come back."""
        self._heard = Heard()
        for start in range(0, count, BURST):
            while at_once is not None and self._heard.missing > at_once - BURST:
                await self.moved()
            self._publish(run, range(start, min(count, start + BURST)))
            await self._background.settled()  # or the emulator is given thousands of requests at a time
        return await self.all_back()

    async def all_back(self, patience: float = 120.0) -> Heard:
        """Wait until every order has its confirmation. :raises TimeoutError: none came for so long."""
        while self._heard.missing - len(self._heard.ended):
            await self.moved(patience)
        return self._heard

    async def moved(self, patience: float = 120.0) -> None:
        """Wait until something comes back. :raises TimeoutError: nothing does."""
        self._progress.clear()
        try:
            async with asyncio.timeout(patience):
                await self._progress.wait()
        except TimeoutError:
            names = self._heard.sent.keys() - self._heard.received.keys()
            raise TimeoutError(
                f"{len(names)} of {len(self._heard.sent)} orders have no confirmation, such as {min(names)}, and "
                f"nothing came for {patience:g} s"
            ) from None

    async def until(self, condition: Callable[[Heard], bool]) -> Heard:
        """Wait until what has come back fulfils the condition."""
        while not condition(self._heard):
            await self.moved()
        return self._heard

    async def publish_only(self, run: str, count: int) -> None:
        """Publish, and wait for nothing but the bus."""
        self._heard = Heard()
        self._publish(run, range(count))
        await self._background.settled()

    async def _listen(self) -> None:
        while True:
            messages = await self._bus.pull(CONFIRMATIONS_SUBSCRIPTION)
            at = time.monotonic()
            if not messages:
                await asyncio.sleep(TICK_SECONDS)  # what is not acknowledged yet keeps its ordering key: no long poll
                continue
            # First, or the next request finds the ordering keys taken and is answered at once, with nothing.
            await self._bus.acknowledge(CONFIRMATIONS_SUBSCRIPTION, [item.ack_id for item in messages])
            heard = self._heard
            for item in messages:
                attributes = item.message.attributes
                name, status = attributes["signal_id"], attributes["status"]
                if name not in heard.sent:
                    continue
                if status == "FILLED":
                    heard.received.setdefault(name, at)
                elif status in ("REJECTED", "CANCELLED", "EXPIRED"):
                    heard.ended.add(name)
            self._progress.set()
