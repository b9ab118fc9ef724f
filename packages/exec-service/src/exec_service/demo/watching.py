"""What the demo sees from outside, as any other program could: the store's documents, and published confirmations."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from exec_service.buses import Bus, Outgoing
from exec_service.demo.day import Planned
from exec_service.demo.processes import ServiceProcess
from exec_service.settings import Settings
from exec_service.stores import (
    CONFIRMATIONS,
    DEAD_LETTERS,
    FILLS,
    ORDERS,
    OUTBOX,
    POSITIONS,
    SIGNALS,
    Document,
    Store,
)

PATIENCE_SECONDS: Final = 25.0
CONFIRMATIONS_SUBSCRIPTION: Final = "execution-confirmations-sub"

ENDED: Final = ("FILLED", "REJECTED", "CANCELLED", "EXPIRED")

#: The orders by their signal ids.
Orders = Mapping[str, Document]


class Watch:
    """Publishes orders, collects confirmations, and waits until something is true of the store."""

    def __init__(self, settings: Settings, store: Store, bus: Bus, service: ServiceProcess) -> None:
        self._settings = settings
        self._store = store
        self._bus = bus
        self._service = service
        #: every confirmation that came, in the order of coming
        self.confirmations: list[dict[str, Any]] = []
        self._collector: asyncio.Task[None] | None = None

    async def publish(self, *messages: Planned | bytes) -> None:
        """Send these to the orders topic."""
        data = [item.data if isinstance(item, Planned) else item for item in messages]
        await self._bus.publish(self._settings.trading_orders_topic, [Outgoing(item) for item in data])

    def start_collecting(self) -> None:
        """Consume the confirmations from now on."""
        self._collector = asyncio.create_task(self._collect(), name="confirmations")

    async def stop_collecting(self) -> None:
        """Let go of the subscription."""
        if self._collector is not None:
            self._collector.cancel()
            await asyncio.gather(self._collector, return_exceptions=True)

    async def _collect(self) -> None:
        while True:
            messages = await self._bus.pull(CONFIRMATIONS_SUBSCRIPTION, 100)
            self.confirmations += [json.loads(message.data) for message in messages]
            await self._bus.acknowledge(CONFIRMATIONS_SUBSCRIPTION, [message.ack_id for message in messages])

    async def orders(self) -> Orders:
        """All orders, by signal id."""
        found = await self._store.load(ORDERS, order_by="sequence")
        return {document["signal_id"]: document for document in found}

    async def documents(self, collection: str) -> list[Document]:
        """All documents of a collection."""
        return await self._store.load(collection)

    async def until(self, what: str, condition: Callable[[Orders], bool]) -> Orders:
        """Wait until `condition` holds. :raises DemoFailed: it does not in time, or the service has ended."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while not condition(found := await self.orders()):
            await self._pause(what, deadline)
        return found

    async def until_dead_letters(self, count: int) -> None:
        """Wait until so many messages are kept as dead letters. :raises DemoFailed: as `until`."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while len(await self._store.load(DEAD_LETTERS)) < count:
            await self._pause(f"{count} dead letters are kept", deadline)

    async def until_delivered(self) -> None:
        """Wait until the outbox is empty, and every stored confirmation has come. :raises DemoFailed: as `until`."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            waiting = await self._store.load(OUTBOX, {"delivered_at": None}, limit=1)
            come = {message["confirmation_id"] for message in self.confirmations}
            stored = {document["confirmation_id"] for document in await self._store.load(CONFIRMATIONS)}
            if not waiting and stored <= come:
                return
            await self._pause("everything is delivered", deadline)

    async def _pause(self, what: str, deadline: float) -> None:
        self._service.check()
        if asyncio.get_running_loop().time() > deadline:
            orders = "".join(f"\n  {key}: {order['status']}" for key, order in (await self.orders()).items())
            raise self._service.failure(f"waited {PATIENCE_SECONDS:g} s in vain until {what};{orders}\n")
        await self._store.wait_for_change(0.1)

    async def everything(self) -> dict[str, list[Document]]:
        """All that the closing check compares."""
        names = (ORDERS, FILLS, POSITIONS, CONFIRMATIONS, SIGNALS, DEAD_LETTERS)
        return {name: await self._store.load(name) for name in names}


def all_in(planned: Sequence[Planned], *statuses: str) -> Callable[[Orders], bool]:
    """Whether each of these orders is in one of the statuses."""
    return lambda orders: all(orders.get(item.signal_id, {}).get("status") in statuses for item in planned)


def all_ended(planned: Sequence[Planned]) -> Callable[[Orders], bool]:
    """Whether each of these orders has ended."""
    return all_in(planned, *ENDED)
