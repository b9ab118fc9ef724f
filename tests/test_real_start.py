"""`exec-service run` on components that cannot be used, on a real MongoDB and the Pub/Sub emulator: it ends with 1, and
one sentence says what is wrong and what to do.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from emulator import ask, delete_project
from harness import ORDERS_SUBSCRIPTION, ORDERS_TOPIC, PATIENCE, READY, Real, World, until

pytestmark = pytest.mark.timeout(400)

SETUP = "exec-service setup"
PASSWORD = "hunter2222"
#: Nobody listens there.
NOWHERE = "127.0.0.1:1"
GOOD = {"ackDeadlineSeconds": 20, "enableMessageOrdering": True}


class Places:
    """Makes worlds on projects of their own; all of them go in the end."""

    def __init__(self, directory: Path, real: Real) -> None:
        self._directory = directory
        self._real = real
        self.projects: list[str] = []

    def world(self, *missing: str, subscription: dict[str, Any] | None = None, **variables: str) -> World:
        """A world with all topics and subscriptions but the missing ones; the orders' with these settings."""
        name = f"exec-test-{uuid.uuid4().hex[:16]}"
        self.projects.append(name)
        path = f"projects/{name}"
        for topic in (ORDERS_TOPIC, "execution-confirmations", "graveyard"):
            if topic not in missing:
                ask(self._real.emulator, "PUT", f"/v1/{path}/topics/{topic}", {})
        if ORDERS_SUBSCRIPTION not in missing and ORDERS_TOPIC not in missing:
            settings = {"topic": f"{path}/topics/{ORDERS_TOPIC}", **GOOD, **(subscription or {})}
            if "deadLetterPolicy" in settings:
                settings["deadLetterPolicy"] = {"deadLetterTopic": f"{path}/topics/graveyard", "maxDeliveryAttempts": 5}
            ask(self._real.emulator, "PUT", f"/v1/{path}/subscriptions/{ORDERS_SUBSCRIPTION}", settings)
        directory = self._directory / name
        directory.mkdir()
        return World(directory, variables, replace(self._real, project=name))


@pytest.fixture
def places(tmp_path: Path, real: Real) -> Iterator[Places]:
    made = Places(tmp_path, real)
    yield made
    for project in made.projects:
        delete_project(real.emulator, project)


async def test_what_cannot_be_used_ends_the_start_with_one_and_a_sentence_that_names_the_fix(
    places: Places, standalone: str
) -> None:
    away = {"MONGODB_URI": f"mongodb://user:{PASSWORD}@{NOWHERE}/?replicaSet=rs0", "STARTUP_TIMEOUT_SECONDS": "2"}
    bus_away = {"PUBSUB_EMULATOR_HOST": NOWHERE, "STARTUP_TIMEOUT_SECONDS": "2"}
    cases = {
        "standalone": (places.world(MONGODB_URI=standalone), ("standalone", "--replSet rs0", "rs.initiate()")),
        "no orders topic": (places.world(ORDERS_TOPIC), (ORDERS_TOPIC, SETUP)),
        "no confirmations topic": (places.world("execution-confirmations"), ("execution-confirmations", SETUP)),
        "no subscription": (places.world(ORDERS_SUBSCRIPTION), (ORDERS_SUBSCRIPTION, SETUP)),
        "dead letters": (
            places.world(subscription={"deadLetterPolicy": {}}),
            ("dead-letter policy", SETUP, "--clear-dead-letter-policy"),
        ),
        "deadline": (
            places.world(subscription={"ackDeadlineSeconds": 600}),
            ("ack deadline of 600 s", SETUP, "--ack-deadline=20"),
        ),
        "MongoDB away": (places.world(**away), (f"MongoDB at {NOWHERE} cannot be reached",)),
        "Pub/Sub away": (places.world(**bus_away), (NOWHERE, "Pub/Sub")),
    }
    with ExitStack() as stack:
        running = {name: (stack.enter_context(world.start()), words) for name, (world, words) in cases.items()}
        for name, (service, words) in running.items():

            async def ended() -> bool:
                return service.process.poll() is not None  # noqa: B023  # asked before the next one's turn

            await until(ended, seconds=PATIENCE, what=f"{name}: the start ends")
            assert service.process.returncode == 1, name
            # The sentence comes last, on one line, with all that it takes.
            last = service.console.strip().splitlines()[-1]
            assert [word for word in words if word not in last] == [], f"{name}: {last}"
            assert READY not in service.console
            assert "Traceback" not in service.console, name
            assert PASSWORD not in service.console


async def test_setup_repairs_what_it_can_and_the_service_starts(places: Places) -> None:
    world = places.world("execution-confirmations", subscription={"ackDeadlineSeconds": 600, "deadLetterPolicy": {}})
    await world.set_up()
    world.variables["WORKER_ID"] = "desk-1"
    with world.start() as first:
        await first.ready()
        with world.start() as second:  # under the same id, while the first is alive
            assert await asyncio.to_thread(second.process.wait, 40) == 1
            assert "desk-1" in second.console.strip().splitlines()[-1]
            assert "Traceback" not in second.console
        assert first.process.poll() is None
        assert await asyncio.to_thread(first.stop) == 0
    with world.start() as third:
        await third.ready()
        assert await asyncio.to_thread(third.stop) == 0
