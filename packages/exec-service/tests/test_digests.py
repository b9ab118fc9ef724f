"""Many notifications told as one: counted, those that need a person first, and never too long."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from exec_core import Notification
from exec_core.orders import ReasonCode
from exec_service import notices
from exec_service.digests import LONGEST_DIGEST, PRESSING, ROUTINE, digest
from exec_service.utf16 import utf16_length
from hypothesis import given
from hypothesis import strategies as some

FILLED, PARTIAL, TIMED_OUT = "✅ Order Filled", "⚠️ Partial Fill", "⏱ Order Timed Out"
REJECTED, UNKNOWN, ALARM = "❌ Order Rejected", "❓ Outcome Unknown", "🚨 Needs Attention"


def one(title: str, number: int, *, prefix: str = "", reason: str = "Insufficient margin") -> Notification:
    fields = (
        ("Signal", f"sig_{number}"),
        ("Strategy", "Trend"),
        ("Order", "BUY 100 SPY"),
        ("Reason", reason),
        ("Account", "Main"),
    )
    return Notification(f"{title}-{number}", title, fields[:3] if title == FILLED else fields, prefix)


def many(**counts: int) -> list[Notification]:
    titles = {"filled": FILLED, "partial": PARTIAL, "rejected": REJECTED, "unknown": UNKNOWN, "alarm": ALARM}
    return [one(titles[kind], number) for kind, count in counts.items() for number in range(count)]


@pytest.mark.parametrize(
    ("notifications", "text"),
    [
        (many(filled=25), "📋 25 Notifications\n\n✅ Order Filled: 25"),
        (
            many(filled=20, partial=3, rejected=1, unknown=1),
            "📋 25 Notifications\n"
            "\n"
            "❓ Outcome Unknown: 1\n"
            "❌ Order Rejected: 1\n"
            "⚠️ Partial Fill: 3\n"
            "✅ Order Filled: 20\n"
            "❓ Outcome Unknown: sig_0 | BUY 100 SPY | Main | Insufficient margin\n"
            "❌ Order Rejected: sig_0 | BUY 100 SPY | Main | Insufficient margin",
        ),
        (
            [one(FILLED, 1, prefix="[PAPER]"), one(REJECTED, 2, prefix="[PAPER]", reason="No\n\nSignal: sig_3")],
            "[PAPER] 📋 2 Notifications\n"
            "\n"
            "❌ Order Rejected: 1\n"
            "✅ Order Filled: 1\n"
            "❌ Order Rejected: sig_2 | BUY 100 SPY | Main | No Signal: sig_3",
        ),
        (
            [one(FILLED, 1, prefix="[PAPER]"), one(FILLED, 2), one(REJECTED, 3, prefix="[MOCK]"), one(REJECTED, 4)],
            "📋 4 Notifications\n"
            "\n"
            "❌ Order Rejected: 1\n"
            "[MOCK] ❌ Order Rejected: 1\n"
            "✅ Order Filled: 1\n"
            "[PAPER] ✅ Order Filled: 1\n"
            "❌ Order Rejected: sig_4 | BUY 100 SPY | Main | Insufficient margin\n"
            "[MOCK] ❌ Order Rejected: sig_3 | BUY 100 SPY | Main | Insufficient margin",
        ),
        (
            [
                notices.message_refused("L1", ReasonCode.INVALID, "the message is not JSON", None),
                notices.message_refused("L2", ReasonCode.CONFLICT, "used before", "sig_9"),
                notices.needs_attention("A1", "Look", account="Main"),
            ],
            "📋 3 Notifications\n"
            "\n"
            "🚨 Needs Attention: 1\n"
            "⚠️ Conflicting Order: 1\n"
            "⚠️ Message Refused: 1\n"
            "🚨 Needs Attention: Main | Look\n"
            "⚠️ Conflicting Order: sig_9 | used before\n"
            "⚠️ Message Refused: could not be read | the message is not JSON",
        ),
        (
            [one(FILLED, 1), Notification("x", "🆕 Of Tomorrow")],
            "📋 2 Notifications\n\n🆕 Of Tomorrow: 1\n✅ Order Filled: 1\n🆕 Of Tomorrow: nothing more is known",
        ),
    ],
)
def test_it_says_this(notifications: Sequence[Notification], text: str) -> None:
    assert digest(notifications).text == text


def test_a_thousand_are_counted_and_what_does_not_fit_too() -> None:
    told = digest(many(filled=900, rejected=90, unknown=9, alarm=1))
    lines = told.text.split("\n")
    assert lines[0] == "📋 1,000 Notifications"
    assert lines[2:6] == [f"{ALARM}: 1", f"{UNKNOWN}: 9", f"{REJECTED}: 90", f"{FILLED}: 900"]
    named = lines[6:-1]
    assert [line.split(":")[0] for line in named[:11]] == [ALARM, *[UNKNOWN] * 9, REJECTED]
    assert all("sig_" in line for line in named)
    assert lines[-1] == f"Not shown: and {100 - len(named)} more"
    # One more line would not have fitted.
    assert LONGEST_DIGEST - 80 < utf16_length(told.text) <= LONGEST_DIGEST


@pytest.mark.parametrize("limit", range(150, 300))
def test_wherever_the_limit_falls_the_last_line_has_room(limit: int) -> None:
    told = digest(many(rejected=12), limit)
    assert utf16_length(told.text) <= limit
    assert told.fields[-1] == ("Not shown", f"and {12 - (len(told.fields) - 2)} more")


def test_in_a_kind_the_oldest_stands_first() -> None:
    assert [value.split()[0] for _, value in digest(many(rejected=3)).fields[1:]] == ["sig_0", "sig_1", "sig_2"]


@given(some.lists(some.tuples(some.sampled_from([*PRESSING, *ROUTINE]), some.text(), some.text()), min_size=1))
def test_it_is_never_too_long_and_counts_everybody(kinds: list[tuple[str, str, str]]) -> None:
    notifications = [
        Notification(str(number), title, (("Signal", signal), ("Reason", reason)))
        for number, (title, signal, reason) in enumerate(kinds)
    ]
    told = digest(notifications, limit=600)
    assert utf16_length(told.text) <= 600
    counted = dict(told.fields[: len({title for title, _, _ in kinds})])
    assert sum(map(int, counted.values())) == len(kinds)


def test_its_id_is_that_of_those_it_stands_for() -> None:
    some_of_them = many(filled=25)
    assert digest(some_of_them).id == digest(list(some_of_them)).id
    assert digest(some_of_them).id != digest(some_of_them[1:]).id


def test_every_title_of_the_services_notifications_is_known() -> None:
    """One that is not would be taken for the most pressing of all."""
    source = notices.__loader__.get_source(notices.__name__)  # type: ignore[union-attr]
    titles = {word for word in source.split('"') if word[:1] in {title[:1] for title in (*PRESSING, *ROUTINE)}}
    assert titles == {*PRESSING, *ROUTINE}
