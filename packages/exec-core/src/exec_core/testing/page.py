"""Makes docs/conformance.md of the cards: ``python -m exec_core.testing.page > docs/conformance.md``."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from exec_core.testing import BrokerConformance
from exec_core.testing.cards import Card, cards_of
from exec_core.testing.notifiers.far_side import FarAbility
from exec_core.testing.notifiers.suite import NotifierConformance
from exec_core.testing.venue import Ability

WIDTH: Final = 120

_INTRODUCTION: Final = """\
<!-- Made of the cards by `python -m exec_core.testing.page > docs/conformance.md`; edit them, not this page. -->

# The conformance kit

`exec_core.testing` proves that a broker plugin keeps the contract of `exec_core/broker.py`: offline, with faults, in
one command, whoever wrote it. The author of a plugin writes a **venue** (the far side: it fills, rejects, loses an
answer, cuts the line, and tells the truth about its book), and a class of a few lines. Everything else is the kit's.
Each test is a numbered **card**. Nothing is proved about sequences of reports, which venues and adapters may order and
repeat as they like; what counts is what an honest bookkeeper ends up with, and that is judged by `exec_core.lifecycle`,
the same code that the service runs on. Notifiers have a smaller kit of the same kind.

## Running it

```
pip install 'exec-core[testing]'
exec-service conformance mock                       play all cards with an installed plugin that ships its venue
exec-service conformance mock --card OC-200         only this one; may be given several times
exec-service conformance mock --profile nightly     the state machine tries much longer, with a new seed each time
exec-service conformance mock --seed 4711           the same run again
exec-service conformance mock --json                one JSON array, a row for each card
python -m exec_core.testing.running [NAME ...]      the same without the service; without a name, every plugin installed
```

Exit code 0: no card failed. 1: one did, and the summary says which and where to look. 2: the plugin cannot be proved
here; a sentence says why. The run takes place in a process and an empty directory of its own, without your
`pytest.ini`, `conftest.py`, `.env` or `exec.toml`, with no pytest plugin but the kit's, **and without the plugin's own
variables**: those of a real account never reach it. Warnings are errors.

## Proving a plugin of your own

Write a `Venue` (`exec_core/testing/venue.py`; the mock's is `exec_broker_mock/conformance.py`), and:

```python
from exec_core.testing import BrokerConformance

from exec_broker_mock.conformance import MockVenue


class TestMock(BrokerConformance):
    plugin = "mock"
    venue = MockVenue
```

[writing-a-broker.md](writing-a-broker.md) leads there step by step. A venue that speaks the wire of the real one proves
the most, for then the adapter and its client library cannot tell. A notifier has a `FarSide`
(`exec_core/testing/notifiers/far_side.py`) and `NotifierConformance`.

It runs with plain `pytest`. `-p exec_core.testing.summary`, in `addopts` or on the command line, or `pytest_plugins =
["exec_core.testing.summary"]` in the topmost `conftest.py`, adds the summary, and the options `--conformance-card
OC-200` and `--conformance-json FILE`; it works under pytest-xdist, too.

To let others prove the plugin where it is installed, ship the module (a test class in it must begin with `Test`) and
name it:

```toml
[project.optional-dependencies]
testing = ["exec-core[testing]"]

[project.entry-points."exec_core.conformance"]
acme = "exec_broker_acme.conformance"
```

**What cannot be.** What the venue cannot do stands in `Venue.cannot`, with the reason; what the plugin does not do is
not in its `Capabilities`. The cards that need it are skipped, and the summary says why. Where the adapter does not keep
what a card asks, replace that test in your class by one that is marked `@pytest.mark.xfail(reason="...")`: it is listed
as excused, with the reason. A card that is replaced or removed in silence fails [OC-10](#oc-10).

**What it does not prove.** That your venue behaves as the real one. Record the real one's answers and let your venue
give them; and let a session on a paper account, with tiny orders and flat at the end, be a test of the plugin's own.

## What a result means

| level | what it means | how |
|---|---|---|
| conformant | every card passed or was skipped, and no skip surprises you | `exec-service conformance NAME` |
| conformant, with exceptions | cards are excused: read the reasons before you trade with it | the same |
| nightly | the state machine found nothing in a long run with a new seed | `--profile nightly` |

A result counts for one version of the kit and one of the plugin; the summary and the JSON name both.

## How to read a card

Its number never changes and is never used again; numbers are ten apart, so that one fits between. **Prerequisite** is
what the card needs, **Action** what it does, **Expected** what must come true, within the suite's `patience_seconds`.
**Skipped when** names what the plugin need not declare, and the venue need not be able to do. **If this fails** says
where in an adapter to look. **Would have caught** names a public bug of another system that this card is about.

## Versions

The kit has the version of `exec-core`. New cards, and cards that ask for more, come in minor releases only, never in a
patch: a suite that passed passes again after any patch. A card that asked for something wrong may be corrected in a
patch. A card that is dropped keeps its number. Pin the minor version in your continuous integration
(`exec-core[testing]~=X.Y.0`), and look at new cards when you raise it.
"""


def page() -> str:
    """The whole page."""
    lines = [_INTRODUCTION.rstrip()]
    for title, suite, abilities, far_side in (
        ("Cards of brokers", BrokerConformance, Ability, "venue"),
        ("Cards of notifiers", NotifierConformance, FarAbility, "far side"),
    ):
        cards = list(cards_of(suite).values())
        lines += ["", f"## {title}", "", f"{len(cards)} cards. What a {far_side} may be unable to do:", ""]
        lines += [f"| `cannot` | the {far_side} cannot | skipped without it |", "|---|---|---|"]
        lines += [_ability_row(ability, cards) for ability in abilities]
        for heading, text, members in groups(suite):
            lines += ["", f"### {heading}", "", _wrapped(text)]
            for member in members:
                lines += ["", *_card(member)]
    return "\n".join(lines) + "\n"


def groups(suite: type) -> Iterator[tuple[str, str, list[Card]]]:
    """The groups of cards of a suite: a heading, what they are about, and the cards by their numbers."""
    own = {base: [one for one in cards_of(base).values() if one.name in _names(base)] for base in _bases(suite)}
    common = [one for base in own if _is_common(base) for one in own[base]]
    found = [(base, cards) for base, cards in own.items() if cards and not _is_common(base)]
    found.sort(key=lambda item: min(card.number for card in item[1]))
    for number, (base, cards) in enumerate(found):
        members = sorted(cards if number else [*common, *cards], key=lambda card: card.number)
        heading, text = _about(base, [other for other, _ in found])
        hundreds = sorted({card.number // 100 for card in members})
        yield f"{heading} ({', '.join(f'{hundred}xx' for hundred in hundreds)})", text, members


def _bases(suite: type) -> list[type]:
    return [base for base in suite.__mro__ if base is not object]


def _names(base: type) -> set[str]:
    """The cards that a class itself defines."""
    return {one.name for name, one in cards_of(base).items() if name in vars(base)}


def _is_common(base: type) -> bool:
    """Whether it is the class that every suite stands on."""
    return base.__name__.endswith("Suite")


def _about(base: type, others: list[type]) -> tuple[str, str]:
    """A heading and a text: of the module, where the class has it for itself."""
    module = inspect.getmodule(base)
    alone = [other for other in others if other.__module__ == base.__module__] == [base]
    named = re.fullmatch(r"Cards on ([^:]+): (.*)", _first_paragraph(module) if alone else "")
    if named is not None:
        subject, text = named.groups()
        return subject[0].upper() + subject[1:], text[0].upper() + text[1:]
    words = re.findall(r"[A-Z][a-z]*", base.__name__.removesuffix("Cards"))
    return " ".join(words).capitalize() + "s" * (not words[-1].endswith("s")), _first_paragraph(base)


def _first_paragraph(about: object) -> str:
    return " ".join((inspect.getdoc(about) or "").split("\n\n", 1)[0].split())


def _ability_row(ability: StrEnum, cards: list[Card]) -> str:
    needing = [f"[{card.name}](#{card.name.lower()})" for card in cards if ability in card.needs]
    return f"| `{ability.name}` | {ability.value} | {', '.join(needing) or '-'} |"


def _card(card: Card) -> list[str]:
    parts = {
        "Prerequisite": card.prerequisite,
        "Action": card.action,
        "Expected": card.expected,
        "Skipped when": card.skip_when,
        "If this fails": card.if_this_fails,
        "Would have caught": card.catches,
    }
    listed = [_wrapped(f"- **{name}:** {text}", indent="  ") for name, text in parts.items() if text]
    return [f"#### {card.name}", "", _wrapped(f"**{_plain(card.title)}**"), "", *listed]


def _plain(title: str) -> str:
    """Marks within bold text would end it."""
    return title.replace("**", "")


def _wrapped(text: str, indent: str = "") -> str:
    text = text.replace("``", "`")
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.write(page())
