"""Stops the service dead at its effects, alone and among other workers, and checks what becomes of it: a sample.

All of it: ``nox -s crash``.
"""

from __future__ import annotations

import asyncio
import functools
import random
from pathlib import Path

import pytest
from crash import points
from crash.__main__ import main
from crash.catalogue import BROKEN
from crash.running import Outcome, Plan, play
from crash.scenarios import SCENARIOS
from crash.seams import Point, Variant
from crash.virtual import Process, VirtualTime, run

PAGE = (Path(__file__).parents[1] / "docs" / "crash-points.md").read_text(encoding="utf-8")
#: Broken engines of different kinds: sending, booking, telling, believing; leases, sharing, handing over.
TEETH = ("resends", "position-later", "disowns-commits", "lost-is-rejected")
TEETH_TOGETHER = ("sends-unsure", "takes-unfenced", "absent-early", "renews-lost", "keeps-working")
ALONE = [name for name, scenario in SCENARIOS.items() if scenario.alone]
TOGETHER = [(name, workers) for name, scenario in SCENARIOS.items() for workers in scenario.workers]
#: A story takes the same course each time.
undisturbed = functools.cache(points.undisturbed)


def wrong(outcomes: list[Outcome]) -> list[str]:
    """What went wrong, with what repeats it."""
    return [f"python -m crash {outcome.plan}: {line}" for outcome in outcomes for line in outcome.wrong]


def task_at(course: Outcome, effect: str, variant: Variant) -> points.Task:
    """The point where the first such effect is."""
    assert wrong([course]) == []
    found = (task for task in points.tasks(course, twice=False) if task.course[-1][1].startswith(effect))
    return next(task for task in found if task.plan.points[0].variant is variant)


def test_every_point_of_a_market_order() -> None:
    course = undisturbed("market", 0)
    assert wrong([course]) == []
    tasks = list(points.tasks(course, twice=False))
    assert len(tasks) == 4 * len(course.lives[0]) >= 4 * 12
    dice = random.Random("market")
    chosen = [task for place in range(0, len(tasks), 4) for task in dice.sample(tasks[place : place + 4], 2)]
    assert wrong([outcome for task in chosen for outcome in points.work(task)]) == []


@pytest.mark.parametrize("name", [name for name in ALONE if name != "market"])
def test_a_point_of_every_story_and_one_of_the_recovery_from_it(name: str) -> None:
    course = undisturbed(name, 0)
    assert wrong([course]) == []
    task = random.Random(name).choice([task for task in points.tasks(course, twice=True) if task.twice])
    first, again = points.work(task)
    assert wrong([first, again]) == []


@pytest.mark.parametrize("heir", ["same", "another"])
def test_a_stop_and_then_another_while_leases_are_written(heir: str) -> None:
    course = undisturbed("market", 0)
    tasks = [task for task in points.recoveries(course) if task.plan.heir == heir]
    outcomes = [out for task in tasks if task.plan.points[1].variant is Variant.AFTER for out in points.work(task)]
    assert wrong(outcomes) == []
    names = {outcome.lives[1][outcome.plan.points[1].number - 1] for outcome in outcomes}
    assert {"take the lease", "commit claim acc_1"} <= names
    assert ("fence worker-1" in names) == (heir == "another")


@pytest.mark.parametrize(("name", "workers"), TOGETHER)
def test_a_point_of_every_story_that_several_workers_share(name: str, workers: int) -> None:
    course = undisturbed(name, 0, workers=workers)
    assert wrong([course]) == []
    tasks = list(points.tasks(course, twice=False))
    task = random.Random(f"{name} {workers}").choice(tasks)
    assert wrong(points.work(task)) == []


def test_what_was_being_sent_before_a_pause_may_come_late_and_is_a_matter_for_people() -> None:
    course = undisturbed("market", 0, workers=2)
    task = task_at(course, "send sig_1", Variant.PAUSED_BEFORE)
    (outcome,) = points.work(task)
    assert wrong([outcome]) == []
    assert outcome.late == 1
    assert outcome.refused


def test_a_worker_that_was_paused_writes_nothing_and_says_so() -> None:
    course = undisturbed("market", 0, workers=2)
    (outcome,) = points.work(task_at(course, "commit accounts", Variant.PAUSED_BEFORE))
    assert wrong([outcome]) == []
    assert outcome.late == 0
    assert outcome.refused["commit accounts"] == 1


def test_no_time_runs_out_for_an_order_of_which_it_turns_out_that_nothing_was_sent() -> None:
    # A stalled worker goes on: the send is given up because its lease is in doubt, and its time-out fires, at once.
    course = undisturbed("crossing", 0, workers=2)
    assert wrong(points.work(task_at(course, "acknowledge 1", Variant.STALLED_BEFORE))) == []


@pytest.mark.parametrize("name", ["flip", "timeout"])
def test_a_storm(name: str) -> None:
    outcome = play(Plan(name, 8, storm=True), SCENARIOS[name])
    assert wrong([outcome]) == []
    assert sum(len(met) for met in outcome.met) >= 3


def test_a_storm_over_two_workers() -> None:
    outcome = play(Plan("shares", 1, storm=True, workers=2), SCENARIOS["shares"])
    assert wrong([outcome]) == []
    assert sum(len(met) for met in outcome.met) >= 3


def test_a_run_is_repeated_exactly_by_its_plan() -> None:
    plan = Plan("partials", 3, (Point(9, Variant.AFTER), Point(4, Variant.BEFORE)))
    first, second = (play(plan, SCENARIOS[plan.scenario]) for _ in range(2))
    assert first == second
    assert len(first.lives) == 4
    assert str(plan) == ("--scenario partials --seed 3 --point 9 --variant after --then-point 4 --then-variant before")


def test_a_run_of_two_workers_is_repeated_exactly_by_its_plan() -> None:
    course = undisturbed("market", 3, workers=2)
    plan = task_at(course, "commit sig_1 SUBMITTING", Variant.STALLED_AFTER).plan
    first, second = (play(plan, SCENARIOS[plan.scenario]) for _ in range(2))
    assert first == second
    (point,) = plan.points
    begin = f"--scenario market --seed 3 --workers 2 --worker {point.worker} --point {point.number}"
    assert str(plan) == f"{begin} --variant stalled-after"


def test_another_seed_lets_effects_overlap_otherwise() -> None:
    assert len({tuple(points.undisturbed("crossing", seed).lives[0]) for seed in range(4)}) > 1


@pytest.mark.parametrize("name", TEETH + TEETH_TOGETHER)
def test_an_engine_that_is_broken_on_purpose_is_caught(name: str) -> None:
    assert BROKEN[name].caught_by(0) is not None


def test_what_is_found_is_said_with_what_repeats_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scenario", "market", "--point", "6", "--variant", "after"]) == 0
    said = capsys.readouterr().out
    assert "<-- after" in said
    assert "--scenario market --seed 0 --point 6 --variant after: 0 violations" in said


def test_what_was_refused_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    course = undisturbed("market", 0, workers=2)
    plan = task_at(course, "commit accounts", Variant.PAUSED_BEFORE).plan
    assert main(str(plan).split()) == 0
    said = capsys.readouterr().out
    assert "<-- paused-before" in said
    assert "Refused: " in said
    assert f"{plan}: 0 violations" in said


def test_a_frozen_process_does_nothing_and_goes_on_in_order() -> None:
    clock, did = VirtualTime(), []

    async def work(name: str) -> None:
        for step in range(3):
            await asyncio.sleep(1)
            did.append((name, step, clock.seconds))

    async def waits_in_vain() -> None:
        try:
            async with asyncio.timeout(2.5):
                await asyncio.Event().wait()
        except TimeoutError:
            did.append(("timed out", 0, clock.seconds))

    async def story() -> None:
        process = Process()
        tasks = [process.spawn(work("frozen"), "frozen"), process.spawn(waits_in_vain(), "waits")]
        tasks.append(asyncio.create_task(work("free")))
        await asyncio.sleep(1.5)
        process.freeze()
        await asyncio.sleep(10)
        assert [name for name, *_ in did] == ["frozen", "free", "free", "free"]
        process.thaw()
        await asyncio.wait(tasks)

    run(clock, story())
    assert did[4:] == [("frozen", 1, 11.5), ("timed out", 0, 11.5), ("frozen", 2, 12.5)]


def test_the_page_names_every_story_and_every_broken_engine() -> None:
    for name, scenario in SCENARIOS.items():
        assert f"| `{name}` | {scenario.text} |" in PAGE
    for name, one in BROKEN.items():
        assert f"| `{name}` | {one.fault} |" in PAGE
    for variant in Variant:
        assert f"| `{variant}` |" in PAGE


def test_a_point_that_is_never_reached_is_a_violation() -> None:
    plan = Plan("market", 0, (Point(999, Variant.BEFORE, 2),), workers=2)
    assert play(plan, SCENARIOS["market"]).wrong == ["the points were never reached"]
