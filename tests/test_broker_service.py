"""The whole service with the brokers' own wires: it trades every kind of instrument, and is killed while it does."""

from __future__ import annotations

import random
from pathlib import Path

import chaos_brokers
import pytest
from broker_loads import ACCOUNT, BROKERS
from harness import PATIENCE, Real, order
from simulated import SimulatedWorld, VenueProcess

KILLS, ORDERS = 2, 24
#: One leg of the straddle below, on its own.
CALL = {
    "account_id": ACCOUNT,
    "symbol": "SPY",
    "instrument_type": "OPTION",
    "expiry": "20271217",
    "strike": 600,
    "right": "C",
    "quantity": 1,
}


@pytest.mark.timeout(2 * PATIENCE)
@pytest.mark.parametrize("broker", sorted(BROKERS))
async def test_killed_twice_while_it_trades_every_kind_nothing_is_lost_and_nothing_is_twice(
    broker: str, tmp_path: Path, real: Real
) -> None:
    load, dice = BROKERS[broker], random.Random(5)
    async with VenueProcess(load.package, tmp_path / "venue", load.options) as venue:
        variables = load.variables(venue.port, tmp_path) | {
            "WORKER_LEASE_SECONDS": "3",
            "UNKNOWN_SETTLE_SECONDS": "0.5",
        }
        world = SimulatedWorld(tmp_path, variables, real, venue=venue, reading=load.book)
        found = await chaos_brokers.run(world, load.messages(ORDERS, dice), KILLS, dice, bills=load.bills)
    assert found.wrong == []
    assert found.orders == ORDERS
    assert found.at_broker + len(found.not_placed) == ORDERS


async def test_a_combination_is_one_order_and_a_position_per_leg(tmp_path: Path) -> None:
    straddle = order(
        "straddle",
        account_id=ACCOUNT,
        symbol="SPY",
        instrument_type="OPTION",
        quantity=2,
        order_type="LIMIT",
        limit_price=30,
        legs=[{"expiry": "20271217", "strike": 600, "right": right, "action": "BUY", "quantity": 1} for right in "CP"],
    )
    load = BROKERS["ibkr"]
    async with VenueProcess(load.package, tmp_path / "venue", load.options) as venue:
        world = SimulatedWorld(tmp_path, load.variables(venue.port, tmp_path), venue=venue, reading=load.book)
        await world.set_up()
        with world.start() as service:
            await service.ready()
            await world.publish(straddle, order("call", **CALL))
            await world.settled(2)
            (known,) = await world.load("orders", {"signal_id": "straddle"})
            service.stop()
        positions = await world.load("positions")
        raw = venue.book()
    assert (known["status"], known["filled_quantity"]) == ("FILLED", 2)
    assert sorted(row["sec_type"] for row in raw["orders"]) == ["BAG", "OPT"]
    held = {(row["strike"], row["right"], row["side"], row["quantity"], row["multiplier"]) for row in positions}
    assert held == {(600, "C", "LONG", 3, 100), (600, "P", "LONG", 2, 100)}
