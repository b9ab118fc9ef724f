"""Stops the service dead at every one of its effects, and checks what the next start, or another worker, makes of it.

    PYTHONPATH=tests python -m crash                       every point of every story
    PYTHONPATH=tests python -m crash --workers 2           only with two workers at once
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
from collections import Counter
from collections.abc import Sequence

from crash import points
from crash.catalogue import BROKEN, table
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
        return _list(names, options)
    counts = [1, 2, 3] if options.workers is None else [options.workers]
    wrong = _all(names, options, [1]) if 1 in counts else 0
    together = [count for count in counts if count > 1]
    return max(wrong, _all(names, options, together) if together else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m crash", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="how long each effect takes, and so how they overlap")
    parser.add_argument("--workers", type=int, choices=[1, 2, 3], help="only with so many workers at once")
    parser.add_argument("--heir", choices=["same", "another"], default="", help="the next process's WORKER_ID")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--once", action="store_true", help="do not stop the recovery as well")
    parser.add_argument("--list", action="store_true", help="print the points, play nothing else")
    parser.add_argument("--worker", type=int, default=1, help="which of several workers the point is one of")
    parser.add_argument("--point", type=int, help="the effect, counted from 1")
    parser.add_argument("--variant", type=Variant, choices=list(Variant), default=Variant.BEFORE)
    parser.add_argument("--then-worker", type=int, default=1, help="whose the second point is")
    parser.add_argument("--then-point", type=int, help="the effect of the life after; of several workers: after that")
    parser.add_argument("--then-variant", type=Variant, choices=list(Variant), default=Variant.BEFORE)
    parser.add_argument("--storm", type=int, help="so many random runs of each story instead, from the seed on")
    parser.add_argument("--log", action="store_true", help="print what the service logs, of one run")
    parser.add_argument("--broken", nargs="*", choices=list(BROKEN), help="the broken engines, or some of them")
    return parser


def _all(names: Sequence[str], options: argparse.Namespace, counts: Sequence[int]) -> int:
    started, seed = time.monotonic(), options.seed
    courses = list(points.courses(names, seed, counts))
    found = [task for course in courses if not course.wrong for task in points.tasks(course, twice=not options.once)]
    if not options.once:
        found += [task for course in courses if not course.wrong for task in points.recoveries(course)]
    runs, failed = len(courses), [course for course in courses if course.wrong]
    refused, late = Counter[str](), 0
    _report(failed)
    for outcome in points.all_outcomes(found, options.jobs):
        runs += 1
        refused, late = refused + outcome.refused, late + outcome.late
        if outcome.wrong:
            failed.append(outcome)
            _report([outcome])
        if runs % 100 == 0 and sys.stderr.isatty():
            print(f"{runs} runs, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    count = sum(len(points.the_story_itself(course)) for course in courses)
    who = "one worker" if tuple(counts) == (1,) else f"{' or '.join(map(str, counts))} workers at once"
    print(
        f"{who}: {count} points in {len(courses)} scenarios, {runs} runs, {len(failed)} violations "
        f"(seed {seed}, {time.monotonic() - started:.0f} s)"
    )
    if refused or late:
        print(
            f"  {_counted(refused)} of workers that had lost their lease refused; {late} orders sent before came late"
        )
    return 1 if failed else 0


def _counted(refused: Counter[str]) -> str:
    kinds = Counter[str]()
    for name, count in refused.items():
        kinds[name.split()[0] + "s"] += count
    words = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"{refused.total()} effects ({words})"


def _storms(names: Sequence[str], options: argparse.Namespace) -> int:
    counts = [1, 2, 3] if options.workers is None else [options.workers]
    tasks = list(points.storms(names, options.seed, options.storm, counts))
    if len(tasks) == 1:
        return _show(tasks[0].plan, options)
    started, runs, failed = time.monotonic(), 0, 0
    for outcome in points.all_outcomes(tasks, options.jobs):
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
    chosen = [Point(options.point, options.variant, options.worker)]
    if options.then_point is not None:
        chosen.append(Point(options.then_point, options.then_variant, options.then_worker))
    names, workers = options.scenario or list(SCENARIOS), options.workers or 1
    plans = [Plan(name, options.seed, tuple(chosen), workers=workers, heir=options.heir) for name in names]
    return max(_show(plan, options) for plan in plans)


def _show(plan: Plan, options: argparse.Namespace) -> int:
    """Play one run, and print its course."""
    outcome = play(plan, SCENARIOS[plan.scenario], is_silent=not options.log)
    for number, (life, met) in enumerate(zip(outcome.lives, outcome.met, strict=True), 1):
        print(f"Worker {number}" if plan.workers > 1 else f"Life {number}")
        for place, effect in enumerate(life, 1):
            print(f"  {place:3} {effect}{f'   <-- {met[place]}' if place in met else ''}")
    if outcome.refused:
        print(f"Refused: {_counted(outcome.refused)}")
    for line in outcome.wrong:
        print(f"WRONG: {line}")
    print(f"{plan}: {len(outcome.wrong)} violations")
    return 1 if outcome.wrong else 0


def _list(names: Sequence[str], options: argparse.Namespace) -> int:
    counts = [1, 2, 3] if options.workers is None else [options.workers]
    for outcome in points.courses(names, options.seed, counts):
        plan = outcome.plan
        print(f"{plan}: {SCENARIOS[plan.scenario].text}")
        for worker, effect in points.the_story_itself(outcome):
            print(f"  {worker if plan.workers > 1 else ''} {effect}")
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
