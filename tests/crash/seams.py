"""The seams between the service and the world: every effect is counted and named, and any one can be the last.

The service knows nothing of it: it is given these instead of its store, bus, broker and notifier. Leases and heartbeats
are no points: what a kill does to them, a kill at any other point does as well.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self, TypeVar

from exec_core.broker import Broker
from exec_core.notifier import Notification
from exec_core.orders import Order
from exec_core.reports import Report
from exec_service.buses import Bus, BusUnavailable, Message, Outgoing
from exec_service.stores import ORDERS, Document, Lease, Store, StoreUnavailable, WorkerState, Write

T = TypeVar("T")

#: An effect and its answer take so long, at least and at most: by the seed, so that they overlap differently.
LATENCY_SECONDS = (0.0002, 0.004)
#: Of a process's first effects in a storm so many, and each with this probability, meet with something.
STORM_EFFECTS, STORM_PROBABILITY = 60, 0.15


class Variant(StrEnum):
    """What happens at the point."""

    BEFORE = "before"
    """The process is stopped dead; the effect does not happen."""
    AFTER = "after"
    """The effect happens, and the process is stopped dead before it hears of it."""
    LOST = "lost"
    """The effect happens, and the service sees an error; it goes on."""
    FAILED = "failed"
    """The effect does not happen, and the service sees an error; it goes on."""

    @property
    def kills(self) -> bool:
        """Whether the process ends there."""
        return self in (Variant.BEFORE, Variant.AFTER)


@dataclass(frozen=True)
class Point:
    """Which effect of a process's life, counted from 1, and what happens there."""

    number: int
    variant: Variant


#: What happens at an effect, by its number; None: nothing but the effect.
Choice = Callable[[int], Variant | None]


def at(point: Point | None) -> Choice:
    """One point, and nothing else."""
    return lambda number: point.variant if point is not None and point.number == number else None


def storm(dice: random.Random) -> Choice:
    """Now and then anything, for a while."""

    def choose(number: int) -> Variant | None:
        if number > STORM_EFFECTS or dice.random() > STORM_PROBABILITY:
            return None
        return dice.choices(list(Variant), weights=(1, 1, 3, 3))[0]

    return choose


@dataclass
class Seams:
    """One process's effects. After `die` nothing that it does has any effect, and nothing comes back to it."""

    dice: random.Random
    choose: Choice
    effects: list[str] = field(default_factory=list)
    #: What happened at which of them.
    met: dict[int, Variant] = field(default_factory=dict)
    #: How often each order was sent, by its client order id: counted before anything can stop it.
    sent: Counter[str] = field(default_factory=Counter)
    dead: asyncio.Event = field(default_factory=asyncio.Event)
    buried: bool = False
    brokers: list[Broker] = field(default_factory=list)

    def die(self) -> None:
        """From now on nothing has any effect."""
        self.dead.set()

    async def passage(self, call: Callable[[], Awaitable[T]]) -> T:
        """A question, which changes nothing."""
        await self._alive()
        result = await self._undisturbed(call())
        await self._alive()
        return result

    async def effect(self, name: str, error: Callable[[], Exception], call: Callable[[], Awaitable[T]]) -> T:
        """One of the effects that are counted; `error` is what its caller sees where it fails."""
        await self._alive()
        self.effects.append(name)
        variant = self.choose(len(self.effects))
        if variant is not None:
            self.met[len(self.effects)] = variant
        await self._latency()
        if variant is Variant.BEFORE:
            self.die()
            await self._alive()
        if variant is Variant.FAILED:
            raise error()
        result = await self._undisturbed(call())
        if variant is Variant.AFTER:
            self.die()
            await self._alive()
        await self._latency()
        if variant is Variant.LOST:
            raise error()
        return result

    async def _latency(self) -> None:
        await asyncio.sleep(self.dice.uniform(*LATENCY_SECONDS))
        await self._alive()

    async def _alive(self) -> None:
        if self.buried:
            raise asyncio.CancelledError
        if self.dead.is_set():
            await asyncio.Event().wait()

    async def _undisturbed(self, call: Awaitable[T]) -> T:
        """The call's result. The end of its caller ends it only where the process itself wants that."""
        task = asyncio.ensure_future(call)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not self.dead.is_set():
                task.cancel()
                await asyncio.wait([task])
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise


class SeamStore:
    """A `Store`; commits, inserts and signal updates are effects."""

    def __init__(self, store: Store, seams: Seams) -> None:
        self._store, self._seams = store, seams

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Whoever opened it closes it."""

    async def load(self, collection: str, where: Mapping[str, Any] | None = None, **how: Any) -> list[Document]:
        return await self._seams.passage(lambda: self._store.load(collection, where, **how))

    async def commit(self, writes: Sequence[Write], *, lease: Lease | None = None) -> None:
        await self._effect(f"commit {described(writes)}", lambda: self._store.commit(writes, lease=lease))

    async def insert(self, collection: str, documents: Sequence[Document]) -> set[str]:
        if not documents:
            return set()
        name = f"insert {len(documents)} into {collection}"
        return await self._effect(name, lambda: self._store.insert(collection, documents))

    async def update_signal(self, ids: Sequence[str], signal_id: str, merge: Callable[..., Document | None]) -> None:
        await self._effect(f"signal {signal_id}", lambda: self._store.update_signal(ids, signal_id, merge))

    async def _effect(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        return await self._seams.effect(name, lambda: StoreUnavailable("no answer from the store"), call)

    async def take_lease(self, worker_id: str, seconds: float) -> Lease:
        return await self._seams.passage(lambda: self._store.take_lease(worker_id, seconds))

    async def renew_lease(self, lease: Lease) -> None:
        await self._seams.passage(lambda: self._store.renew_lease(lease))

    async def release_lease(self, lease: Lease) -> None:
        await self._seams.passage(lambda: self._store.release_lease(lease))

    async def workers(self) -> list[WorkerState]:
        return await self._seams.passage(self._store.workers)

    async def fence(self, worker_id: str, *, seen: WorkerState | None = None) -> bool:
        return await self._seams.passage(lambda: self._store.fence(worker_id, seen=seen))

    async def wait_for_change(self, timeout_seconds: float) -> bool:
        return await self._seams.passage(lambda: self._store.wait_for_change(timeout_seconds))


class SeamBus:
    """A `Bus`; publishing and acknowledging are effects."""

    def __init__(self, bus: Bus, seams: Seams) -> None:
        self._bus, self._seams = bus, seams

    @property
    def heard_at(self) -> float | None:
        return self._bus.heard_at

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Whoever opened it closes it."""

    async def publish(self, topic: str, messages: Sequence[Outgoing]) -> list[str]:
        names = ", ".join(f"{one.attributes['confirmation_id']} {one.attributes['status']}" for one in messages)
        return await self._effect(f"publish {names}", lambda: self._bus.publish(topic, messages))

    async def pull(self, subscription: str, max_messages: int) -> list[Message]:
        return await self._seams.passage(lambda: self._bus.pull(subscription, max_messages))

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        name = f"acknowledge {len(ack_ids)}"
        await self._effect(name, lambda: self._bus.acknowledge(subscription, ack_ids))

    async def _effect(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        return await self._seams.effect(name, lambda: BusUnavailable("no answer from the bus"), call)


class SeamBroker:
    """A plugin's `Broker`; sending and cancelling are effects, with a reset as the answer that tells nothing."""

    def __init__(self, broker: Broker, seams: Seams) -> None:
        self._broker, self._seams = broker, seams
        seams.brokers.append(broker)

    async def __aenter__(self) -> Self:
        await self._seams.passage(self._broker.__aenter__)
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._seams.passage(lambda: self._broker.__aexit__(*error))

    async def place_order(self, order: Order) -> Any:
        self._seams.sent[order.client_order_id] += not self._seams.dead.is_set()
        return await self._effect(f"send {order.request.signal_id}", lambda: self._broker.place_order(order))

    async def cancel_order(self, order: Order) -> None:
        await self._effect(f"cancel {order.request.signal_id}", lambda: self._broker.cancel_order(order))

    async def _effect(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        return await self._seams.effect(name, lambda: ConnectionResetError("the line was reset"), call)

    async def find_order(self, order: Order) -> Any:
        return await self._seams.passage(lambda: self._broker.find_order(order))

    async def reports(self) -> AsyncIterator[Report]:
        reports = self._broker.reports()
        while True:
            yield await self._seams.passage(lambda: anext(reports))

    async def open_orders(self) -> Any:
        return await self._seams.passage(self._broker.open_orders)

    async def positions(self) -> Any:
        return await self._seams.passage(self._broker.positions)

    async def account(self) -> Any:
        return await self._seams.passage(self._broker.account)

    def availability(self) -> Any:
        return self._broker.availability()


class SeamNotifier:
    """A `Notifier` that remembers; each notification is an effect."""

    def __init__(self, heard: list[Notification], seams: Seams) -> None:
        self._heard, self._seams = heard, seams

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held."""

    async def send(self, notification: Notification) -> None:
        async def hear() -> None:
            self._heard.append(notification)

        await self._seams.effect(f"notify {notification.id}", lambda: ConnectionError("no answer"), hear)


def described(writes: Sequence[Write]) -> str:
    """What a commit writes, in a few words."""
    words = Counter(
        f"{write.document['signal_id']} {write.document['status']}" if write.collection == ORDERS else write.collection
        for write in writes
    )
    return ", ".join(word if count == 1 else f"{count} {word}" for word, count in words.items())
