"""Numbered cards: what a test of the kit is about, in words, beside the code that checks it.

A card's number is never used again for something else; numbers are ten apart, so that one (a five) fits between. The
text is the test's docstring, in five parts; `docs/conformance.md` is made of them (`exec_core.testing.page`).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

import pytest

from exec_core.capabilities import Capabilities
from exec_core.testing.venue import Venue

Test = TypeVar("Test", bound=Callable[..., Any])

_PARTS: Final = ("Prerequisite", "Action", "Expected", "If this fails", "Catches")
_ATTRIBUTE: Final = "__exec_card__"
_GUARD: Final = "test_no_card_is_replaced"

#: The cards of brokers, and those of notifiers; what each calls its far side.
BROKER_CARDS: Final = "OC"
NOTIFIER_CARDS: Final = "NC"
_FAR_SIDES: Final = {BROKER_CARDS: "venue", NOTIFIER_CARDS: "far side"}


@dataclass(frozen=True, slots=True)
class Declares:
    """What a plugin must declare for a card to make sense; `text` completes "the plugin declares ..."."""

    text: str
    holds: Callable[[Capabilities], bool]


@dataclass(frozen=True, slots=True)
class Card:
    """One thing that a plugin must get right."""

    number: int
    title: str
    prerequisite: str
    action: str
    expected: str
    if_this_fails: str
    catches: str | None
    needs: tuple[StrEnum, ...]
    declares: tuple[Declares, ...]
    prefix: str = BROKER_CARDS

    @property
    def name(self) -> str:
        """``OC-120``; a notifier's: ``NC-120``."""
        return f"{self.prefix}-{self.number}"

    @property
    def skip_when(self) -> str:
        """When it is skipped, as one sentence."""
        reasons = [f"the plugin does not declare {one.text}" for one in self.declares]
        reasons += [f"the {_FAR_SIDES[self.prefix]} cannot {ability}" for ability in self.needs]
        return f"{'; or '.join(reasons)}." if reasons else "never."

    def reason_to_skip(self, capabilities: Capabilities, venue: Venue) -> str | None:
        """Why it is skipped for this plugin at this venue; None if it is not."""
        for one in self.declares:
            if not one.holds(capabilities):
                return f"the plugin does not declare {one.text}"
        return self.reason_it_cannot(venue.cannot)

    def reason_it_cannot(self, cannot: Mapping[Any, str]) -> str | None:
        """Why it is skipped at a far side that cannot do these things; None if it is not."""
        for ability in self.needs:
            if ability in cannot:
                return f"the {_FAR_SIDES[self.prefix]} cannot {ability}: {cannot[ability]}"
        return None


def card(
    number: int,
    *,
    needs: Iterable[StrEnum] = (),
    declares: Iterable[Declares] = (),
    prefix: str = BROKER_CARDS,
) -> Callable[[Test], Test]:
    """Make a test a card. Its docstring: a title, then the parts, each a paragraph that begins with its name.

    :raises ValueError: a part is missing, or the number is not a multiple of five.
    """

    def mark(test: Test) -> Test:
        setattr(test, _ATTRIBUTE, _read(test, number, tuple(needs), tuple(declares), prefix))
        if inspect.iscoroutinefunction(test):
            marked: Test = pytest.mark.asyncio(test)
            return marked
        return test

    return mark


def card_of(test: object) -> Card | None:
    """The card of a test; None where it is not one of the kit's."""
    found = getattr(test, _ATTRIBUTE, None)
    return found if isinstance(found, Card) else None


def cards_of(suite: type) -> dict[str, Card]:
    """The cards of a suite by the names of their tests, in the order of their numbers."""
    found = {name: card_of(inspect.getattr_static(suite, name)) for name in dir(suite)}
    cards = {name: one for name, one in found.items() if one is not None}
    return dict(sorted(cards.items(), key=lambda item: item[1].number))


class Guarded:
    """A suite whose test `test_no_card_is_replaced` cannot be replaced itself."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # The kit's own suites, which begin with this class, are where it is defined.
        if _GUARD in vars(cls) and Guarded not in cls.__bases__:
            raise TypeError(f"{cls.__name__} replaces {_GUARD}, the test that tells whether tests were replaced")


def fail_if_a_card_is_replaced(suite: type) -> None:
    """Each card that the suite inherits from the kit is the kit's own, or is marked ``xfail`` with a reason."""
    for base in suite.__mro__:
        if not base.__module__.startswith("exec_core.testing"):
            continue
        for name in cards_of(base):
            ours = inspect.getattr_static(suite, name, None)
            if ours is inspect.getattr_static(base, name) or _is_excused(ours):
                continue
            pytest.fail(f"the card {name} was {'removed' if ours is None else 'replaced'} without an xfail reason")


def _is_excused(test: object) -> bool:
    marks: list[pytest.Mark] = getattr(test, "pytestmark", [])
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)


def _read(
    test: Callable[..., Any], number: int, needs: tuple[StrEnum, ...], declares: tuple[Declares, ...], prefix: str
) -> Card:
    name = f"{prefix}-{number} ({test.__qualname__})"
    if number <= 0 or number % 5:
        raise ValueError(f"{name}: cards are numbered in tens, and in fives between them")
    title, *paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:" + "|".join(_PARTS) + "):)", inspect.getdoc(test) or "")
    parts: dict[str, str] = {}
    for paragraph in paragraphs:
        label, colon, text = paragraph.strip().partition(":")
        if not colon or label not in _PARTS:
            raise ValueError(f"{name}: a paragraph of the docstring begins with none of {', '.join(_PARTS)}")
        if label in parts:
            raise ValueError(f"{name}: the docstring has the part {label} twice")
        parts[label] = " ".join(text.split())
    missing = [part for part in _PARTS[:4] if not parts.get(part)]
    if missing or not title.strip():
        raise ValueError(f"{name}: the docstring lacks {', '.join(missing) or 'a title'}")
    prerequisite, action, expected, if_this_fails = (parts[part] for part in _PARTS[:4])
    catches = parts.get("Catches")
    return Card(
        number, " ".join(title.split()), prerequisite, action, expected, if_this_fails, catches, needs, declares, prefix
    )
