"""The committed state: orders and open positions as they stand in the store, as far as they are in memory.

The ledger writes, and keeps here what it wrote; everybody else only reads. What is not in memory is loaded when it is
asked for; ended orders are let go after a while.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from exec_core.identifiers import BrokerOrderId, ClientOrderId
from exec_core.orders import FINAL_STATUSES, OrderStatus

from exec_service import journal
from exec_service.records import OrderRecord
from exec_service.stores import FILLS, ORDERS, POSITIONS, Document, Not, RevisionConflict, Store, StoreError, Write
from exec_service.units import Entry, HeldPosition, NotLoaded, OrderMissing

logger = logging.getLogger(__name__)

#: How many ended orders stay in memory, for reports that come late; older ones are read from the store.
ENDED_ORDERS_KEPT = 5_000
LIVE_STATUSES = [status.value for status in OrderStatus if status not in FINAL_STATUSES]


class CommittedState:
    """See the module's text."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._live: dict[ClientOrderId, Entry] = {}
        self._ended: OrderedDict[ClientOrderId, Entry] = OrderedDict()
        self._by_broker_id: dict[tuple[str, BrokerOrderId], ClientOrderId] = {}
        self._positions: dict[str, HeldPosition] = {}
        self._open: dict[str, str | None] = {}
        #: Accounts of which every open position is in memory: what is not there, does not exist.
        self._complete: set[str] = set()

    def cached_entry(self, order_id: ClientOrderId) -> Entry:
        """The committed order, if it is in memory. :raises NotLoaded: it is not."""
        entry = self._live.get(order_id) or self._ended.get(order_id)
        if entry is None:
            raise NotLoaded(ORDERS, order_id)
        return entry

    def cached_open_position(self, position_key: str, account_id: str) -> HeldPosition | None:
        """The committed open position. :raises NotLoaded: it is not known whether there is one."""
        if position_key not in self._open and account_id not in self._complete:
            raise NotLoaded("open position", position_key)
        position_id = self._open.get(position_key)
        return None if position_id is None else self._positions[position_id]

    def cached_position(self, position_id: str) -> HeldPosition:
        """The committed position. :raises NotLoaded: it is not in memory."""
        held = self._positions.get(position_id)
        if held is None:
            raise NotLoaded(POSITIONS, position_id)
        return held

    def known_position(self, position_id: str) -> HeldPosition | None:
        """The committed position, if it is in memory."""
        return self._positions.get(position_id)

    def live(self, account_id: str) -> list[Entry]:
        """The account's orders that have not ended, oldest first."""
        found = [entry for entry in self._live.values() if entry.order.request.account_id == account_id]
        return sorted(found, key=lambda entry: entry.record.sequence)

    def get(self, order_id: ClientOrderId) -> Entry | None:
        """The committed order, if it is in memory."""
        return self._live.get(order_id) or self._ended.get(order_id)

    async def find(self, order_id: ClientOrderId) -> Entry | None:
        """The committed order, from memory or the store."""
        entry = self.get(order_id)
        if entry is None:
            try:
                await self._load(NotLoaded(ORDERS, order_id))
            except OrderMissing:
                return None
            entry = self.get(order_id)
        return entry

    async def find_by_broker_id(self, account_id: str, broker_order_id: BrokerOrderId) -> ClientOrderId | None:
        """Which order of ours the broker means by that id."""
        known = self._by_broker_id.get((account_id, broker_order_id))
        if known is None:
            documents = await self._store.load(ORDERS, {"order_id": broker_order_id, "account_id": account_id})
            # What stays of one that is archived is no order: nothing can be booked there.
            known = next((ClientOrderId(found["_id"]) for found in documents if found["request"] is not None), None)
        return known

    def knows_broker_id(self, account_id: str, broker_order_id: BrokerOrderId) -> bool:
        """Whether an order in memory has that id at the broker."""
        return (account_id, broker_order_id) in self._by_broker_id

    async def prefetch(
        self, account_id: str, order_ids: Iterable[ClientOrderId], broker_order_ids: Iterable[BrokerOrderId]
    ) -> None:
        """Take the account's orders of these ids into memory, with few questions; one that is there stays as it is."""
        ours = {key for key in order_ids if self.get(key) is None}
        theirs = {key for key in broker_order_ids if (account_id, key) not in self._by_broker_id}
        found: dict[str, Document] = {}
        for where in ({"_id": sorted(ours)}, {"order_id": sorted(theirs), "account_id": account_id}):
            if next(iter(where.values())):
                found.update({document["_id"]: document for document in await self._store.load(ORDERS, where)})
        entries = await self._entries([document for document in found.values() if document["request"] is not None])
        for entry in entries:
            if self.get(entry.record.id) is None:  # it may have come, and have changed, meanwhile
                self._keep(entry)

    async def adopt_all(self, account_id: str) -> list[Entry]:
        """Take the account's unfinished orders and open positions into memory; what was there gives way."""
        self.forget(account_id)
        await self._adopt(await self._store.load(ORDERS, {"account_id": account_id, "status": LIVE_STATUSES}))
        # Other services may keep positions of their own beside ours: those have no key of ours.
        where = {"account_id": account_id, "status": Not("CLOSED"), "position_key": Not(None)}
        for document in await self._store.load(POSITIONS, where):
            self._keep_position(document["position_key"], journal.held_position(document))
        self._complete.add(account_id)
        return self.live(account_id)

    def forget(self, account_id: str) -> None:
        """Let go of an account that another worker owns now."""
        for cache in (self._live, self._ended):
            for order_id in [key for key, entry in cache.items() if entry.order.request.account_id == account_id]:
                del cache[order_id]
        for key in [key for key in self._by_broker_id if key[0] == account_id]:
            del self._by_broker_id[key]
        mine = [key for key, held in self._positions.items() if held.position.key.account_id == account_id]
        for position_id in mine:
            del self._positions[position_id]
        self._complete.discard(account_id)
        self._open.clear()
        for position in self._positions.values():
            if not position.position.is_closed:
                self._open[journal.position_key(position.position.key)] = position.position.id

    def adopt(self, record: OrderRecord) -> None:
        """Take an order that was just inserted into memory."""
        if self.get(record.id) is None:
            self._keep(Entry(record))

    async def _adopt(self, documents: Sequence[Document]) -> None:
        """Take these order documents into memory, with their executions."""
        for entry in await self._entries(documents):
            self._keep(entry)

    async def _entries(self, documents: Sequence[Document]) -> list[Entry]:
        """The orders of these documents, with their executions."""
        fills: dict[str, list[Document]] = {document["_id"]: [] for document in documents}
        sent = [document["_id"] for document in documents if document["status"] != OrderStatus.PENDING]
        for fill in await self._store.load(FILLS, {"client_order_id": sent}) if sent else []:
            fills[fill["client_order_id"]].append(fill)
        found = []
        for document in documents:
            record = journal.order_record(document, fills[document["_id"]])
            if record is not None:
                found.append(Entry(record, journal.fill_shares(fills[document["_id"]])))
        return found

    async def _load(self, missing: NotLoaded) -> None:
        """Bring what a job asked for into memory. :raises OrderMissing: there is no such order."""
        if missing.kind == ORDERS:
            documents = await self._store.load(ORDERS, {"_id": missing.key})
            if not documents or documents[0]["request"] is None:
                raise OrderMissing(f"there is no order {missing.key}")
            await self._adopt(documents)
        elif missing.kind == POSITIONS:
            for document in await self._store.load(POSITIONS, {"_id": missing.key}):
                self._positions[document["_id"]] = journal.held_position(document)
            if missing.key not in self._positions:
                raise StoreError(f"the position {missing.key} is missing although a fill names it")
        else:
            where = {"position_key": missing.key, "status": Not("CLOSED")}
            documents = await self._store.load(POSITIONS, where, limit=1)
            self._open[missing.key] = None
            for document in documents:
                self._keep_position(missing.key, journal.held_position(document))

    def _keep(self, entry: Entry) -> None:
        order_id, order = entry.record.id, entry.order
        for broker_order_id in order.broker_order_ids:
            self._by_broker_id[(order.request.account_id, broker_order_id)] = order_id
        if not order.status.is_final:
            self._ended.pop(order_id, None)
            self._live[order_id] = entry
            return
        self._live.pop(order_id, None)
        self._ended[order_id] = entry
        self._ended.move_to_end(order_id)
        while len(self._ended) > ENDED_ORDERS_KEPT:
            _, old = self._ended.popitem(last=False)
            for broker_order_id in old.order.broker_order_ids:
                self._by_broker_id.pop((old.order.request.account_id, broker_order_id), None)

    def _keep_position(self, position_key: str, held: HeldPosition) -> None:
        if held.position.is_closed:
            # A commission may still come; the store has it, so memory need not.
            self._positions.pop(held.position.id, None)
            if self._open.get(position_key) in (None, held.position.id):
                self._open[position_key] = None
        else:
            self._positions[held.position.id] = held
            self._open[position_key] = held.position.id

    async def _stands(self, writes: Sequence[Write]) -> bool:
        """Whether the store holds what these writes would write: all or nothing is written, so one alone would tell."""
        ids: dict[str, dict[str, Write]] = {}
        for write in writes:
            if write.expected_revision is not None:
                ids.setdefault(write.collection, {})[write.id] = write
        for collection, mine in ids.items():
            stored = {document["_id"]: document for document in await self._store.load(collection, {"_id": list(mine)})}
            if not all(key in stored and _agrees(stored[key], write.document) for key, write in mine.items()):
                return False
        return bool(ids)

    def _drop(self, conflict: RevisionConflict) -> None:
        """Forget what somebody else has changed: it will be loaded again."""
        logger.warning("Deciding again: %s", conflict)
        for collection, key in conflict.conflicts:
            if collection == ORDERS:
                self._live.pop(ClientOrderId(key), None)
                self._ended.pop(ClientOrderId(key), None)
            elif collection == POSITIONS:
                held = self._positions.pop(key, None)
                self._complete.clear()
                if held is not None:
                    self._open.pop(journal.position_key(held.position.key), None)
                else:
                    self._open.clear()


def _agrees(stored: Document, written: Mapping[str, Any]) -> bool:
    """Whether a stored document is the one that was written, by its figures and words: stores cut times off."""
    return all(stored.get(name) == value for name, value in written.items() if isinstance(value, str | int | Decimal))
