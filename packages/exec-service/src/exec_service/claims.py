"""What intake and dispatch say to each other about an order that is sent as soon as it is stored."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from exec_service.ledger import Ledger
from exec_service.records import OrderRecord
from exec_service.slots import Slot
from exec_service.stores import RevisionConflict, StoreError
from exec_service.units import Entry, Unit


@dataclass(frozen=True, slots=True)
class Claim:
    """An order that is to be sent as soon as it is stored: its slot and its symbol are taken for it.

    Whoever stores `record` (SUBMITTING) says so with `stored`: the entry; or None, where it could not be stored as that
    and is PENDING, or known, by then. It must be said in any case.
    """

    record: OrderRecord
    slot: Slot
    stored: asyncio.Future[Entry | None]

    def settle(self, entry: Entry | None) -> None:
        """Say what became of it; what was said first counts."""
        if not self.stored.done():
            self.stored.set_result(entry)


def store(ledger: Ledger, claim: Claim) -> asyncio.Future[bool]:
    """Store it as it is sent, and have it sent then; False if it is known, or was in the way of something else.

    What keeps it from being stored at all (`StoreError`) is the future's exception.
    """
    done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    tried = False

    def decide(unit: Unit) -> Entry | None:
        nonlocal tried
        if tried:
            return None  # its commit met a conflict, perhaps over this one: inserting it alone will tell
        tried = True
        entry = Entry(claim.record)
        unit.put(entry)
        return entry

    def tell(future: asyncio.Future[Entry | None]) -> None:
        error = None if future.cancelled() else future.exception()
        entry = None if future.cancelled() or error is not None else future.result()
        if entry is not None:
            claim.settle(entry)
        if done.done():
            return
        if isinstance(error, StoreError) and not isinstance(error, RevisionConflict):
            done.set_exception(error)
        else:
            done.set_result(entry is not None)

    ledger.submit(decide).add_done_callback(tell)
    return done
