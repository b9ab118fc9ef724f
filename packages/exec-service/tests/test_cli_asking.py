"""`cancel` and `resolve` reach the service through the store: answered while it runs, queued while it does not."""

from __future__ import annotations

import asyncio
import getpass
import json
from pathlib import Path

import pytest
from harness import Service, World, order, until

RESTING = {"order_type": "LIMIT", "limit_price": 1, "price": 2, "time_in_force": "GTC"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A mock venue on which absence takes an hour to be proven."""
    return World(tmp_path, {"UNKNOWN_SETTLE_SECONDS": "3600"})


async def reaches(world: World, signal_id: str, *statuses: str) -> None:
    """Wait until every order of the signal has one of the statuses."""

    async def there() -> bool:
        found = await world.load("orders", {"signal_id": signal_id})
        return bool(found) and all(row["status"] in statuses for row in found)

    await until(there, seconds=40, what=f"{signal_id} is {statuses}")


async def with_resting_order(world: World, service: Service, signal_id: str = "sig_1") -> None:
    await service.ready()
    await world.publish(order(signal_id, **RESTING))
    await reaches(world, signal_id, "SUBMITTED")


async def test_a_running_service_cancels_and_the_end_is_told(world: World) -> None:
    with world.start() as service:
        await with_resting_order(world, service)
        done = await asyncio.to_thread(world.run, "cancel", "sig_1", "--reason", "changed my mind", check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "sig_1" in done.stdout
        assert "CANCELLED" in done.stdout
        again = await asyncio.to_thread(world.run, "cancel", "sig_1", check=False)
    assert (again.returncode, again.stdout) == (1, "")
    assert "CANCELLED already" in again.stderr
    (document,) = await world.load("orders", {"signal_id": "sig_1"})
    assert (document["reason_code"], document["reason"]) == ("CANCELLED_BY_USER", "changed my mind")
    (command,) = await world.load("commands")
    assert (command["who"], command["state"]) == (getpass.getuser(), "DONE")


async def test_without_a_service_a_cancel_is_queued_and_carried_out_at_the_next_start(world: World) -> None:
    with world.start() as service:
        await with_resting_order(world, service)
        assert service.stop() == 0
    done = await asyncio.to_thread(world.run, "cancel", "sig_1", "--json", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    (row,) = json.loads(done.stdout)
    assert (row["state"], row["status"]) == ("OPEN", "SUBMITTED")
    assert "next start" in row["answer"]
    status = json.loads((await asyncio.to_thread(world.run, "status", "--json")).stdout)
    assert [item["kind"] for item in status["open_commands"]] == ["cancel"]
    with world.start() as service:
        await service.ready()
        await reaches(world, "sig_1", "CANCELLED")


async def test_every_leg_is_cancelled_unless_one_is_named(world: World) -> None:
    with world.start() as service:
        await service.ready()
        await world.publish(*(order("sig_1", leg_index=leg, total_legs=3, **RESTING) for leg in range(3)))
        await reaches(world, "sig_1", "SUBMITTED")
        one = await asyncio.to_thread(world.run, "cancel", "sig_1", "--leg", "1", "--json")
        assert [row["leg_index"] for row in json.loads(one.stdout)] == [1]
        rest = await asyncio.to_thread(world.run, "cancel", "sig_1", "--json")
        assert [(row["leg_index"], row["status"]) for row in json.loads(rest.stdout)] == [
            (0, "CANCELLED"), (2, "CANCELLED"),
        ]  # fmt: skip
        missing = await asyncio.to_thread(world.run, "cancel", "sig_1", "--leg", "7", check=False)
    assert missing.returncode == 1
    assert "has no leg 7; there are: 0, 1, 2" in missing.stderr


async def test_a_person_resolves_what_nobody_can_tell(world: World) -> None:
    world.run("script", str(world.book_file), "lose-order", "--count", "2", module="exec_broker_mock")
    with world.start() as service:
        await service.ready()
        await world.publish(order("sig_1"), order("sig_2", symbol="QQQ"))
        await reaches(world, "sig_1", "UNKNOWN")
        await reaches(world, "sig_2", "UNKNOWN")
        absent = ["resolve", "sig_1", "--as", "not-placed", "--evidence", "not in the broker's list"]
        done = await asyncio.to_thread(world.run, *absent, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        filled = ["resolve", "sig_2", "--as", "filled", "--quantity", "100", "--price", "235.15", "--evidence", "call"]
        done = await asyncio.to_thread(world.run, *filled, "--json", check=False)
        assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["state"], row["status"]) == ("DONE", "FILLED")
    first, second = sorted(await world.load("orders"), key=lambda document: document["signal_id"])
    assert (first["status"], first["reason_code"]) == ("REJECTED", "NOT_PLACED")
    assert f"{getpass.getuser()}: not in the broker's list" in first["reason"]
    assert (second["status"], float(second["avg_fill_price"])) == ("FILLED", 235.15)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--as", "filled", "--evidence", "x"], "--price"),
        (["--as", "cancelled", "--price", "1", "--evidence", "x"], "takes neither --quantity nor --price"),
        (["--as", "filled", "--price", "-1", "--evidence", "x"], "not a number above zero"),
        (["--as", "filled", "--price", "NaN", "--evidence", "x"], "not a number above zero"),
        (["--as", "filled", "--price", "cheap", "--evidence", "x"], "cheap is not a number"),
        (["--as", "placed", "--evidence", "  "], "--evidence"),
        (["--as", "placed"], "--evidence"),
        (["--as", "gone", "--evidence", "x"], "gone"),
    ],
)
def test_a_resolution_that_makes_no_sense_is_wrong_usage(arguments: list[str], sentence: str) -> None:
    from click.testing import CliRunner
    from exec_service.cli import main

    result = CliRunner().invoke(main, ["resolve", "sig_1", *arguments])
    assert result.exit_code == 2
    assert sentence in result.stderr


async def test_of_several_legs_one_must_be_named_to_be_resolved(world: World) -> None:
    with world.start() as service:
        await service.ready()
        await world.publish(*(order("sig_1", leg_index=leg, total_legs=2, **RESTING) for leg in range(2)))
        await reaches(world, "sig_1", "SUBMITTED")
    command = ["resolve", "sig_1", "--as", "cancelled", "--evidence", "x"]
    done = await asyncio.to_thread(world.run, *command, check=False)
    assert done.returncode == 2
    assert "0, 1" in done.stderr
    assert "--leg" in done.stderr
    assert await world.load("commands") == []


async def test_an_unknown_order_is_exit_code_1_and_nothing_is_asked(world: World) -> None:
    with world.start() as service:
        await service.ready()
        done = await asyncio.to_thread(world.run, "cancel", "sig_99", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: There is no order with the signal_id sig_99.\n"
    assert await world.load("commands") == []
