"""Stops the service dead at every one of its effects, and checks what the next start makes of it.

    PYTHONPATH=tests python -m crash                       every point of every story
    PYTHONPATH=tests python -m crash --list                the stories and their points
    PYTHONPATH=tests python -m crash --scenario partials --seed 0 --point 17 --variant after    one run, exactly
    PYTHONPATH=tests python -m crash --storm 20            anything at any effect, so many times per story
    PYTHONPATH=tests python -m crash --broken              engines that are broken on purpose, and what catches each

Ends with 1, and one line for each run that went wrong, with which it can be repeated.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence

from crash import points
from crash.broken import BROKEN, table
from crash.running import Outcome, Plan, play
from crash.scenarios import SCENARIOS
from crash.seams import Point, Variant


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    options = _parser().parse_args(arguments)
    names = options.scenario or list(SCENARIOS)
    if options.log:
        logging.basicConfig(level=logging.DEBUG, format="      %(name)s: %(message)s", stream=sys.stdout)
    if options.broken is not None:
        return _broken(options.broken or list(BROKEN), options.seed)
    if options.point is not None:
        return _one(options)
    if options.storm:
        return _storms(names, options)
    if options.list:
        return _list(names, options.seed)
    return _all(names, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m crash", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="how long each effect takes, and so how they overlap")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--once", action="store_true", help="do not stop the recovery as well")
    parser.add_argument("--list", action="store_true", help="print the points, play nothing else")
    parser.add_argument("--point", type=int, help="the effect, counted from 1")
    parser.add_argument("--variant", type=Variant, choices=list(Variant), default=Variant.BEFORE)
    parser.add_argument("--then-point", type=int, help="the effect of the life after")
    parser.add_argument("--then-variant", type=Variant, choices=list(Variant), default=Variant.BEFORE)
    parser.add_argument("--storm", type=int, help="so many random runs of each story instead, from the seed on")
    parser.add_argument("--log", action="store_true", help="print what the service logs, of one run")
    parser.add_argument("--broken", nargs="*", choices=list(BROKEN), help="the broken engines, or some of them")
    return parser


def _all(names: Sequence[str], options: argparse.Namespace) -> int:
    started, seed = time.monotonic(), options.seed
    courses = [points.undisturbed(name, seed) for name in names]
    found = [task for course in courses if not course.wrong for task in points.tasks(course, twice=not options.once)]
    runs, failed = len(courses), [course for course in courses if course.wrong]
    _report(failed)
    for outcome in points.all_outcomes(found, options.jobs):
        runs += 1
        if outcome.wrong:
            failed.append(outcome)
            _report([outcome])
        if runs % 100 == 0 and sys.stderr.isatty():
            print(f"{runs} runs, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    count = sum(len(course.lives[0]) for course in courses)
    print(
        f"{count} points in {len(names)} scenarios, {runs} runs, {len(failed)} violations "
        f"(seed {seed}, {time.monotonic() - started:.0f} s)"
    )
    return 1 if failed else 0


def _storms(names: Sequence[str], options: argparse.Namespace) -> int:
    if options.storm == 1 and len(names) == 1:
        return _show(Plan(names[0], options.seed, storm=True), options)
    started, runs, failed = time.monotonic(), 0, 0
    for outcome in points.all_outcomes(list(points.storms(names, options.seed, options.storm)), options.jobs):
        runs += 1
        if outcome.wrong:
            failed += 1
            _report([outcome])
    print(f"{runs} storms, {failed} violations (from seed {options.seed}, {time.monotonic() - started:.0f} s)")
    return 1 if failed else 0


def _report(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        print(f"WRONG: python -m crash {outcome.plan}: {outcome.wrong[0]}", flush=True)


def _one(options: argparse.Namespace) -> int:
    chosen = [Point(options.point, options.variant)]
    if options.then_point is not None:
        chosen.append(Point(options.then_point, options.then_variant))
    names = options.scenario or list(SCENARIOS)
    return max(_show(Plan(name, options.seed, tuple(chosen)), options) for name in names)


def _show(plan: Plan, options: argparse.Namespace) -> int:
    """Play one run, and print its course."""
    outcome = play(plan, SCENARIOS[plan.scenario], is_silent=not options.log)
    for number, (life, met) in enumerate(zip(outcome.lives, outcome.met, strict=True), 1):
        print(f"Life {number}")
        for place, effect in enumerate(life, 1):
            print(f"  {place:3} {effect}{f'   <-- {met[place]}' if place in met else ''}")
    for line in outcome.wrong:
        print(f"WRONG: {line}")
    print(f"{plan}: {len(outcome.wrong)} violations")
    return 1 if outcome.wrong else 0


def _list(names: Sequence[str], seed: int) -> int:
    for name in names:
        outcome = points.undisturbed(name, seed)
        print(f"{name}: {SCENARIOS[name].text}")
        for place, effect in enumerate(outcome.lives[0], 1):
            print(f"  {place:3} {effect}")
    return 0


def _broken(names: Sequence[str], seed: int) -> int:
    lines = []
    missed = 0
    for name in names:
        caught = BROKEN[name].caught_by(seed)
        missed += caught is None
        lines.append((BROKEN[name], caught))
        text = "NOT CAUGHT" if caught is None else f"{caught.plan}: {caught.wrong[0]}"
        print(f"{name}: {text}", file=sys.stderr, flush=True)
    print(table(lines))
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
