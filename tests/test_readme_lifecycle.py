"""`docs/lifecycle.md` says what the transition table says: statuses, transitions, evidence and reason codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from exec_core import OrderStatus, ReasonCode
from exec_core.orders import Evidence
from exec_core.transitions import TABLE, Next

TEXT = (Path(__file__).parents[1] / "docs" / "lifecycle.md").read_text(encoding="utf-8")


def shown(cell: Next) -> str:
    """A cell of the table in the document's signs."""
    if cell.illegal:
        return "x"
    if cell.status is None:
        leads = "falls" if cell.derive else "-"
    else:
        leads = cell.status.value
    signs = ("*" if cell.only_if_ours else "") + ("!" if cell.alarm else "")
    return leads + signs if leads != "-" else signs or "-"


def rows() -> list[str]:
    """The document's table, made from the code's."""
    head = ["event", *(status.value for status in OrderStatus)]
    lines = [head, ["---"] * len(head)]
    lines += [[trigger.value, *(shown(row[status]) for status in OrderStatus)] for trigger, row in TABLE.items()]
    return [f"| {' | '.join(line)} |" for line in lines]


def test_the_table_is_that_of_the_code():
    assert "\n".join(rows()) in TEXT


@pytest.mark.parametrize("word", [*OrderStatus, *Evidence, *(code for code in ReasonCode if code != "CONFLICT")])
def test_every_word_is_explained(word: str):
    assert f"| `{word}` |" in TEXT
