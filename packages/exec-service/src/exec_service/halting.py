"""Accounts that are stopped: nothing more is sent for one until a person starts it again. Cancels always pass.

The stop is a field of the account's row, written in the transaction that tells of its cause, so that it survives a
restart and a take-over. In memory it holds from the moment of the decision: before it is durable, nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from exec_service.stores import ACCOUNTS, FINDINGS, Document, Store, Write
from exec_service.units import Unit


@dataclass(frozen=True, slots=True)
class Halted:
    """That an account is stopped: since when, and why."""

    since: datetime
    reason: str

    def sentence(self, account_id: str) -> str:
        """What there is to say to whoever wants to trade."""
        return (
            f"Account {account_id} is stopped: {self.reason}; nothing is sent for it until a person has looked and "
            f"says `exec-service resume {account_id}`"
        )


class Halts:
    """The stops of the accounts that this worker owns, and what a person has accepted at starting them again."""

    def __init__(self) -> None:
        self._halted: dict[str, Halted] = {}
        #: By the finding's id: the figure that somebody has looked at. More than that stops the account again.
        self._accepted: dict[str, dict[str, Decimal]] = {}
        self._durable: set[str] = set()
        #: Told of each account that was started again.
        self.resumed: list[Callable[[str], None]] = []

    async def take_up(self, account_id: str, store: Store) -> None:
        """Learn how the account stands; before anything is sent for it."""
        rows = await store.load(ACCOUNTS, {"_id": account_id})
        standing = await store.load(FINDINGS, {"account_id": account_id, "cleared_at": None})
        self.forget(account_id)
        found = halted_of(rows[0]) if rows else None
        if found is not None:
            self._halted[account_id] = found
            self._durable.add(account_id)
        self._accepted[account_id] = {
            document["_id"]: document["accepted"]["total"] for document in standing if document.get("accepted")
        }

    def forget(self, account_id: str) -> None:
        """The account is not ours any more."""
        self._halted.pop(account_id, None)
        self._durable.discard(account_id)
        self._accepted.pop(account_id, None)

    def knows(self, account_id: str) -> bool:
        """Whether it has been learnt how the account stands."""
        return account_id in self._accepted

    def of(self, account_id: str) -> Halted | None:
        """Whether and why the account is stopped."""
        return self._halted.get(account_id)

    def is_accepted(self, account_id: str, finding_id: str, total: Decimal) -> bool:
        """Whether somebody has looked at as much, and started the account all the same."""
        accepted = self._accepted.get(account_id, {}).get(finding_id)
        return accepted is not None and total <= accepted

    def halt_in(self, unit: Unit, account_id: str, reason: str) -> Halted | None:
        """Stop the account with the unit's transaction; None if it is stopped already.

        It may run again for the same transaction: what is not durable yet is written again.
        """
        if account_id in self._durable:
            return None
        halted = self._halted.setdefault(account_id, Halted(unit.now, reason))
        unit.write(Write(ACCOUNTS, account_id, None, {"halted": {"since": halted.since, "reason": halted.reason}}))
        unit.afterwards(lambda: self._durable.add(account_id))
        return halted

    def accept_no_more(self, account_id: str, finding_id: str) -> None:
        """It is gone, or new: what was accepted of it counts no longer."""
        self._accepted.get(account_id, {}).pop(finding_id, None)

    def resume_in(
        self, unit: Unit, account_id: str, who: str, reason: str | None, findings: Mapping[str, Decimal]
    ) -> Halted | None:
        """Start the account again with the unit's transaction; what it was stopped by, None if it was not.

        `findings`: what the person has seen, by id and figure. More than that stops the account again. So does what
        was found in the same moment: whoever listens to `resumed` looks again.
        """
        halted = self._halted.get(account_id)
        if halted is None:
            return None
        by = {"at": unit.now, "who": who, "reason": reason}
        row = {"halted": None, "resumed": {**by, "halted_since": halted.since, "halted_reason": halted.reason}}
        unit.write(Write(ACCOUNTS, account_id, None, row))
        for finding_id, total in findings.items():
            unit.write(Write(FINDINGS, finding_id, None, {"accepted": {**by, "total": total}}))

        def done() -> None:
            self._accepted.setdefault(account_id, {}).update(findings)
            self._halted.pop(account_id, None)
            self._durable.discard(account_id)
            for listener in self.resumed:
                listener(account_id)

        unit.afterwards(done)
        return halted


def halted_of(account: Document) -> Halted | None:
    """What the account's row says of it."""
    found: Mapping[str, Any] | None = account.get("halted")
    return None if found is None else Halted(found["since"], found["reason"])
