"""A file of orders comes apart into the texts that its author wrote, or is refused with the place that is wrong."""

from __future__ import annotations

import pytest
from exec_service.cli.order_files import NotOrders, split

EXACT = '{"signal_id": "a", "quantity": 100.10, "price":1e2, "big": 12345678901234567890.000000000000000000001}'


@pytest.mark.parametrize(
    "text",
    [
        EXACT,
        f"[{EXACT}]",
        f" [ {EXACT}\n]\n",
        f"{EXACT}\n",
        f"\ufeff{EXACT}",
    ],
    ids=["an object", "an array", "an array with blanks", "a line", "with a byte order mark"],
)
def test_an_object_is_passed_on_as_it_was_written(text: str) -> None:
    (found,) = split(text.encode(), "orders.json")
    assert found.data.decode() == EXACT
    assert (found.signal_id, found.problem) == ("a", None)


@pytest.mark.parametrize(
    "text",
    [
        '[{"signal_id":"a"},{"signal_id":"b"},\n{"signal_id":"c"}]',
        '{"signal_id":"a"}\n\n{"signal_id":"b"}\r\n{"signal_id":"c"}',
        '{\n  "signal_id": "a"\n}\n{"signal_id":"b"}\n[{"signal_id":"c"}]',
    ],
    ids=["an array", "lines", "a mixture"],
)
def test_objects_come_in_the_order_of_the_file(text: str) -> None:
    assert [found.signal_id for found in split(text.encode(), "orders.json")] == ["a", "b", "c"]


def test_an_empty_array_holds_no_orders_and_is_no_mistake() -> None:
    assert split(b" [ ] ", "orders.json") == []


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            b'{"signal_id": "a"}\n{"signal_id": }\n',
            "orders.json, line 2, column 15: this is not JSON: Expecting value.",
        ),
        (b'[{"signal_id": "a"}\n {"signal_id": "b"}]', "line 2, column 2: this is not JSON: Expecting ',' or ']'."),
        (b'[{"signal_id": "a"},]', "line 1, column 21: this is not JSON: Expecting value."),
        (b'[{"signal_id": "a"}', "line 1, column 20: this is not JSON: Expecting ',' or ']'."),
        (b'{"signal_id": "a"} "b"', 'line 1, column 20: an order is a JSON object, not "b".'),
        (b'[{"signal_id": "a"}, 12.50]', "line 1, column 22: an order is a JSON object, not 12.50."),
        (b'[[{"signal_id": "a"}]]', "an order is a JSON object, not [{"),
        (b'{"signal_id": "a",\n "price": NaN}', "line 1, column 1: this is not JSON: NaN is no JSON number."),
        (b'{"signal_id": "a"}\n{"signal_id": "\xff"}', "orders.json, line 2: this is not UTF-8 text."),
        (b"[" * 2_000 + b"]" * 2_000, "this is nested too deep."),
        (b"  \n", "orders.json is empty: "),
    ],
)
def test_what_holds_no_orders_is_refused_naming_file_and_line(data: bytes, sentence: str) -> None:
    with pytest.raises(NotOrders) as error:
        split(data, "orders.json")
    assert sentence in str(error.value)
    assert str(error.value).startswith("orders.json")


@pytest.mark.parametrize(
    ("text", "signal_id", "problem"),
    [
        ('{"symbol": "SPY"}', None, "it has no signal_id"),
        ('{"signal_id": 7}', None, "it has no signal_id"),
        ('{"signal_id": "a", "side": "BUY", "side": "SELL"}', "a", 'gives "side" twice'),
        ('{"signal_id": "a", "note": "%s"}' % ("x" * 70_000), "a", "bytes long"),
    ],
    ids=["no id", "no text as id", "ambiguous", "too long"],
)
def test_an_object_that_can_be_no_order_is_passed_on_with_a_warning(
    text: str, signal_id: str | None, problem: str
) -> None:
    (found,) = split(text.encode(), "orders.json")
    assert found.data.decode() == text
    assert found.signal_id == signal_id
    assert problem in (found.problem or "")
