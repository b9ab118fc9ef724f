"""Who was at the mock venue's door, and when: what the workers' `worker_side` has noted, read and judged.

The venue's book does not know sessions. So the workers of a run note each of them, and each order that they send, with
the one monotonic clock of the machine; who was killed, or stopped, the run itself knows.
"""

from __future__ import annotations

import json
import math
import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

WORKER_SIDE = Path(__file__).parent / "worker_side"


@dataclass
class Visit:
    """A session of one worker's process for one account."""

    account_id: str
    pid: int
    opening: float
    opened: float = math.inf
    closed: float = math.inf


@dataclass(frozen=True)
class Call:
    """Something that was asked of the venue: `what` is place or cancel."""

    account_id: str
    pid: int
    at: float
    what: str
    order_id: str


@dataclass(frozen=True)
class Loss:
    """A worker that went with its accounts: killed, paused, or stopped in good order."""

    how: str
    pid: int
    at: float
    accounts: tuple[str, ...]


@dataclass
class Door:
    """The door of one run's venue."""

    directory: Path
    visits: list[Visit] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    #: When a worker (None: any) could not know yet that its accounts were another's by then.
    silences: list[tuple[int | None, float, float]] = field(default_factory=list)
    #: What a stopped worker had marked as being sent: it may send these after all, nobody can call it back.
    being_sent: dict[int, set[str]] = field(default_factory=lambda: defaultdict(set))
    _read: dict[Path, int] = field(default_factory=dict)
    _open: dict[tuple[str, int], Visit] = field(default_factory=dict)
    _ended: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)

    @property
    def variables(self) -> dict[str, str]:
        """What makes a worker note its visits here."""
        path = os.pathsep.join([str(WORKER_SIDE), *filter(None, [os.environ.get("PYTHONPATH")])])
        return {"CHAOS_DOOR": str(self.directory), "PYTHONPATH": path}

    def ended(self, pid: int, at: float) -> None:
        """The process is gone, and its sessions with it."""
        self._ended[pid] = at
        self.look()

    def has_ended(self, pid: int) -> bool:
        """Whether the process is known to be gone."""
        return pid in self._ended

    def look(self) -> None:
        """Read what was noted since."""
        for file in sorted(self.directory.glob("*.jsonl")):
            data = file.read_bytes()[self._read.get(file, 0) :]
            whole = data[: data.rfind(b"\n") + 1]
            self._read[file] = self._read.get(file, 0) + len(whole)
            for line in whole.splitlines():
                self._take(int(file.stem), json.loads(line))
        for (_, pid), visit in list(self._open.items()):
            if pid in self._ended:
                self._close(visit, self._ended[pid])

    def _take(self, pid: int, row: dict[str, Any]) -> None:
        account_id, at, what = row["account"], row["at"], row["what"]
        if row["order"] is not None:
            self.calls.append(Call(account_id, pid, at, what, row["order"]))
        elif what == "opening":
            visit = self._open[account_id, pid] = Visit(account_id, pid, at)
            self.visits.append(visit)
        elif what == "open":
            self._open[account_id, pid].opened = at
        elif (account_id, pid) in self._open:
            self._close(self._open[account_id, pid], at)

    def _close(self, visit: Visit, at: float) -> None:
        visit.closed = at
        del self._open[visit.account_id, visit.pid]

    def holders(self) -> dict[str, set[int]]:
        """The processes that have a session open now, by account."""
        self.look()
        found: dict[str, set[int]] = defaultdict(set)
        for account_id, pid in self._open:
            found[account_id].add(pid)
        return found

    def accounts_of(self, pid: int) -> tuple[str, ...]:
        """The accounts that the process has a session for, now."""
        return tuple(sorted(account_id for account_id, pids in self.holders().items() if pid in pids))

    def successor(self, account_id: str, pid: int, since: float) -> float | None:
        """When another process had a session for the account, after `since`; None if that has not come yet."""
        times = [
            visit.opened
            for visit in self.visits
            if visit.account_id == account_id and visit.pid != pid and since <= visit.opened < math.inf
        ]
        return min(times, default=None)

    def take_overs(self) -> dict[str, list[float]]:
        """How long accounts waited for their next worker's session, by how they lost the one before."""
        self.look()
        found: dict[str, list[float]] = defaultdict(list)
        for loss in self.losses:
            for account_id in loss.accounts:
                at = self.successor(account_id, loss.pid, loss.at)
                if at is not None:
                    found[loss.how].append(at - loss.at)
        return found

    def wrong(self) -> list[str]:
        """Two workers at once for one account, and orders sent for an account that was another's by then."""
        self.look()
        wrong = [
            f"{after.account_id}: process {after.pid} opened a session {before.closed - after.opening:.3f} s before "
            f"that of {before.pid} was closed"
            for visits in self._by_account().values()
            for before, after in combinations(visits, 2)
            if before.pid != after.pid
            and before.closed > after.opening
            and not self._excused(before.pid, after.opening)
        ]
        wrong += [
            f"{call.account_id}: process {call.pid} sent {call.order_id} {late:.3f} s after another had taken over"
            for call, late in self.late("place")
            if call.order_id not in self.being_sent[call.pid]
        ]
        return wrong

    def late(self, what: str) -> list[tuple[Call, float]]:
        """The calls of processes whose account was another's by then, and for how long it was."""
        by_account = self._by_account()
        found = []
        for call in self.calls:
            if call.what == what:
                before = [visit for visit in by_account[call.account_id] if visit.opened <= call.at]
                newest = max(before, key=lambda visit: visit.opened, default=None)
                if newest is not None and newest.pid != call.pid:
                    found.append((call, call.at - newest.opened))
        return found

    def _by_account(self) -> dict[str, list[Visit]]:
        """The visits, in the order in which they began."""
        found: dict[str, list[Visit]] = defaultdict(list)
        for visit in sorted(self.visits, key=lambda visit: visit.opening):
            found[visit.account_id].append(visit)
        return found

    def _excused(self, pid: int, at: float) -> bool:
        return any(who in (None, pid) and begin <= at <= end for who, begin, end in self.silences)


def shares(holders: dict[str, set[int]], accounts: Iterable[str], workers: Sequence[int]) -> list[str]:
    """What is wrong with who serves what: each account has one live worker, and no worker has two more than another."""
    accounts = list(accounts)
    wrong = [
        f"{account_id}: served by {len(pids)} live workers"
        for account_id in accounts
        if len(pids := holders.get(account_id, set()) & set(workers)) != 1
    ]
    counts = [sum(pid in holders.get(account_id, set()) for account_id in accounts) for pid in workers]
    least, most = len(accounts) // len(workers), -(-len(accounts) // len(workers))
    if any(not least <= count <= most for count in counts):
        wrong.append(f"{len(accounts)} accounts are shared unfairly: {sorted(counts)}")
    return wrong


def summary(times: Sequence[float]) -> str:
    """Median and maximum."""
    return f"median {statistics.median(times):.2f} s, at most {max(times):.2f} s, of {len(times)}"
