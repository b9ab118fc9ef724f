"""The conformance kit has teeth: each broken broker fails exactly the cards that name its fault, a right one none.

With ``EXEC_TEETH=all`` every variant of every card is played, which takes half as long again.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Generator
from pathlib import Path

import pytest
from exec_core.testing import BrokerConformance
from exec_core.testing.cards import card_of, cards_of
from teeth.page import page
from teeth.table import BROKEN, RIGHT, SUBJECTS

PAGE = Path(__file__).parents[1] / "docs" / "conformance-teeth.md"

pytest_plugins = ["pytester"]

#: The random histories judge everything at once: what they find is not in the table.
HISTORIES = 900
#: Not played here: importing afresh needs a process of its own, and has nothing to do with what a session does.
IMPORTING = 80
#: What the kit is proved by: 10 is about suites, not about brokers.
NOT_IN_THE_TABLE = {10, IMPORTING, HISTORIES}

#: How long a card waits for what a broken broker never does.
PATIENCE_SECONDS = 0.5
#: How long one waits that is not to fail, before that is believed: the machine may be busy.
DOUBT_SECONDS = 10.0
#: Whether every variant of every card is played.
ALL_VARIANTS = os.environ.get("EXEC_TEETH") == "all"
#: Without what would only cost time, many times.
UNNEEDED = [
    "--capture=no",
    *(f"-pno:{name}" for name in ("cacheprovider", "xdist", "hypothesispytest", "timeout", "faulthandler")),
]
SUITE = """
from exec_core.testing import BrokerConformance
from teeth.table import SUBJECTS


class TestSubject(BrokerConformance):
    plugin = SUBJECTS["{name}"].plugin
    venue = SUBJECTS["{name}"].venue
    patience_seconds = {patience_seconds}
"""


class Marks:
    """A pytest plugin that plays some cards, and notes which failed, with the reason.

    A card that has several variants is played in all of them where it is to fail; else the first stands for all.
    """

    def __init__(self, numbers: Collection[int], failing: Collection[int]) -> None:
        self.numbers = numbers
        self.failing = failing
        self.played: set[int] = set()
        self.failed: dict[int, str] = {}

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        chosen, seen = [], set[int]()
        for item in items:
            number = number_of(item)
            if number in self.numbers and (number in self.failing or number not in seen or ALL_VARIANTS):
                chosen.append(item)
            seen.add(number)
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            self.failed.setdefault(number_of(item), f"{item.name} ({report.when}): {report.longreprtext}")
        if report.when == "call" and not report.skipped:
            self.played.add(number_of(item))
        return report


def number_of(item: pytest.Item) -> int:
    """The number of a test's card; 0 if it is none."""
    card = card_of(getattr(item, "function", None))
    return card.number if card is not None else 0


def cards_of_the_kit() -> set[int]:
    """The cards that are played here."""
    return {card.number for card in cards_of(BrokerConformance).values()} - NOT_IN_THE_TABLE


def play(pytester: pytest.Pytester, name: str, numbers: Collection[int], patience_seconds: float) -> Marks:
    """Run these cards on a subject."""
    marks = Marks(numbers, SUBJECTS[name].cards)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile(SUITE.format(name=name, patience_seconds=patience_seconds))
    pytester.inline_run(*UNNEEDED, "-q", "--tb=native", plugins=[marks])
    return marks


def failed(pytester: pytest.Pytester, name: str) -> dict[int, str]:
    """The cards that fail for a subject, with the reasons."""
    first = play(pytester, name, cards_of_the_kit(), PATIENCE_SECONDS)
    assert first.played, "no card was played at all"
    doubtful = set(first.failed) - SUBJECTS[name].cards
    if not doubtful:
        return first.failed
    again = play(pytester, name, doubtful, DOUBT_SECONDS)
    return {number: text for number, text in first.failed.items() if number not in doubtful} | again.failed


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_broker_fails_exactly_the_cards_that_name_its_fault(pytester: pytest.Pytester, name: str) -> None:
    found = failed(pytester, name)
    assert set(found) == BROKEN[name].cards, "\n".join(found.values())


@pytest.mark.parametrize("name", RIGHT)
def test_an_unusual_broker_that_is_right_fails_no_card(pytester: pytest.Pytester, name: str) -> None:
    assert failed(pytester, name) == {}


def test_every_card_has_a_broken_broker_that_fails_it() -> None:
    assert cards_of_the_kit() - set().union(*(subject.cards for subject in BROKEN.values())) == set()


def test_the_page_shows_the_table() -> None:
    command = "PYTHONPATH=tests python -m teeth > docs/conformance-teeth.md"
    assert PAGE.read_text(encoding="utf-8") == page(), f"write the page again: {command}"
