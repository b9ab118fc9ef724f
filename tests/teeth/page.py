"""The page on the kit's teeth, `docs/conformance-teeth.md`: which broken broker fails which cards."""

from __future__ import annotations

import re
from collections.abc import Iterable

from exec_core.testing import BrokerConformance
from exec_core.testing.cards import cards_of

from teeth.table import BROKEN, RIGHT
from teeth.wrapping import Subject

HEAD = """# The teeth of the conformance kit

A test that cannot fail proves nothing. So the kit itself is tested: each broker below is the mock with one fault, and
`tests/test_teeth.py` runs the whole suite on it. It must fail exactly the cards that name the fault, and no other. Each
card from OC-100 on, save the random histories of OC-900, is failed by at least one of them.

This page is made from the table in `tests/teeth`, and a test keeps it equal to it. What the cards say stands in
[conformance.md](conformance.md).
"""
ODD = """## Unusual, and right

The contract leaves much free. These brokers use that freedom; no card may fail for them.
"""


def page() -> str:
    """The whole page."""
    titles = {card.number: card.title for card in cards_of(BrokerConformance).values()}
    failing = sorted({number for subject in BROKEN.values() for number in subject.cards})
    by_card = ["| card | it fails for |", "| --- | --- |"]
    for number in failing:
        names = [f"`{subject.name}`" for subject in BROKEN.values() if number in subject.cards]
        by_card.append(f"| OC-{number}: {_cell(titles.get(number, ''))} | {', '.join(names)} |")
    return "\n".join(
        (
            HEAD,
            f"## {len(BROKEN)} broken brokers\n",
            "| broker | its fault | stands for | fails |",
            "| --- | --- | --- | --- |",
            *(_row(subject) for subject in sorted(BROKEN.values(), key=lambda subject: sorted(subject.cards))),
            "",
            "## By card\n",
            *by_card,
            "",
            ODD,
            "| broker | what is unusual |",
            "| --- | --- |",
            *(f"| `{subject.name}` | it {_cell(subject.fault)} |" for subject in RIGHT.values()),
            "",
        )
    )


def _row(subject: Subject) -> str:
    cells = (f"`{subject.name}`", f"it {_cell(subject.fault)}", _cell(subject.stands_for), _numbers(subject.cards))
    return f"| {' | '.join(cells)} |"


def _numbers(cards: Iterable[int]) -> str:
    return ", ".join(f"OC-{number}" for number in sorted(cards))


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")
