"""The witness: reads the store's files beside all processes, and objects when one of them does what it must not.

It sees each write and each send at the very moment at which it takes effect, and knows then who holds which lease and
which account. What it does not like is a violation, also where nothing bad has come of it yet.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exec_core.orders import Order
from exec_service.stores import ACCOUNTS, FILLS, ORDERS, POSITIONS, Lease, Write

from crash.virtual import VirtualTime

#: A line that was put through the books of others: only the account's owner writes these.
OWNERS: Final = (ORDERS, POSITIONS, FILLS)


@dataclass(frozen=True)
class Begun:
    """A send that has begun: by whom, and how old the sender's last heartbeat was then."""

    worker_id: str
    heartbeat: float
    lease_seconds: float


class Witness:
    """What it objected to is `wrong`; `late` are the signals whose orders reached the broker after twice the lease."""

    def __init__(self, store_file: Path, clock: VirtualTime) -> None:
        self._store = sqlite3.connect(store_file, isolation_level=None)
        self._clock = clock
        self.wrong: list[str] = []
        self.late: set[str] = set()
        #: Workers whose process has ended, for all to see.
        self.dead: set[str] = set()

    def close(self) -> None:
        """Look no more."""
        self._store.close()

    def object(self, text: str) -> None:
        """Remember a violation."""
        if text not in self.wrong:
            self.wrong.append(text)

    # ------------------------------------------------------------------ what there is to see

    def stands(self, lease: Lease | None) -> bool:
        """Whether the lease can be written under."""
        if lease is None:
            return False
        row = self._worker(lease.worker_id)
        return row is not None and row["epoch"] == lease.epoch and not row["released"]

    def owner(self, account_id: str) -> str | None:
        """Who owns the account, as the store has it."""
        account = self._account(account_id)
        return None if account is None else account.get("worker_id")

    def last_heartbeat(self, worker_id: str) -> float:
        """When the worker was last heard of."""
        row = self._worker(worker_id)
        return 0.0 if row is None else float(row["heartbeat"])

    def _worker(self, worker_id: str) -> dict[str, Any] | None:
        columns = ("epoch", "released", "heartbeat", "lease_seconds")
        statement = f"SELECT {', '.join(columns)} FROM workers WHERE worker_id = ?"
        row = self._store.execute(statement, (worker_id,)).fetchone()
        return None if row is None else dict(zip(columns, row, strict=True))

    def _account_of(self, write: Write) -> str | None:
        """The account of a document, as the store has it."""
        statement = f'SELECT document FROM "{write.collection}" WHERE id = ?'
        row = self._store.execute(statement, (write.id,)).fetchone()
        return None if row is None else json.loads(row[0]).get("account_id")

    def _account(self, account_id: str) -> dict[str, Any] | None:
        row = self._store.execute("SELECT document FROM accounts WHERE id = ?", (account_id,)).fetchone()
        return None if row is None else dict(json.loads(row[0]))

    # ------------------------------------------------------------------ what it may object to

    def judge_commit(self, lease: Lease | None, writes: Sequence[Write], what: str) -> list[str]:
        """What is wrong with this commit, if it succeeds; asked in the moment before it."""
        if lease is None:
            return [f"somebody without a lease wrote: {what}"]
        name = lease.worker_id
        if not self.stands(lease):
            return [f"{name} wrote although it was fenced: {what}"]
        wrong = []
        for write in writes:
            if write.collection == ACCOUNTS:
                wrong += self._judge_claim(name, write)
            elif write.collection in OWNERS and write.expected_revision != 0:
                # Of a document that is known only what has changed is written.
                account_id = write.document.get("account_id") or self._account_of(write)
                if account_id is not None and self.owner(account_id) != name:
                    wrong.append(f"{name} wrote in {account_id} of {self.owner(account_id)}: {what}")
        return wrong

    def _judge_claim(self, name: str, write: Write) -> list[str]:
        account, taker = self._account(write.id), write.document.get("worker_id")
        owner = None if account is None else account.get("worker_id")
        if owner in (None, name):
            return []
        if taker != name:
            return [f"{name} wrote of {write.id}, which is {owner}'s: {sorted(write.document)}"]
        assert account is not None
        row = self._worker(str(owner))
        if row is not None and row["epoch"] == account.get("epoch") and not row["released"]:
            return [f"{name} took {write.id} from {owner}, which was not fenced"]
        return []

    def judge_fence(self, name: str, worker_id: str) -> list[str]:
        """What is wrong with fencing that worker now."""
        row = self._worker(worker_id)
        if row is None or row["released"] or worker_id in self.dead:
            return []
        age = self._clock.time() - row["heartbeat"]
        if age > row["lease_seconds"]:
            return []
        return [f"{name} fenced {worker_id} although its lease was not over"]

    def sees_begin(self, lease: Lease | None, order: Order) -> Begun:
        """An order is about to be sent."""
        account_id, signal_id = order.request.account_id, order.request.signal_id
        name = "somebody without a lease" if lease is None else lease.worker_id
        if not self.stands(lease):
            self.object(f"{name} began to send {signal_id} although it was fenced")
        elif self.owner(account_id) != name:
            self.object(f"{name} began to send {signal_id} in {account_id} of {self.owner(account_id)}")
        return Begun(name, self.last_heartbeat(name), 0.0 if lease is None else lease.seconds)

    def sees_arrive(self, begun: Begun, order: Order) -> None:
        """The order has reached the broker."""
        if self._clock.time() - begun.heartbeat >= 2 * begun.lease_seconds:
            self.late.add(order.request.signal_id)

    def sees_told(self, lease: Lease | None, what: str) -> None:
        """Somebody else is about to be told of orders."""
        if not self.stands(lease):
            name = "somebody without a lease" if lease is None else lease.worker_id
            self.object(f"{name} told although it was fenced: {what}")
