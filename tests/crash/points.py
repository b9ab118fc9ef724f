"""Every point of a story, one after the other: what is to be played, and playing it in several processes."""

from __future__ import annotations

import dataclasses
import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from crash.running import Outcome, Plan, play
from crash.scenarios import SCENARIOS
from crash.seams import ALONE, AMONG_OTHERS, Point, Variant
from crash.wrapped import is_of_leases

Broken = Callable[[], AbstractContextManager[None]]
Course = Sequence[tuple[int, str]]

#: Of what can happen to one of several workers, so much is followed by something that happens to another.
ONCE_MORE_PROBABILITY = 0.25


@dataclass(frozen=True)
class Task:
    """A point of a story. `course`: what happened before it when nothing did; `twice`: what recovers is hit as well."""

    plan: Plan
    course: tuple[tuple[int, str], ...]
    twice: bool = False


def undisturbed(scenario: str, seed: int, broken: Broken = nullcontext, *, workers: int = 1) -> Outcome:
    """The story without any stop: its effects are the points."""
    return play(Plan(scenario, seed, workers=workers), SCENARIOS[scenario], broken)


def courses(names: Iterable[str], seed: int, workers: Sequence[int], broken: Broken = nullcontext) -> Iterator[Outcome]:
    """The undisturbed courses of these stories, with so many workers where that is how they are played."""
    for name in names:
        scenario = SCENARIOS[name]
        for count in ((1,) if scenario.alone else ()) + scenario.workers:
            if count in workers:
                yield undisturbed(name, seed, broken, workers=count)


def tasks(outcome: Outcome, *, twice: bool, variants: Iterable[Variant] | None = None) -> Iterator[Task]:
    """Every point of an undisturbed run, in every variant that makes sense there."""
    plan, counted = outcome.plan, Counter[int]()
    course = the_story_itself(outcome)
    for place, (worker, name) in enumerate(course, 1):
        counted[worker] += 1
        for variant in possible(plan, name) if variants is None else variants:
            point = Point(counted[worker], variant, worker)
            chosen = dataclasses.replace(plan, points=(point,))
            again = twice and not variant.fails and (plan.workers == 1 or _by_chance(chosen))
            yield Task(chosen, tuple(course[:place]), again)


def _by_chance(plan: Plan) -> bool:
    """There are so many that only some of them are played once more."""
    return random.Random(f"{plan} once more").random() < ONCE_MORE_PROBABILITY


def the_story_itself(outcome: Outcome) -> Course:
    """The effects of the undisturbed run, without the start with nothing new that follows it."""
    course = outcome.course
    if outcome.plan.workers == 1:
        return course[: len(outcome.lives[0])]
    extra = len(outcome.lives[-1]) if len(outcome.lives) > 1 and not outcome.wrong else 0
    return course[: len(course) - extra]


def possible(plan: Plan, name: str) -> Sequence[Variant]:
    """What can happen at an effect: among others, answers are lost only where leases are concerned."""
    if plan.workers == 1:
        return ALONE
    return tuple(Variant) if is_of_leases(name) else AMONG_OTHERS


def recoveries(outcome: Outcome) -> Iterator[Task]:
    """One stop of the story, and then whatever the next process writes of leases, under the same id and another."""
    if outcome.plan.workers > 1:
        return
    dice = random.Random(f"{outcome.plan} leases")
    course = the_story_itself(outcome)
    claimed = next(place for place, (_, name) in enumerate(course, 1) if name.startswith("commit claim "))
    place = dice.randint(claimed + 1, len(course))
    first = Point(place, dice.choice([Variant.BEFORE, Variant.AFTER]))
    for heir in ("same", "another"):
        stopped = dataclasses.replace(outcome.plan, points=(first,), heir=heir)
        life = play(stopped, SCENARIOS[stopped.scenario]).lives[1]
        for number, name in enumerate(life, 1):
            if is_of_leases(name):
                for variant in ALONE:
                    again = dataclasses.replace(stopped, points=(first, Point(number, variant)))
                    yield Task(again, tuple(course[:place]))


def storms(names: Sequence[str], seed: int, count: int, workers: Sequence[int]) -> Iterator[Task]:
    """So many random runs of each story, with so many workers where that is how it is played."""
    for number in range(seed, seed + count):
        for name in names:
            scenario = SCENARIOS[name]
            for together in ((1,) if scenario.alone else ()) + scenario.workers:
                if together in workers:
                    yield Task(Plan(name, number, storm=True, workers=together), ())


def work(task: Task, broken: Broken = nullcontext) -> list[Outcome]:
    """Play the point; then, where that is wanted, once more with another one during the recovery."""
    scenario = SCENARIOS[task.plan.scenario]
    outcome = play(task.plan, scenario, broken)
    if tuple(outcome.course[: len(task.course)]) != task.course:
        outcome.wrong.append("the course before the point was another one than without it")
    if outcome.wrong or not task.twice:
        return [outcome]
    again = _once_more(outcome)
    return [outcome] if again is None else [outcome, play(again, scenario, broken)]


def _once_more(outcome: Outcome) -> Plan | None:
    """The same, and then something that happens while it is being recovered from."""
    plan, dice = outcome.plan, random.Random(str(outcome.plan))
    (point,) = plan.points
    if plan.workers == 1:
        second = Point(dice.randint(1, len(outcome.lives[1])), dice.choice([Variant.BEFORE, Variant.AFTER]))
        return dataclasses.replace(plan, points=(point, second))
    after = Counter[int]()
    found: list[tuple[int, int]] = []
    is_after, counted = False, 0
    for worker, _name in the_story_itself(outcome):
        if is_after and worker != point.worker:
            after[worker] += 1
            found.append((worker, after[worker]))
        counted += worker == point.worker
        is_after = is_after or counted == point.number
    if not found:
        return None
    other, number = dice.choice(found)
    return dataclasses.replace(plan, points=(point, Point(number, dice.choice(AMONG_OTHERS), other)))


def all_outcomes(found: Sequence[Task], jobs: int) -> Iterator[Outcome]:
    """Play all of them, in so many processes."""
    if jobs == 1:
        for task in found:
            yield from work(task)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for outcomes in pool.map(work, found, chunksize=4):
            yield from outcomes
