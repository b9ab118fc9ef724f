"""Cards: what is read from a docstring, when one is skipped, how they are listed, and the guard over them."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from exec_core.capabilities import Capabilities
from exec_core.instruments import AssetClass
from exec_core.orders import OrderType, TimeInForce
from exec_core.testing import Ability, BrokerConformance
from exec_core.testing.brokers.base import BrokerSuite
from exec_core.testing.cards import Card, Declares, card, card_of, cards_of

CAPABILITIES = Capabilities(frozenset({OrderType.LIMIT}), frozenset({TimeInForce.DAY}), frozenset({AssetClass.STOCK}))
STOPS = Declares("stop orders", lambda capabilities: OrderType.STOP in capabilities.order_types)
LIMITS = Declares("limit orders", lambda capabilities: OrderType.LIMIT in capabilities.order_types)
PARTS = {
    "Prerequisite": "a session.",
    "Action": "do it.",
    "Expected": "it is done.",
    "If this fails": "do it better.",
}


def docstring(title: str = "It is done.", **changes: str | None) -> str:
    parts = PARTS | {label.replace("_", " "): text for label, text in changes.items()}
    return f"{title}\n\n" + "\n".join(f"{label}: {text}" for label, text in parts.items() if text is not None)


def a_test(text: str | None) -> Any:
    def test() -> None:
        """Replaced below."""

    test.__doc__ = text
    return test


def made(number: int = 120, text: str | None = None, **changes: Any) -> Card:
    found = card_of(card(number, **changes)(a_test(docstring() if text is None else text)))
    assert found is not None
    return found


def test_parts_are_read() -> None:
    @card(120)
    def test() -> None:
        """An order that is sent
        arrives.

        Prerequisite: a session,
        and an order.
        Action: send it: once.

        Expected: it is
        at the venue.
        If this fails: check that Expected: does not begin a part inside a line.
        Catches: acme #12: it did not arrive.
        """

    found = card_of(test)
    assert found == Card(
        120,
        "An order that is sent arrives.",
        "a session, and an order.",
        "send it: once.",
        "it is at the venue.",
        "check that Expected: does not begin a part inside a line.",
        "acme #12: it did not arrive.",
        (),
        (),
    )
    assert found.name == "OC-120"


def test_catches_is_optional() -> None:
    assert made().catches is None


@pytest.mark.parametrize("label", PARTS)
@pytest.mark.parametrize("text", [None, ""])
def test_a_part_that_is_missing_or_empty_is_refused(label: str, text: str | None) -> None:
    with pytest.raises(ValueError, match=f"OC-120 .*lacks {label}"):
        made(text=docstring(**{label.replace(" ", "_"): text}))


def test_all_missing_parts_are_named() -> None:
    with pytest.raises(ValueError, match="lacks Prerequisite, Action, Expected, If this fails"):
        made(text="A title alone.")


@pytest.mark.parametrize(
    "text",
    [
        docstring().replace("Action:", "Acting:"),
        docstring().removeprefix("It is done.").strip(),
        docstring() + "\nAction: do something else.",
    ],
    ids=["another name", "no title", "a part twice"],
)
def test_a_docstring_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="OC-120"):
        made(text=text)


@pytest.mark.parametrize("text", ["", None])
def test_no_docstring_is_refused(text: str | None) -> None:
    with pytest.raises(ValueError, match="the docstring lacks"):
        card(120)(a_test(text))


def test_a_paragraph_that_is_no_part_is_refused() -> None:
    with pytest.raises(ValueError, match="begins with none of Prerequisite"):
        made(text=docstring() + "\n\nSee also the docs.")


@pytest.mark.parametrize("number", [0, -10, 121, 124])
def test_numbers_are_tens_and_fives_between_them(number: int) -> None:
    with pytest.raises(ValueError, match="in tens"):
        made(number)


def test_a_test_stays_what_it_was_and_a_coroutine_is_marked() -> None:
    def test() -> None: ...

    async def test_async() -> None: ...

    test.__doc__ = test_async.__doc__ = docstring()
    assert card(120)(test) is test
    assert not hasattr(test, "pytestmark")
    marked = card(120)(test_async)
    assert card_of(marked) is not None
    assert asyncio.iscoroutinefunction(marked)
    assert [mark.name for mark in marked.pytestmark] == ["asyncio"]


def test_what_is_no_card_is_none() -> None:
    assert card_of(a_test("A test.")) is None
    assert card_of(SimpleNamespace(__exec_card__="OC-120")) is None


@pytest.mark.parametrize(
    ("changes", "cannot", "reason"),
    [
        ({}, {}, None),
        ({"declares": [LIMITS]}, {}, None),
        ({"declares": [LIMITS, STOPS]}, {}, "the plugin does not declare stop orders"),
        ({"needs": [Ability.HANG]}, {Ability.EXPIRE: "It is always open."}, None),
        (
            {"needs": [Ability.EXPIRE, Ability.HANG]},
            {Ability.HANG: "It always answers."},
            "the venue cannot take an order and never answer: It always answers.",
        ),
        (
            {"declares": [STOPS], "needs": [Ability.HANG]},
            {Ability.HANG: "It always answers."},
            "the plugin does not declare stop orders",
        ),
    ],
)
def test_reason_to_skip(changes: dict[str, Any], cannot: dict[Ability, str], reason: str | None) -> None:
    venue: Any = SimpleNamespace(cannot=cannot)
    assert made(**changes).reason_to_skip(CAPABILITIES, venue) == reason


def test_skip_when_says_all_reasons_in_a_sentence() -> None:
    assert made().skip_when == "never."
    assert made(needs=[Ability.HANG], declares=[STOPS]).skip_when == (
        "the plugin does not declare stop orders; or the venue cannot take an order and never answer."
    )


def test_cards_are_listed_by_their_numbers() -> None:
    class Suite:
        test_b = card(110)(a_test(docstring("Second.")))
        test_a = card(120)(a_test(docstring("Third.")))
        test_c = card(20)(a_test(docstring("First.")))
        test_d = a_test("No card.")
        number = 3

    assert [(name, one.number) for name, one in cards_of(Suite).items()] == [
        ("test_c", 20),
        ("test_b", 110),
        ("test_a", 120),
    ]


def test_no_two_cards_of_the_kit_share_a_number() -> None:
    numbers = Counter(one.number for one in cards_of(BrokerConformance).values())
    assert {number for number, count in numbers.items() if count > 1} == set()
    assert set(numbers) >= {10, 20, 30, 40, 80, 100, 110, 120, 130, 140, 150, 160, 170, 180, 190, 800, 810, 820, 830}


def test_every_test_of_the_kit_is_a_whole_card() -> None:
    tests = {name for name in dir(BrokerConformance) if name.startswith("test")}
    cards = cards_of(BrokerConformance)
    assert tests == set(cards)
    for one in cards.values():
        for text in (one.title, one.prerequisite, one.action, one.expected, one.if_this_fails):
            assert text[-1] in ".…", f"{one.name}: no sentence: {text}"
        assert one.catches is None or one.catches


# The guard over the cards


class Kit(BrokerConformance):
    """The kit, unchanged; collected by nobody, because of its name."""


def guard(suite: type[BrokerSuite]) -> None:
    suite().test_no_card_is_replaced()


def test_a_suite_that_adds_tests_passes() -> None:
    class Suite(Kit):
        def test_of_my_own(self) -> None: ...

    guard(Kit)
    guard(Suite)


def test_a_card_that_is_replaced_fails_the_suite() -> None:
    class Suite(Kit):
        async def test_entering(self) -> None: ...  # type: ignore[override]

    with pytest.raises(pytest.fail.Exception, match="the card test_entering was replaced without an xfail reason"):
        guard(Suite)


def test_a_card_that_is_replaced_by_a_base_of_ones_own_fails_the_suite() -> None:
    class Mixin:
        def test_entering(self) -> None: ...

    class Suite(Mixin, Kit):  # type: ignore[misc]
        """Nothing of its own."""

    with pytest.raises(pytest.fail.Exception, match="test_entering was replaced"):
        guard(Suite)


def test_a_card_that_is_removed_fails_the_suite() -> None:
    class Suite(Kit):
        test_entering = None  # type: ignore[assignment]

    with pytest.raises(pytest.fail.Exception, match="the card test_entering was removed without an xfail reason"):
        guard(Suite)


def test_a_card_that_is_excused_with_a_reason_passes() -> None:
    class Suite(Kit):
        @pytest.mark.xfail(reason="The venue closes at noon.")
        async def test_entering(self) -> None: ...  # type: ignore[override]

    guard(Suite)


@pytest.mark.parametrize("mark", [pytest.mark.xfail, pytest.mark.xfail(reason=""), pytest.mark.skip(reason="Later.")])
def test_a_card_that_is_excused_without_an_xfail_reason_fails_the_suite(mark: pytest.MarkDecorator) -> None:
    class Suite(Kit):
        test_entering = mark(a_test("Replaced."))

    with pytest.raises(pytest.fail.Exception, match="test_entering was replaced"):
        guard(Suite)


def test_the_guard_cannot_be_replaced() -> None:
    with pytest.raises(TypeError, match="Suite replaces test_no_card_is_replaced"):

        class Suite(Kit):
            def test_no_card_is_replaced(self) -> None: ...
