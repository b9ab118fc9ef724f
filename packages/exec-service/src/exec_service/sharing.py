"""Which worker is to have which account: a pure rule, so that all who see the same tables come to the same answer.

Each worker serves as many accounts as the others, give or take one: accounts / workers, rounded down; what remains goes
to those who hold more already (then by id), so that a stable state moves nothing. Four accounts on three workers that
hold 2, 2 and 0 become 2, 1 and 1. An account stays with its owner, unless that one has at least two more than a worker
that could serve it as well. Workers need not be configured alike: an account that only one can serve is that one's,
however many it has.

The rule decides nothing by itself. An owner hands over what is meant for somebody else (`handover`), a free account is
claimed by whom it is meant for, and the store lets only one claim succeed: who looks at old tables asks for too much
or too little, once, and never for what another one owns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

#: The accounts that a worker is configured for; None = whatever account there is.
Served = Collection[str] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What one worker should do now: `claim` these free accounts, hand these of its own over (`release`)."""

    claim: tuple[str, ...] = ()
    release: tuple[str, ...] = ()


def plan(me: str, workers: Mapping[str, Served], owners: Mapping[str, str | None], *, expected: int = 0) -> Plan:
    """What `me` should do, by `assignment`."""
    meant = assignment(workers, owners, expected=expected)
    return Plan(
        claim=tuple(account for account, worker in meant.items() if worker == me and owners[account] is None),
        release=tuple(account for account, worker in meant.items() if worker != me and owners[account] == me),
    )


def assignment(
    workers: Mapping[str, Served], owners: Mapping[str, str | None], *, expected: int = 0
) -> dict[str, str | None]:
    """The worker that each account is meant for.

    `workers` are those that live, with what they serve; `owners` are the accounts to be served, with their owner, None
    = free. An account that an absent worker owns is not to be had now: it is left out. None = it is left free, because
    nobody can serve it, or because it is kept for the `expected` workers that are about to come, of which nothing is
    known but their number.
    """
    held = dict.fromkeys(workers, 0)
    meant: dict[str, str | None] = {}
    for account, owner in sorted(owners.items()):
        if owner in held:
            meant[account] = owner
            held[owner] += 1
    load = dict(held)

    def first(candidates: Collection[str]) -> str | None:
        return min(candidates, key=lambda worker: (load[worker], -held[worker], worker), default=None)

    coming = [0] * expected
    for account in sorted(account for account, owner in owners.items() if owner is None):
        worker = first(_able(workers, account))
        if worker is not None and coming and min(coming) < load[worker]:
            coming[coming.index(min(coming))] += 1
            worker = None
        meant[account] = worker
        if worker is not None:
            load[worker] += 1
    while (move := _next_move(workers, meant, load, held)) is not None:
        account, giver, taker = move
        meant[account] = taker
        load[giver] -= 1
        load[taker] += 1
    return meant


def _able(workers: Mapping[str, Served], account: str) -> list[str]:
    return [worker for worker, served in workers.items() if served is None or account in served]


def _next_move(
    workers: Mapping[str, Served], meant: Mapping[str, str | None], load: Mapping[str, int], held: Mapping[str, int]
) -> tuple[str, str, str] | None:
    """An account that another worker should rather have, who has it, and who is to get it."""
    owned: dict[str, list[str]] = {worker: [] for worker in workers}
    for account, worker in meant.items():
        if worker is not None:
            owned[worker].append(account)
    by_id = sorted(workers, reverse=True)
    for giver in sorted(by_id, key=lambda worker: (-load[worker], held[worker])):
        for account in reversed(owned[giver]):  # what is not claimed yet comes last in there: it moves first
            able = _able(workers, account)
            takers = [worker for worker in able if load[worker] <= load[giver] - 2]
            if giver not in able:  # it was configured once: whoever can serve it is better
                takers = [worker for worker in able if worker != giver]
            if takers:
                taker = min(takers, key=lambda worker: (load[worker], -held[worker], worker))
                return account, giver, taker
    return None
