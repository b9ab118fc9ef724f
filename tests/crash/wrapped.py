"""The service's store, bus, broker and notifier, behind the seams: what it is given instead of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Self, TypeVar

from exec_core.broker import Broker
from exec_core.notifier import Notification
from exec_core.orders import Order
from exec_core.reports import Report
from exec_service.buses import Bus, BusUnavailable, Message, Outgoing
from exec_service.stores import (
    ACCOUNTS,
    ORDERS,
    Document,
    Lease,
    SignalChange,
    Store,
    StoreError,
    StoreUnavailable,
    WorkerState,
    Write,
)

from crash.seams import Seams
from crash.witness import Witness

T = TypeVar("T")

HEARTBEAT, TAKE_LEASE = "heartbeat", "take the lease"
#: What the effects that concern only leases and ownership begin with.
OF_LEASES = (TAKE_LEASE, HEARTBEAT, "fence ", "release the lease", "claim ", "free ", "sharing")


def is_of_leases(name: str) -> bool:
    """Whether an effect concerns only leases and who owns which account."""
    return name.removeprefix("commit ").startswith(OF_LEASES)


class SeamStore:
    """A `Store`; commits, inserts, signal updates and whatever is written of leases are effects."""

    def __init__(self, store: Store, seams: Seams, witness: Witness) -> None:
        self._store, self._seams, self._witness = store, seams, witness

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Whoever opened it closes it."""

    async def load(self, collection: str, where: Mapping[str, Any] | None = None, **how: Any) -> list[Document]:
        return await self._seams.passage(lambda: self._store.load(collection, where, **how))

    async def commit(self, writes: Sequence[Write], *, lease: Lease | None = None) -> None:
        what = described(writes)

        async def commit() -> None:
            wrong = self._witness.judge_commit(lease, writes, what)
            await self._store.commit(writes, lease=lease)
            self._object(wrong)

        await self._effect(f"commit {what}", commit)

    async def insert(self, collection: str, documents: Sequence[Document]) -> set[str]:
        if not documents:
            return set()
        name = f"insert {len(documents)} into {collection}"
        if collection == ORDERS:
            _signals.update({document["_id"]: document["signal_id"] for document in documents})
        return await self._effect(name, lambda: self._store.insert(collection, documents))

    async def update_signals(self, changes: Sequence[SignalChange]) -> list[StoreError | ValueError | None]:
        """Each an effect of its own: of a call that gets no answer some may be made, and others not."""
        answers: list[StoreError | ValueError | None] = []
        for change in changes:
            answers += await self._effect(f"signal {change.signal_id}", partial(self._store.update_signals, [change]))
        return answers

    async def _effect(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        return await self._seams.effect(name, lambda: StoreUnavailable("no answer from the store"), call)

    def _object(self, wrong: Sequence[str]) -> None:
        for text in wrong:
            self._witness.object(text)

    async def take_lease(self, worker_id: str, seconds: float) -> Lease:
        async def take() -> Lease:
            self._seams.lease = await self._store.take_lease(worker_id, seconds)
            return self._seams.lease

        return await self._effect(TAKE_LEASE, take)

    async def renew_lease(self, lease: Lease) -> None:
        await self._effect(HEARTBEAT, lambda: self._store.renew_lease(lease))

    async def release_lease(self, lease: Lease) -> None:
        await self._effect("release the lease", lambda: self._store.release_lease(lease))

    async def workers(self) -> list[WorkerState]:
        return await self._seams.passage(self._store.workers)

    async def fence(self, worker_id: str, *, seen: WorkerState | None = None) -> bool:
        async def fence() -> bool:
            lease = self._seams.lease
            wrong = self._witness.judge_fence("somebody" if lease is None else lease.worker_id, worker_id)
            is_fenced = await self._store.fence(worker_id, seen=seen)
            self._object(wrong if is_fenced else [])
            return is_fenced

        return await self._effect(f"fence {worker_id}", fence)

    async def wait_for_change(self, timeout_seconds: float) -> bool:
        return await self._seams.passage(lambda: self._store.wait_for_change(timeout_seconds))

    def __getattr__(self, name: str) -> Any:
        # Whatever else a store can do is no effect that could be stopped.
        return getattr(self._store, name)


class SeamBus:
    """A `Bus`; publishing and acknowledging are effects."""

    def __init__(self, bus: Bus, seams: Seams, witness: Witness) -> None:
        self._bus, self._seams, self._witness = bus, seams, witness

    @property
    def heard_at(self) -> float | None:
        return self._bus.heard_at

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Whoever opened it closes it."""

    async def publish(self, topic: str, messages: Sequence[Outgoing]) -> list[str]:
        names = ", ".join(f"{one.attributes['confirmation_id']} {one.attributes['status']}" for one in messages)
        self._witness.sees_told(self._seams.lease, f"publish {names}")
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

    def __init__(self, broker: Broker, seams: Seams, witness: Witness) -> None:
        self._broker, self._seams, self._witness = broker, seams, witness
        seams.brokers.append(broker)

    async def __aenter__(self) -> Self:
        await self._seams.passage(self._broker.__aenter__)
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._seams.passage(lambda: self._broker.__aexit__(*error))

    async def place_order(self, order: Order) -> Any:
        begun = self._witness.sees_begin(self._seams.lease, order)
        self._seams.sent[order.client_order_id] += 1

        async def place() -> Any:
            self._witness.sees_arrive(begun, order)
            return await self._broker.place_order(order)

        return await self._effect(f"send {order.request.signal_id}", place)

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

    def __init__(self, heard: list[Notification], seams: Seams, witness: Witness) -> None:
        self._heard, self._seams, self._witness = heard, seams, witness

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held."""

    async def send(self, notification: Notification) -> None:
        async def hear() -> None:
            self._heard.append(notification)

        name = f"notify {notification.id}"
        self._witness.sees_told(self._seams.lease, name)
        await self._seams.effect(name, lambda: ConnectionError("no answer"), hear)


#: The signals of the orders that were written so far, by client order id, which follows from them.
_signals: Final[dict[str, str]] = {}


def described(writes: Sequence[Write]) -> str:
    """What a commit writes, in a few words."""
    words = Counter(_described(write) for write in writes)
    return ", ".join(word if count == 1 else f"{count} {word}" for word, count in words.items())


def _described(write: Write) -> str:
    document = write.document
    if write.collection == ORDERS:
        # Of an order that is known only what has changed is written.
        name = _signals.setdefault(write.id, document.get("signal_id", write.id))
        return f"{name} {document['status']}" if "status" in document else name
    if write.collection == ACCOUNTS and "worker_id" in document:
        return f"free {write.id}" if document["worker_id"] is None else f"claim {write.id}"
    return write.collection
