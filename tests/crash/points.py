"""Every point of a story, one after the other: what is to be played, and playing it in several processes."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from crash.running import Outcome, Plan, play
from crash.scenarios import SCENARIOS
from crash.seams import Point, Variant

Broken = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Task:
    """A point of a story. `effects` is the story's undisturbed course; `twice`: what recovers is stopped as well."""

    plan: Plan
    effects: tuple[str, ...]
    twice: bool


def undisturbed(scenario: str, seed: int, broken: Broken = nullcontext) -> Outcome:
    """The story without any stop: its effects are the points."""
    return play(Plan(scenario, seed), SCENARIOS[scenario], broken)


def tasks(outcome: Outcome, *, twice: bool, variants: Iterable[Variant] = Variant) -> Iterator[Task]:
    """Every point of an undisturbed run, in every variant."""
    effects = tuple(outcome.lives[0])
    for number in range(1, len(effects) + 1):
        for variant in variants:
            plan = Plan(outcome.plan.scenario, outcome.plan.seed, (Point(number, variant),))
            yield Task(plan, effects, twice and variant.kills)


def storms(names: Sequence[str], seed: int, count: int) -> Iterator[Task]:
    """So many random runs of each story."""
    for number in range(seed, seed + count):
        for name in names:
            yield Task(Plan(name, number, storm=True), (), False)


def work(task: Task, broken: Broken = nullcontext) -> list[Outcome]:
    """Play the point; then, where that is wanted, once more with a stop during the recovery."""
    scenario = SCENARIOS[task.plan.scenario]
    outcome = play(task.plan, scenario, broken)
    if task.plan.storm:
        return [outcome]
    (point,) = task.plan.points
    if tuple(outcome.lives[0][: point.number]) != task.effects[: point.number]:
        outcome.wrong.append("the course before the point was another one than without it")
    if outcome.wrong or not task.twice:
        return [outcome]
    dice = random.Random(str(task.plan))
    second = Point(dice.randint(1, len(outcome.lives[1])), dice.choice([Variant.BEFORE, Variant.AFTER]))
    again = Plan(task.plan.scenario, task.plan.seed, (point, second))
    return [outcome, play(again, scenario, broken)]


def all_outcomes(found: Sequence[Task], jobs: int) -> Iterator[Outcome]:
    """Play all of them, in so many processes."""
    if jobs == 1:
        for task in found:
            yield from work(task)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for outcomes in pool.map(work, found, chunksize=4):
            yield from outcomes
