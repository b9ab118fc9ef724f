"""Tables show data as it is, whole where it matters; what people read is exact."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from exec_service.cli import output


class Terminal(io.StringIO):
    """A standard output that is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_markup_and_escapes_in_data_are_shown_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table("T", ("signal", "reason"), [("[bold]x[/bold]", ":warning: \x1b[31mred\x07\u202e")])
    text = capsys.readouterr().out
    assert "[bold]x[/bold]" in text
    assert r":warning: \x1b[31mred\x07\u202e" in text


def test_a_narrow_terminal_folds_words_and_keeps_numbers_and_ids_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    for name, value in (("COLUMNS", "60"), ("TERM", "xterm"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    reason = "the account is not configured and nothing was placed"
    identity = "sig_" + "1" * 50
    at = datetime(2024, 11, 24, 10, 30, tzinfo=UTC)
    output.print_table("T", ("received", "signal", "filled", "reason"), [(at, identity, "1234567.25", reason)])
    lines = terminal.getvalue().splitlines()
    assert any(all(part in line for part in ("2024-11-24 10:30:00", identity, "1234567.25")) for line in lines)
    assert not any(reason in line for line in lines)
    assert "…" not in terminal.getvalue()
    assert reason.split()[-1] in terminal.getvalue()


def test_a_table_that_is_piped_has_no_line_breaks_and_no_blanks_at_the_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reason = "word " * 100
    output.print_table("T", ("signal", "reason"), [("a", reason), ("b", "short")])
    text = capsys.readouterr().out
    assert reason.strip() in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_what_is_not_known_is_a_dash_never_zero(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table("T", ("signal", "average"), [("a", output.price(None, "USD"))])
    assert capsys.readouterr().out.splitlines()[-2].split() == ["a", "-"]


def test_a_table_without_rows_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table("Orders", ("signal",), [])
    output.print_table("Orders", ("signal",), [], empty="Nothing.")
    assert capsys.readouterr().out == "Orders: none\nNothing.\n"


def test_columns_that_nobody_fills_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table("T", ("signal", "leg"), [("a", None)])
    output.print_table("T", ("signal", "leg"), [("a", 0)])
    first, second = capsys.readouterr().out.strip().split("T\n")[1:]
    assert "leg" not in first
    assert "leg" in second


def test_json_is_ascii_and_times_are_utc(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json([{"reason": "₹", "quantity": Decimal("100.0"), "at": datetime(2024, 11, 24, 10, 30, tzinfo=UTC)}])
    text = capsys.readouterr().out
    assert text.isascii()
    assert '"quantity": 100,' in text
    assert '"2024-11-24T10:30:00Z"' in text


@pytest.mark.parametrize(
    ("order", "text"),
    [
        ({"side": "BUY", "quantity": Decimal("100.0"), "symbol": "SPY", "order_type": "MARKET"}, "BUY 100 SPY MARKET"),
        (
            {"side": "SELL", "quantity": Decimal("0.25"), "symbol": "BTC", "order_type": "STOP_LIMIT",
             "stop_price": Decimal("90000"), "limit_price": Decimal("89999.5")},
            "SELL 0.25 BTC STOP_LIMIT $90000.00 $89999.50",
        ),
        (
            {"side": "BUY", "cash_quantity": Decimal(500), "symbol": "BTC", "order_type": "MARKET"},
            "BUY $500.00 of BTC MARKET",
        ),
        (
            {"side": "BUY", "quantity": Decimal(2), "symbol": "SPX", "order_type": "MARKET", "expiry": "20301220",
             "strike": Decimal("5900.00"), "right": "C"},
            "BUY 2 SPX 20301220 5900 C MARKET",
        ),
        ({"symbol": "SPY"}, "? ? SPY"),
        ({}, "? ? ?"),
    ],
)  # fmt: skip
def test_an_order_is_put_in_one_line(order: dict[str, object], text: str) -> None:
    names = ("side", "quantity", "cash_quantity", "symbol", "order_type", "stop_price", "limit_price", "expiry",
             "strike", "right", "currency")  # fmt: skip
    assert output.asked({**dict.fromkeys(names), **order}) == text


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ({"quantity": 60, "stop_price": 99.5}, "modified at the broker: quantity 60, stop $99.50"),
        (None, None),
        ("somebody else's word", None),
    ],
)
def test_what_was_modified_at_the_broker_is_put_in_words(terms: object, text: str | None) -> None:
    assert output.modified({"modified": terms, "currency": "USD"}) == text
