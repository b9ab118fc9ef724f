"""The soak run's own parts: its load, its verdicts, its figures."""

from __future__ import annotations

import random
from typing import Any

import pytest
from harness import encode
from soak import Telegram, untold
from soak_load import KINDS, ends_wrong, kind_of, make
from soak_measure import Point, absurd, markdown, row_of
from telegram_server import Request

ACCOUNTS = ("acc_1", "acc_2")


def test_every_kind_of_order_comes_and_what_is_none_must_become_a_dead_letter() -> None:
    load = make(2000, random.Random(1), ACCOUNTS)
    assert {kind_of(name) for name in load.signal_ids} == set(KINDS)
    assert len(load.messages) == 2000
    dicts = [message for message in load.messages if isinstance(message, dict)]
    repeats = len(dicts) - len({message["signal_id"] for message in dicts})
    assert repeats > 20
    assert len({message["signal_id"] for message in dicts}) == len(load.signal_ids)
    assert load.refused == {message for message in load.messages if isinstance(message, bytes)}
    assert any(message.startswith(encode({"signal_id": "s"})[:14]) for message in load.refused)


def ended(signal_id: str, status: str, reason_code: str | None = None) -> dict[str, Any]:
    return {"signal_id": signal_id, "status": status, "reason_code": reason_code}


@pytest.mark.parametrize(
    ("order", "wrong"),
    [
        (ended("s1-market", "FILLED"), False),
        (ended("s1-market", "CANCELLED", "TIMEOUT"), True),
        (ended("s1-market", "REJECTED", "BROKER_REJECTED"), False),
        (ended("s1-market", "REJECTED", "STALE"), True),
        (ended("s1-timeout", "CANCELLED", "TIMEOUT"), False),
        (ended("s1-timeout", "CANCELLED", "CANCELLED_BY_BROKER"), True),
        (ended("s1-unusable", "REJECTED", "INVALID"), False),
        (ended("s1-unusable", "REJECTED", "NOT_PLACED"), True),
    ],
)
def test_an_order_must_end_as_its_kind_does(order: dict[str, Any], wrong: bool) -> None:
    assert bool(ends_wrong([order])) is wrong


def notification(number: int) -> dict[str, Any]:
    return {
        "notification_id": str(number),
        "title": "✅ Order Filled",
        "fields": [["Signal", f"s{number}"]],
        "prefix": "",
    }


def sent(telegram: Telegram, text: str) -> None:
    chat_id = next(iter(telegram.chats))
    telegram.answer(
        Request("POST", f"/bot{telegram.token}/sendMessage", {}, encode({"chat_id": chat_id, "text": text}))
    )


def test_a_notification_that_telegram_never_took_is_found_unless_it_refused_it() -> None:
    rows = [notification(number) for number in range(5)]
    telegram = Telegram()
    sent(telegram, "✅ Order Filled\n\nSignal: s0")
    sent(telegram, "📋 3 Notifications\n\n✅ Order Filled: 3")
    assert untold(rows, telegram) == ["1 of 5 notifications never reached Telegram"]
    telegram.misbehave(telegram.refuses())
    sent(telegram, "✅ Order Filled\n\nSignal: s4")
    assert untold(rows, telegram) == []


def test_growth_is_the_slope_of_the_second_half_and_of_the_process_that_lives_now() -> None:
    points = [Point(float(at), 1, 500.0) for at in range(0, 600, 10)]
    points += [Point(float(at), 2, 100 + at / 3600) for at in range(600, 1200, 10)]
    row = row_of("w1 memory, MB", points, 600)
    assert (row.start, row.most) == (500, 500)
    assert row.slope == pytest.approx(1)
    assert row.minutes == pytest.approx((1190 - 660) / 60)
    assert row_of("w1 memory, MB", points[:63], 600).slope is None
    assert absurd([row]) == []
    leak = row_of("w1 open files", [Point(float(at), 1, at * 2.0) for at in range(0, 600, 10)], 0)
    assert absurd([leak]) == ["w1 open files: grows by 7200 per hour"]
    assert markdown([row]).splitlines()[-1] == "| w1 memory, MB | 500 | 300 | 500 | 100 | +1.0 | 9 |"
