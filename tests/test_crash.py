"""Stops the service dead at its effects and checks what the next start makes of it: a sample. All: ``nox -s crash``."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from crash import points
from crash.__main__ import main
from crash.broken import BROKEN
from crash.running import Outcome, Plan, play
from crash.scenarios import SCENARIOS
from crash.seams import Point, Variant

PAGE = (Path(__file__).parents[1] / "docs" / "crash-points.md").read_text(encoding="utf-8")
#: Broken engines of different kinds: sending, booking, telling, believing.
TEETH = ("resends", "position-later", "disowns-commits", "lost-is-rejected")


def wrong(outcomes: list[Outcome]) -> list[str]:
    """What went wrong, with what repeats it."""
    return [f"python -m crash {outcome.plan}: {line}" for outcome in outcomes for line in outcome.wrong]


def test_every_point_of_a_market_order() -> None:
    course = points.undisturbed("market", 0)
    assert wrong([course]) == []
    tasks = list(points.tasks(course, twice=False))
    assert len(tasks) == 4 * len(course.lives[0]) >= 4 * 14
    assert wrong([outcome for task in tasks for outcome in points.work(task)]) == []


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name != "market"])
def test_a_point_of_every_story_and_one_of_the_recovery_from_it(name: str) -> None:
    course = points.undisturbed(name, 0)
    assert wrong([course]) == []
    task = random.Random(name).choice([task for task in points.tasks(course, twice=True) if task.twice])
    first, again = points.work(task)
    assert wrong([first, again]) == []


@pytest.mark.parametrize("name", ["flip", "timeout"])
def test_a_storm(name: str) -> None:
    outcome = play(Plan(name, 5, storm=True), SCENARIOS[name])
    assert wrong([outcome]) == []
    assert sum(len(met) for met in outcome.met) >= 3


def test_a_run_is_repeated_exactly_by_its_plan() -> None:
    plan = Plan("partials", 3, (Point(9, Variant.AFTER), Point(4, Variant.BEFORE)))
    first, second = (play(plan, SCENARIOS[plan.scenario]) for _ in range(2))
    assert first == second
    assert len(first.lives) == 4
    assert str(plan) == ("--scenario partials --seed 3 --point 9 --variant after --then-point 4 --then-variant before")


def test_another_seed_lets_effects_overlap_otherwise() -> None:
    assert len({tuple(points.undisturbed("market", seed).lives[0]) for seed in range(4)}) > 1


@pytest.mark.parametrize("name", TEETH)
def test_an_engine_that_is_broken_on_purpose_is_caught(name: str) -> None:
    assert BROKEN[name].caught_by(0) is not None


def test_what_is_found_is_said_with_what_repeats_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--scenario", "market", "--point", "6", "--variant", "after"]) == 0
    said = capsys.readouterr().out
    assert "<-- after" in said
    assert "--scenario market --seed 0 --point 6 --variant after: 0 violations" in said


def test_the_page_names_every_story_and_every_broken_engine() -> None:
    for name, scenario in SCENARIOS.items():
        assert f"| `{name}` | {scenario.text} |" in PAGE
    for name, one in BROKEN.items():
        assert f"| `{name}` | {one.fault} |" in PAGE
