"""What came of the cards of a suite, and how it is told."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final


class Outcome(StrEnum):
    """What came of a card; of its cases the first one of these that occurred counts."""

    FAILED = "failed"
    #: Excused by an ``xfail`` with a reason, and fails.
    XFAILED = "xfailed"
    #: Excused, and passes all the same: the mark can go.
    XPASSED = "xpassed"
    PASSED = "passed"
    SKIPPED = "skipped"


@dataclass
class CardResult:
    """One card of one suite, all its parametrized cases together."""

    card: str
    title: str
    if_this_fails: str
    cases: dict[str, Outcome] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def outcome(self) -> Outcome:
        """What came of it."""
        return next((one for one in Outcome if one in self.cases.values()), Outcome.SKIPPED)

    @property
    def reason(self) -> str | None:
        """Why it failed, was skipped or excused; None where it passed."""
        if self.outcome is Outcome.PASSED:
            return None
        return "; ".join(dict.fromkeys(self.reasons)) or None

    def case(self, name: str, outcome: Outcome, reason: str | None) -> None:
        """Note what came of a case; a phase that went worse than those before replaces them."""
        order = list(Outcome)
        if name not in self.cases or order.index(outcome) < order.index(self.cases[name]):
            self.cases[name] = outcome
        if reason:
            self.reasons.append(reason)

    def as_row(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "card": self.card,
            "title": self.title,
            "outcome": self.outcome.value,
            "reason": self.reason,
            "failed_cases": self.failed_cases,
            "if_this_fails": self.if_this_fails if self.outcome is Outcome.FAILED else None,
            "error": "\n\n".join(self.errors) or None,
            "seconds": round(self.seconds, 3),
        }

    @property
    def failed_cases(self) -> list[str]:
        """The parameters of the cases that failed, of a card that has cases."""
        return [name for name, outcome in self.cases.items() if name and outcome is Outcome.FAILED]


@dataclass
class SuiteResult:
    """All cards of one suite that were played."""

    suite: str
    plugin: str
    distribution: str | None
    version: str | None
    cards: dict[str, CardResult] = field(default_factory=dict)

    def sorted(self) -> list[CardResult]:
        """The cards by their numbers."""
        return sorted(self.cards.values(), key=lambda one: [int(n) for n in re.findall(r"\d+", one.card)])


_COUNTED: Final = {
    Outcome.PASSED: "passed",
    Outcome.FAILED: "failed",
    Outcome.SKIPPED: "skipped",
    Outcome.XFAILED: "excused",
    Outcome.XPASSED: "excused and passing",
}
#: Counted also where there is none.
_ALWAYS: Final = (Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED)


def told(row: Mapping[str, Any], width: int = 120) -> Iterable[str]:
    """The summary of a suite: what failed and what to look at, what was excused or skipped and why, the counts."""
    by_outcome = {outcome: [one for one in row["cards"] if one["outcome"] == outcome] for outcome in Outcome}
    for one in by_outcome[Outcome.FAILED]:
        cases = f" [{', '.join(one['failed_cases'])}]" if one["failed_cases"] else ""
        yield f"FAILED   {one['card']}{cases} {one['title']}"
        yield from _paragraph(f"{one['reason']}", width)
        yield from _paragraph(f"If this fails: {one['if_this_fails']}", width)
    for one in by_outcome[Outcome.XFAILED]:
        yield f"EXCUSED  {one['card']} {one['title']}"
        yield from _paragraph(f"{one['reason']}", width)
    for one in by_outcome[Outcome.XPASSED]:
        yield f"EXCUSED  {one['card']} {one['title']}"
        yield from _paragraph("It passes although it is marked xfail: remove the mark.", width)
    for one in by_outcome[Outcome.SKIPPED]:
        yield f"SKIPPED  {one['card']} {one['title']}"
        yield from _paragraph(f"{one['reason']}", width)
    counts = [
        f"{len(by_outcome[outcome])} {word}"
        for outcome, word in _COUNTED.items()
        if by_outcome[outcome] or outcome in _ALWAYS
    ]
    seed = "" if row["hypothesis_seed"] is None else f", seed {row['hypothesis_seed']}"
    yield f"{len(row['cards'])} cards: {', '.join(counts)}; {row['seconds']:.1f} s{seed}"


def _paragraph(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        max(width, 60),
        initial_indent=" " * 9,
        subsequent_indent=" " * 9,
        break_long_words=False,
        break_on_hyphens=False,
    )
