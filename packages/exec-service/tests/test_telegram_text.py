"""Lengths in UTF-16 code units, and a notification that is too long for Telegram."""

from __future__ import annotations

import pytest
from exec_core import Notification
from exec_service.notifiers.telegram_text import LONGEST_TEXT, fitted
from exec_service.utf16 import shortened, utf16_length, well_formed
from hypothesis import given
from hypothesis import strategies as some

EMOJI = "😀"


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("ab cd", 4, "ab…"),
        (EMOJI, 2, EMOJI),
        (EMOJI, 1, "…"),
        (EMOJI * 2, 3, f"{EMOJI}…"),
        (EMOJI * 3, 4, f"{EMOJI}…"),
        (f"a{EMOJI}b", 3, "a…"),
        ("", 1, ""),
    ],
)
def test_a_text_is_cut_between_characters_only(text: str, limit: int, expected: str) -> None:
    assert shortened(text, limit) == expected


@given(some.text(), some.integers(1, 20))
def test_a_cut_text_is_never_too_long_and_begins_as_it_did(text: str, limit: int) -> None:
    cut = shortened(text, limit)
    assert utf16_length(cut) <= limit
    assert cut == text or (cut.endswith("…") and text.startswith(cut[:-1]))


@given(some.text())
def test_the_length_is_that_of_the_encoding(text: str) -> None:
    assert utf16_length(text) == len(text.encode("utf-16-le")) // 2


def test_half_a_pair_is_replaced() -> None:
    assert well_formed("a\ud83db😀") == "a\N{REPLACEMENT CHARACTER}b😀"


def told(reason: str, **more: str) -> Notification:
    fields = (("Strategy", "S"), ("Reason", reason), ("Signal", "sig_1732450800_5678"), *more.items())
    return Notification("id", "❌ Order Rejected", fields, prefix="[PAPER]")


def test_what_fits_is_left_alone_up_to_the_last_unit() -> None:
    room = LONGEST_TEXT - utf16_length(told("").text)
    for reason in ("x" * room, EMOJI * (room // 2)):
        assert fitted(told(reason)) == told(reason).text
    assert fitted(told("x" * (room + 1))) != told("x" * (room + 1)).text


@pytest.mark.parametrize("reason", ["x" * 5_000, EMOJI * 2_100, EMOJI * 100_000, ("word " * 9_000).strip()])
def test_of_what_is_too_long_title_signal_and_all_names_stay(reason: str) -> None:
    text = fitted(told(reason, Account="Main"))
    assert LONGEST_TEXT // 4 < utf16_length(text) <= LONGEST_TEXT
    lines = text.split("\n")
    assert lines[:3] == ["[PAPER] ❌ Order Rejected", "", "Strategy: S"]
    assert lines[3].startswith("Reason: ")
    assert lines[3].endswith("…")
    assert lines[4:] == ["Signal: sig_1732450800_5678", "Account: Main"]


def test_of_too_many_fields_the_signal_stays() -> None:
    fields = (*((f"Field {number}", "x" * 50) for number in range(2_000)), ("Signal", "sig_1"))
    text = fitted(Notification("id", "Title", fields))
    assert utf16_length(text) <= LONGEST_TEXT
    assert text.startswith("Title\n\nSignal: sig_1\nField 0: ")


def test_where_all_must_become_short_the_signal_stays_whole() -> None:
    fields = (*((f"Field {number}", "x" * 500) for number in range(40)), ("Signal", "s" * 128))
    text = fitted(Notification("id", "Title", fields))
    assert text.endswith(f"…\nSignal: {'s' * 128}")
    assert text.count("Field") == 40


def test_a_title_that_is_too_long_leaves_room_for_the_signal() -> None:
    text = fitted(Notification("id", "T" * 10_000, (("Signal", "sig_1"),)))
    assert text.endswith("…\n\nSignal: sig_1")


def test_half_a_pair_does_not_get_out() -> None:
    fitted(told("\ud83d")).encode("utf-8")
    fitted(told("\ud83d" * 5_000)).encode("utf-8")
