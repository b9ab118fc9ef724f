"""The command line."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from click.testing import CliRunner
from exec_broker_mock.__main__ import main
from exec_broker_mock.faults import FaultKind
from exec_core import ConnectionFailed, OrderType


@pytest.fixture
def file(tmp_path):
    return tmp_path / "book.db"


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def read(file) -> dict:
    return json.loads(run("book", file, "--json"))


async def test_a_book_is_printed_as_numbers_and_strings(file, connect, new_order, account):
    broker = await connect(state_file=file, partial_fills=2, commission=Decimal("1.50"))
    await broker.place_order(new_order())
    resting = {"order_type": OrderType.LIMIT, "limit_price": Decimal("9.5"), "reference_price": Decimal(10)}
    await broker.place_order(new_order("sig-2", **resting))
    data = read(file)
    order, waiting = data["orders"]
    assert order["broker_order_id"] == "mock-1"
    assert order["client_order_id"] == new_order().client_order_id
    assert (order["account_id"], order["signal_id"], order["symbol"]) == (account, "sig-1", "SPY")
    assert (order["side"], order["order_type"], order["status"]) == ("BUY", "MARKET", "FILLED")
    assert (repr(order["quantity"]), repr(order["filled_quantity"])) == ("100", "100")
    assert order["accepted_at"].endswith("Z")
    assert (waiting["limit_price"], waiting["stop_price"], waiting["status"]) == (9.5, None, "WORKING")
    assert [(fill["quantity"], fill["price"], fill["commission"]) for fill in data["fills"]] == [
        (50, 235.15, 1.5),
        (50, 235.15, 0),
    ]
    assert {fill["client_order_id"] for fill in data["fills"]} == {order["client_order_id"]}
    lines = run("book", file).splitlines()
    assert lines[0].split()[:2] == ["broker_order_id", "account_id"]
    assert "mock-1" in lines[1]


def test_a_missing_book_is_said_to_be_missing_and_not_made(file):
    assert f"there is no book {file}" in run("book", file, code=1)
    assert f"there is no book {file}" in run("act", file, "cancel", "mock-1", code=1)
    assert not file.exists()


def test_a_file_of_somebody_else_is_refused(file):
    file.write_text("hello " * 100)
    assert "is not a book" in run("book", file, code=1)


async def test_a_price_is_set_for_resting_orders(file, connect, new_order):
    broker = await connect(state_file=file)
    await broker.place_order(new_order(order_type=OrderType.LIMIT, limit_price=Decimal(9), reference_price=Decimal(10)))
    run("price", file, "SPY", "8.75")
    assert read(file)["fills"][0]["price"] == 8.75
    assert "above zero" in run("price", file, "SPY", "0", code=2)
    assert "is not a number" in run("price", file, "SPY", "x", code=2)


async def test_a_fault_scripted_before_the_service_starts_waits_for_it(file, connect, new_order):
    run("script", file, "refuse", "--signal-id", "sig-1", "--count", "1")
    broker = await connect(state_file=file)
    await broker.place_order(new_order("other"))
    with pytest.raises(ConnectionFailed):
        await broker.place_order(new_order())


def test_every_kind_of_fault_is_known_and_mistakes_are_named(file):
    for kind in FaultKind:
        assert kind.value in "".join(run("script", "--help").split())
    assert "needs seconds" in run("script", file, "hidden", code=2)


async def test_people_act_on_orders(file, connect, new_order):
    broker = await connect(state_file=file, fill_delay_seconds=3600)
    for number in range(1, 5):
        await broker.place_order(new_order(f"sig-{number}"))
    run("act", file, "cancel", "mock-1", "--reason", "by hand")
    run("act", file, "expire", "mock-2")
    run("act", file, "reject", "mock-3")
    run("act", file, "fill", "mock-4", "--quantity", "30", "--price", "200")
    run("act", file, "correct", "mock-4", "--price", "201")
    data = read(file)
    assert [order["status"] for order in data["orders"]] == ["CANCELLED", "EXPIRED", "REJECTED", "WORKING"]
    assert data["orders"][0]["reason"] == "by hand"
    assert [(fill["price"], fill["correction"], fill["superseded"]) for fill in data["fills"]] == [
        (200, 0, True),
        (201, 1, False),
    ]
    run("act", file, "bust", "mock-4")
    assert read(file)["orders"][3]["filled_quantity"] == 0
    assert "is CANCELLED already" in run("act", file, "cancel", "mock-1", code=1)
    run("act", file, "modify", "mock-4", "--quantity", "60")
    assert read(file)["orders"][3]["quantity"] == 60
    assert "no limit price" in run("act", file, "modify", "mock-4", "--limit", "9", code=1)
    assert "does not take limit, stop" in run("act", file, "fill", "mock-4", "--limit", "9", "--stop", "8", code=2)
    assert "does not take quantity" in run("act", file, "cancel", "mock-1", "--quantity", "1", code=2)
