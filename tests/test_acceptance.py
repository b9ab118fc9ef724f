"""The service as users run it: a subprocess, messages in, documents, logs and confirmations out, ended by signals.

Each test twice: on the embedded components, and on a real MongoDB and the Pub/Sub emulator.
"""

from __future__ import annotations

import json
import random
import re
import signal
from pathlib import Path

import chaos
import pytest
from harness import PATIENCE, World, order, until
from invariants import check

#: Several processes each, which start slowly where all the tests run at once.
pytestmark = pytest.mark.timeout(400)

ACCOUNTS = {"acc_abc123": {"name": "IBKR Main Account", "broker": "mock"}, "acc_1": {"broker": "mock"}}


@pytest.fixture(params=["embedded", "real"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    real = request.getfixturevalue("real") if request.param == "real" else None
    made = World(tmp_path, {"ACCOUNTS": json.dumps(ACCOUNTS)}, real)
    await made.set_up()
    return made


async def test_the_order_of_the_specification_goes_its_whole_way(world: World) -> None:
    message = {
        "signal_id": "sig_1732450800_5678",
        "order_type": "MARKET",
        "symbol": "SPY",
        "side": "BUY",
        "quantity": 100,
        "account_id": "acc_abc123",
        "strategy_name": "SPX 1-Day Options",
        "stop_loss": 230.00,
        "take_profit": 240.00,
    }
    world.variables["MOCK_BROKER_PRICES"] = '{"SPY": 235.15}'
    with world.start() as service:
        await service.ready()
        await world.publish(message)
        await world.settled(1)
        assert service.stop() == 0
    (confirmation,) = await world.confirmations()
    assert {
        key: confirmation[key] for key in ("signal_id", "status", "filled_quantity", "avg_fill_price", "commission")
    } == {
        "signal_id": "sig_1732450800_5678",
        "status": "FILLED",
        "filled_quantity": 100,
        "avg_fill_price": 235.15,
        "commission": 1.0,
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", confirmation["filled_at"])
    (document,) = await world.load("execution_confirmations")
    assert document["_id"] == f"exec_{confirmation['client_order_id']}"
    assert (document["broker"], document["total_value"]) == ("MOCK", 23515.0)
    assert document["notes"].startswith("Filled in ")
    (signal,) = await world.load("signal_store")
    assert signal["_id"] == "sig_1732450800_5678"
    assert (signal["order_id"], signal["execution_status"]) == (confirmation["order_id"], "FILLED")
    (position,) = await world.load("positions")
    assert (position["side"], position["quantity"], position["status"]) == ("LONG", 100, "OPEN")
    assert position["order_ids"] == [confirmation["order_id"]]
    (row,) = world.book()["orders"]
    assert row["client_order_id"] == confirmation["client_order_id"]

    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| \[EXECUTION\] \| "
    expected = [
        "Received order: sig_1732450800_5678",
        "Placing order: BUY 100 SPY MARKET (sig_1732450800_5678)",
        f"Order submitted: {confirmation['order_id']} (sig_1732450800_5678)",
        "Order filled: 100 @ $235.15 (sig_1732450800_5678)",
        "Published execution confirmation (sig_1732450800_5678)",
    ]
    logs = world.directory / "logs"
    for text in (
        service.console,
        (logs / "execution_service.log").read_text(),
        (logs / "signal_processing.log").read_text(),
    ):
        lines = [line for line in text.splitlines() if "sig_1732450800_5678" in line]
        assert all(re.match(stamp, line) for line in lines)
        bare = [re.sub(stamp, "", line) for line in lines]
        assert [line for line in bare if line in expected] == expected
    assert "[MOCK] ✅ Order Filled | Signal: sig_1732450800_5678" in service.console


async def test_kill_minus_nine_twice_under_load_loses_and_doubles_nothing(world: World) -> None:
    """P1, P3, P5: a short run of `nox -s chaos`."""
    accounts = json.dumps({name: {"broker": "mock"} for name in chaos.ACCOUNTS})
    world.variables = {"ACCOUNTS": accounts, "UNKNOWN_SETTLE_SECONDS": "0.5", "MOCK_BROKER_PARTIAL_FILLS": "2"}
    found, wrong = await chaos.run(world, 120, 2, random.Random(5))
    assert wrong == []
    assert found.orders == 120


async def test_a_stop_finishes_what_is_under_way_and_leaves_resting_orders_at_the_broker(world: World) -> None:
    with world.start() as service:
        await service.ready()
        await world.publish(*(order(f"m_{n}", symbol=f"S{n}") for n in range(20)))
        await world.publish(order("rest", order_type="LIMIT", limit_price=1, price=50))
        await service.says("Order submitted")
        assert service.stop() == 0
    doubtful = await world.load("orders", {"status": ["SUBMITTING", "UNKNOWN"]})
    assert doubtful == []
    with world.start() as service:
        await service.ready()

        async def placed() -> bool:
            return len(world.book()["orders"]) == 21

        await until(placed, seconds=PATIENCE, what="every order is at the broker")
        assert service.stop() == 0
    (resting,) = await world.load("orders", {"signal_id": "rest"})
    assert resting["status"] == "SUBMITTED"
    (row,) = [row for row in world.book()["orders"] if row["signal_id"] == "rest"]
    assert row["status"] == "WORKING"


async def test_two_alive_under_one_worker_id_the_second_refuses_to_start(world: World) -> None:
    world.variables["WORKER_ID"] = "worker-1"
    with world.start() as first:
        await first.ready()
        with world.start() as second:
            assert second.process.wait(timeout=PATIENCE) == 1
            assert "worker-1" in second.console
            assert "Traceback" not in second.console
        first.kill()
    with world.start() as third:
        await third.ready()


async def test_another_worker_stands_by_and_takes_over_when_the_first_is_killed(world: World) -> None:
    world.variables["WORKER_LEASE_SECONDS"] = "3"
    with world.start() as first, world.start() as second:
        await first.ready()
        await second.ready()
        await world.publish(*(order(f"a_{n}", symbol=f"S{n}") for n in range(10)))
        await world.settled(10)
        for service in (first, second):
            if "Account acc_1: connected" in service.console:
                service.kill()
        await world.publish(*(order(f"b_{n}", symbol=f"S{n}") for n in range(10)))
        await world.settled(20)
    sent = [f"{name}_{n}" for name in "ab" for n in range(10)]
    assert (await check(world, sent, await world.confirmations())).wrong == []


async def test_a_worker_paused_beyond_its_lease_is_fenced_and_starts_over(world: World) -> None:
    """P1: it comes back to accounts that another worker owns, and to sends that it must not make."""
    world.variables |= {"WORKER_LEASE_SECONDS": "2", "ACCOUNTS": json.dumps({"acc_1": {"broker": "mock"}})}
    with world.start() as first:
        await first.ready()
        await world.publish(*(order(f"a_{n}", symbol=f"S{n}") for n in range(5)))
        await world.settled(5)
        first.process.send_signal(signal.SIGSTOP)
        with world.start() as second:
            await second.says("Account acc_1: connected")
            await world.publish(*(order(f"b_{n}", symbol=f"S{n}") for n in range(20)))
            first.process.send_signal(signal.SIGCONT)
            await first.says("starts over")
            await world.settled(25)
            await first.says("Account acc_1 is owned by another worker")
            assert second.stop() == 0
            await world.publish(*(order(f"c_{n}", symbol=f"S{n}") for n in range(5)))
            await world.settled(30)
        assert first.stop() == 0
    sent = [f"{name}_{n}" for name, count in (("a", 5), ("b", 20), ("c", 5)) for n in range(count)]
    assert (await check(world, sent, await world.confirmations())).wrong == []
