"""The page on the conformance kit says what its cards say, and the cards are about the bugs that have cost money."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from exec_core.testing import Ability, BrokerConformance, FarAbility, NotifierConformance
from exec_core.testing.cards import Card, cards_of
from exec_core.testing.page import groups, page

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "conformance.md"
SUITES = [BrokerConformance, NotifierConformance]
CARDS = [card for suite in SUITES for card in cards_of(suite).values()]

#: Public bugs of others that a broker plugin can have: what went wrong, and one place or more where it was told.
BUGS = {
    "a time-out of a send is a failure": ["hummingbot #493", "hummingbot #6901", "hummingbot #7294"],
    "an exception, and the order is placed": ["Zerodha forum 41029", "Zerodha forum 8124", "ccxt #2599", "ccxt #7411"],
    "a send is repeated blindly": ["Lean.TradeStation #67", "catalyst #317"],
    "only our id is known": ["nautilus #4958"],
    "filled before anybody looked": ["nautilus #3870"],
    "an outage ends orders": ["nautilus #4152", "nautilus #3879"],
    "an error is an empty list": ["nautilus #4230"],
    "one order becomes two": ["nautilus #4564"],
    "orders of an earlier session": ["nautilus #4970", "nautilus #5057"],
    "an execution is booked twice": ["nautilus #3493", "nautilus #3046"],
    "executions while the line was down": ["Lean.IB #249"],
    "ids come again": ["Lean.IB #242"],
    "an execution before the answer": ["Lean.IB #189"],
    "a cancel is not the end": ["Lean #2143", "Lean.TradeStation #91", "Lean.IB #248", "Lean.IB #256"],
    "cancelled, and then filled": ["pysystemtrade #1580", "ib_insync #363"],
    "repeated and reordered": ["Lean.Alpaca #61", "Zerodha forum 33971"],
    "a filled order counts as cancelled": ["freqtrade #11461", "passivbot #514"],
    "a commission that is not known": ["ib_async #208", "pysystemtrade #1661"],
    "numbers in another form": ["openalgo #1109", "openalgo #1987"],
    "orders never answered": ["Lean.IB #93"],
    "orders finished while away": ["ib_insync #130", "ib_insync #416"],
    "a word nobody knows": ["vn.py #2046", "nautilus #4160"],
    "a tag that was used": ["kotak-neo #30"],
}


def names_it(card: Card, bug: str) -> bool:
    """Whether the card names this bug: its project, and the number."""
    project, _, number = bug.rpartition(" ")
    return project in (card.catches or "") and re.search(rf"{re.escape(number)}\b", card.catches or "") is not None


def test_the_page_is_made_of_the_cards() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m exec_core.testing.page > docs/conformance.md"


def test_no_number_is_given_twice() -> None:
    assert [name for name, count in Counter(card.name for card in CARDS).items() if count > 1] == []


@pytest.mark.parametrize("suite", SUITES)
def test_every_card_is_in_one_group(suite: type) -> None:
    grouped = [card for _, _, cards in groups(suite) for card in cards]
    assert sorted(card.number for card in grouped) == [card.number for card in cards_of(suite).values()]


@pytest.mark.parametrize("ability", [*Ability, *FarAbility], ids=lambda ability: ability.name)
def test_every_ability_is_needed_by_a_card(ability: Ability | FarAbility) -> None:
    assert [card for card in CARDS if ability in card.needs], f"nothing is skipped without {ability.name}"


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_that_has_cost_money_is_caught_by_a_card(bug: str) -> None:
    assert [card.name for card in CARDS if any(names_it(card, place) for place in BUGS[bug])]


def test_the_assertions_of_every_module_with_cards_show_what_they_compared() -> None:
    source = (ROOT / "packages/exec-core/src/exec_core/testing/__init__.py").read_text(encoding="utf-8")
    registered = re.findall(r'"(exec_core\.testing\.\w+)"', source.partition("__all__")[0])
    modules = {base.__module__ for suite in SUITES for base in suite.__mro__ if cards_of(base)}
    assert [module for module in modules if not module.startswith(tuple(registered))] == []
