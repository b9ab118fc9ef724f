"""Which worker is to have which account: the rule itself, and what comes of many who follow it with old tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from exec_service.sharing import Plan, Served, assignment, plan
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Owners = dict[str, str | None]

#: The machine may be busy.
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

WORKERS = st.integers(1, 5).map(lambda count: [f"w{number}" for number in range(count)])


def holding(*counts: int, free: int = 0) -> tuple[dict[str, Served], Owners]:
    """Workers a, b, c, … that hold so many accounts, and free ones."""
    workers: dict[str, Served] = {}
    owners: Owners = {}
    for name, count in zip("abcdefgh", counts, strict=False):
        workers[name] = None
        for _ in range(count):
            owners[f"acc_{len(owners):02}"] = name
    for _ in range(free):
        owners[f"acc_{len(owners):02}"] = None
    return workers, owners


def loads(meant: Mapping[str, str | None], workers: Mapping[str, Served]) -> list[int]:
    counted = Counter(meant.values())
    return [counted[worker] for worker in workers]


def quotas(held: Mapping[str, int], accounts: int) -> dict[str, int]:
    """The rule, word for word."""
    floor, remainder = divmod(accounts, len(held))
    ranked = sorted(held, key=lambda worker: (-held[worker], worker))
    return {worker: floor + (rank < remainder) for rank, worker in enumerate(ranked)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((2, 2, 0), [2, 1, 1]),
        ((4, 0), [2, 2]),
        ((0, 3), [1, 2]),
        ((1, 0), [1, 0]),
        ((0, 1), [0, 1]),
        ((3, 3, 0, 0), [2, 2, 1, 1]),
        ((8, 0, 0, 0), [2, 2, 2, 2]),
        ((2, 1, 1), [2, 1, 1]),
        ((1, 2, 1), [1, 2, 1]),
    ],
)
def test_everybody_gets_as_many_give_or_take_one(before: tuple[int, ...], after: list[int]) -> None:
    workers, owners = holding(*before)
    assert loads(assignment(workers, owners), workers) == after


def test_what_is_free_goes_to_who_has_least() -> None:
    workers, owners = holding(2, 0, free=2)
    assert plan("a", workers, owners) == Plan()
    assert plan("b", workers, owners) == Plan(claim=("acc_02", "acc_03"))


def test_an_account_that_nobody_else_serves_is_served_however_many_its_worker_has() -> None:
    workers: dict[str, Served] = {"a": {"a1", "a2", "a3", "both"}, "b": {"both"}}
    owners: Owners = {"a1": "a", "a2": None, "a3": "a", "both": "a"}
    assert plan("a", workers, owners) == Plan(claim=("a2",), release=("both",))
    owners["both"] = None
    assert plan("b", workers, owners) == Plan(claim=("both",))


def test_who_is_not_configured_for_an_account_any_more_hands_it_to_who_is() -> None:
    workers: dict[str, Served] = {"a": set(), "b": {"x", "y", "z"}}
    owners: Owners = {"x": "a", "y": "b", "z": "b"}
    assert plan("a", workers, owners) == Plan(release=("x",))


def test_an_account_that_nobody_serves_moves_nowhere() -> None:
    workers: dict[str, Served] = {"a": set(), "b": set()}
    owners: Owners = {"x": None, "y": "a"}
    assert plan("a", workers, owners) == plan("b", workers, owners) == Plan()


def test_what_a_worker_owns_that_leaves_is_left_alone() -> None:
    workers, owners = holding(1, 0)
    owners["other"] = "who leaves"
    assert "other" not in assignment(workers, owners)


def test_those_who_are_about_to_come_find_their_share() -> None:
    workers, owners = holding(0, free=8)
    assert len(plan("a", workers, owners, expected=3).claim) == 2
    workers["b"] = None
    owners |= dict.fromkeys(plan("a", workers, owners, expected=2).claim, "a")
    assert len(plan("b", workers, owners, expected=2).claim) == 2
    assert len(plan("a", workers, owners).claim) + len(plan("b", workers, owners).claim) == 6


def test_nothing_is_handed_over_to_who_has_not_come_yet() -> None:
    workers, owners = holding(8)
    assert plan("a", workers, owners, expected=3) == Plan()


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, Served], Owners]:
    """Workers that serve the same accounts."""
    names = draw(WORKERS)
    owners = draw(st.lists(st.sampled_from([*names, None]), max_size=16))
    return dict.fromkeys(names), {f"acc_{number:02}": owner for number, owner in enumerate(owners)}


@patiently
@given(tables())
def test_it_is_the_quota_rule(found: tuple[dict[str, Served], Owners]) -> None:
    workers, owners = found
    held = {worker: list(owners.values()).count(worker) for worker in workers}
    counted = Counter(assignment(workers, owners).values())
    assert {worker: counted[worker] for worker in workers} == quotas(held, len(owners))


@patiently
@given(tables())
def test_no_more_is_handed_over_than_must_be_and_no_two_want_the_same(found: tuple[dict[str, Served], Owners]) -> None:
    workers, owners = found
    held = {worker: list(owners.values()).count(worker) for worker in workers}
    quota = quotas(held, len(owners))
    plans = {worker: plan(worker, workers, owners) for worker in workers}
    for worker, found_plan in plans.items():
        assert len(found_plan.release) == max(0, held[worker] - quota[worker])
    claimed = [account for found_plan in plans.values() for account in found_plan.claim]
    assert len(claimed) == len(set(claimed))


@st.composite
def uneven_tables(draw: st.DrawFn) -> tuple[dict[str, Served], Owners]:
    """Workers that are configured differently."""
    names = draw(WORKERS)
    accounts = [f"acc_{number:02}" for number in range(draw(st.integers(0, 12)))]
    served = st.none() | st.sets(st.sampled_from(accounts)) if accounts else st.none()
    workers = {name: draw(served) for name in names}
    return workers, {account: draw(st.sampled_from([*names, None])) for account in accounts}


def serves(workers: Mapping[str, Served], worker: str, account: str) -> bool:
    served = workers[worker]
    return served is None or account in served


@patiently
@given(uneven_tables())
def test_what_somebody_can_serve_is_meant_for_one_who_can_and_a_second_look_changes_nothing(
    found: tuple[dict[str, Served], Owners],
) -> None:
    workers, owners = found
    meant = assignment(workers, owners)
    load = Counter(meant.values())
    for account, worker in meant.items():
        able = [name for name in workers if serves(workers, name, account)]
        if able:
            assert worker in able
            assert load[worker] - min(load[name] for name in able) <= 1
    assert assignment(workers, meant) == meant


@patiently
@given(tables=uneven_tables(), data=st.data())
def test_looking_at_old_tables_at_any_pace_they_come_to_rest_with_everything_served(
    tables: tuple[dict[str, Served], Owners], data: st.DataObject
) -> None:
    """Each acts on tables as they were some time ago, and the store lets only one claim of a free account succeed."""
    workers, owners = tables
    names = sorted(workers)
    past = [dict(owners)]
    for _ in range(data.draw(st.integers(0, 30))):
        worker = data.draw(st.sampled_from(names))
        seen = past[max(0, len(past) - data.draw(st.integers(1, 8)))]
        act(worker, plan(worker, workers, seen), owners)
        past.append(dict(owners))
    for _ in range(len(owners) + 2):  # from now on they look at what is
        for worker in names:
            act(worker, plan(worker, workers, owners), owners)
    for account, owner in owners.items():
        able = [name for name in names if serves(workers, name, account)]
        assert owner in able or not able
    assert all(plan(worker, workers, owners) == Plan() for worker in names), "and there they stay"


def act(worker: str, wanted: Plan, owners: Owners) -> None:
    for account in wanted.release:
        if owners[account] == worker:
            owners[account] = None
    for account in wanted.claim:
        if owners[account] is None:
            owners[account] = worker
