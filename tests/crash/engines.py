"""What a broken engine is, and how it is found out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest import mock

from crash import points
from crash.running import Outcome
from crash.seams import Variant

Patch = AbstractContextManager[Any]


@dataclass(frozen=True)
class Broken:
    """A broken engine: what is wrong with it, and the stories that should tell. The points that `hint` names are
    played first, in the variants that `first` names."""

    name: str
    fault: str
    scenarios: tuple[str, ...]
    make: Callable[[], Patch]
    workers: int = 1
    hint: str = ""
    first: tuple[Variant, ...] = ()

    def outcomes(self, seed: int) -> Iterator[Outcome]:
        """Every run of its stories, the likely ones first."""
        for scenario in self.scenarios:
            course = points.undisturbed(scenario, seed, self.make, workers=self.workers)
            yield course
            tasks = list(points.tasks(course, twice=False))
            for task in sorted(tasks, key=self._unlikely):
                yield from points.work(task, self.make)

    def _unlikely(self, task: points.Task) -> tuple[bool, bool]:
        name, variant = task.course[-1][1], task.plan.points[0].variant
        return self.hint not in name, bool(self.first) and variant not in self.first

    def caught_by(self, seed: int) -> Outcome | None:
        """The first run that goes wrong; None: it is not caught."""
        return next((outcome for outcome in self.outcomes(seed) if outcome.wrong), None)


class Catalogue(dict[str, Broken]):
    """Broken engines, by name."""

    def add(self, fault: str, *scenarios: str, **how: Any) -> Callable[[Callable[[], Patch]], Callable[[], Patch]]:
        """Add a broken engine, named as the function that makes it."""

        def add(make: Callable[[], Patch]) -> Callable[[], Patch]:
            name = make.__name__.replace("_", "-")
            self[name] = Broken(name, fault, scenarios, make, **how)
            return make

        return add


def instead(owner: type | ModuleType, name: str, function: Callable[..., Any]) -> Patch:
    """A method, or a function of a module, replaced."""
    return mock.patch.object(owner, name, function)


def table(lines: Sequence[tuple[Broken, Outcome | None]]) -> str:
    """Broken engines, and what caught each."""
    rows = ["| engine | what it does | caught by | at |", "|---|---|---|---|"]
    for one, caught in lines:
        story = place = "nothing"
        if caught is not None:
            story = caught.plan.scenario
            place = "no stop is needed"
            for point in caught.plan.points:
                place = f"{caught.lives[point.worker - 1][point.number - 1]}, {point.variant}"
        rows.append(f"| `{one.name}` | {one.fault} | `{story}` | {place} |")
    return "\n".join(rows)
