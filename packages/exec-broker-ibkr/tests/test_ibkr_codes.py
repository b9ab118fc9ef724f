"""The table of TWS's codes: every row."""

from __future__ import annotations

import pytest
from exec_broker_ibkr.codes import Kind, cancel_reason, kind_of, sentence

ROWS = {
    Kind.REJECT: [
        *(
            200,
            201,
            203,
            106,
            107,
            109,
            163,
            382,
            383,
            451,
            110,
            111,
            113,
            116,
            133,
            135,
            10006,
            140,
            141,
            160,
            434,
            154,
        ),
        *(312, 313, 314, 315, 320, 321, 322, 325, 336, 337, 391, 355, 388, 387, 392, 403, 412, 435, 436),
        *(439, 440, 441, 442, 443, 460, 10243, 10245, 10246, 10247, 10248, 10249, 10250, 10318, 10244, 10206),
        *(10268, 10269, 10270, 10289, 10290, 10292, 10293, 10319),
    ],
    Kind.WARNING: [399, 404, 481, 10349, 10311, 10329, 2100, 2109, 2161, 2199],
    Kind.CANCEL_CONFIRMED: [202],
    Kind.CANCEL_ANSWER: [10147, 10148, 10149, 161, 136],
    Kind.LINE_LOST: [1100],
    Kind.LINE_BACK_DATA_LOST: [1101],
    Kind.LINE_BACK: [1102],
    Kind.NOTICE: [100, 502, 504, 507, 1300, 2103, 2104, 2105, 2106, 2107, 2108, 2110, 2119, 2157, 2158],
    Kind.CLIENT_ID_IN_USE: [326],
    Kind.DUPLICATE_ID: [103, 104, 105],
    Kind.DATA_ONLY: [165, 492, 10167, 10197],
    Kind.UNKNOWN: [0, -1, 1, 999, 1103, 2099, 2200, 10245000, 12345, 30000],
}


@pytest.mark.parametrize(("kind", "code"), [(kind, code) for kind, codes in ROWS.items() for code in codes])
def test_what_a_code_means(kind, code):
    assert kind_of(code) is kind


def test_no_other_code_means_anything():
    listed = {code for codes in ROWS.values() for code in codes}
    others = {code: kind_of(code) for code in range(-5, 40_000) if code not in listed and code not in range(2100, 2200)}
    assert {code for code, kind in others.items() if kind is not Kind.UNKNOWN} == set()


@pytest.mark.parametrize(
    ("code", "text", "words"),
    [
        (201, "Order rejected - reason:Insufficient margin", "Order rejected - reason:Insufficient margin (201)"),
        (201, "Line one<br>Line two<BR/>", "Line one Line two (201)"),
        (201, "", "TWS gave no reason (201)"),
        (12345, "strange", "strange (12345)"),
    ],
)
def test_tws_s_own_words_are_passed_on_with_their_code(code, text, words):
    assert sentence(code, text) == words


@pytest.mark.parametrize(
    ("code", "text", "hint"),
    [
        (321, "Error validating request. cause - The API interface is currently in Read-Only mode.", "'Read-Only API'"),
        (201, "The API is read-only", "'Read-Only API'"),
        (110, "The price does not conform to the minimum price variation", "IBKR_ROUND_PRICES"),
        (435, "You must specify an account", "IBKR_ACCOUNT"),
        (326, "Unable to connect as the client id is already in use", "IBKR_CLIENT_ID"),
        (460, "No trading permissions", "Trading Permissions"),
        (203, "The security is not available or allowed for this account", "Trading Permissions"),
        (10243, "Fractional-sized order cannot be placed via API", "whole quantity"),
        (383, "The size exceeds the limit", "precautionary limit"),
        (200, "No security definition has been found", "symbol"),
        (103, "Duplicate order id", "nothing was sent under it"),
        (10289, "You must set Cash Quantity", "cash_quantity"),
    ],
)
def test_people_are_told_what_to_do_where_tws_does_not_say(code, text, hint):
    words = sentence(code, text)
    assert words.startswith(f"{text} ({code}): ")
    assert hint in words


def test_an_error_321_that_is_not_about_reading_only_says_nothing_of_it():
    assert "Read-Only" not in sentence(321, "Error validating request: invalid account")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Order Canceled - reason:", ""),
        ("Order Canceled - reason: ", ""),
        ("Order Canceled - reason:Order expired", "Order expired"),
        ("Order Canceled - reason:a reason: of two parts", "a reason: of two parts"),
        ("Order Cancelled", ""),
        ("", ""),
        ("The reason:unclear", "The reason:unclear"),
        ("Something else", "Something else"),
    ],
)
def test_the_reason_of_a_cancel(text, reason):
    assert cancel_reason(text) == reason
