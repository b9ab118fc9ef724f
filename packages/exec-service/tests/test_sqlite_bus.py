"""The embedded bus: the conformance suite, and what only SQLite and process locks can do wrong."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bus_suite import (
    ARCHIVE,
    OTHER_SUBSCRIPTION,
    OTHER_TOPIC,
    PATIENCE_SECONDS,
    SUBSCRIPTION,
    SUBSCRIPTIONS,
    TOPIC,
    BusSuite,
    OpenBus,
    ack_ids,
    assert_nothing_waits,
    outgoing,
    pull,
    texts,
)
from exec_service.buses import BusError, BusUnavailable
from exec_service.buses import sqlite_queue as queue
from exec_service.buses.sqlite import SqliteBus


class TestSqliteBus(BusSuite):
    @pytest.fixture
    def open_bus(self, tmp_path: Path) -> OpenBus:
        def make(consumer: str = "consumer", *, short: bool = False) -> SqliteBus:
            return SqliteBus(tmp_path, consumer, SUBSCRIPTIONS, ack_deadline_seconds=0.3 if short else 3600)

        return make


def bus_at(path: Path, consumer: str = "consumer", **options: float) -> SqliteBus:
    return SqliteBus(path, consumer, SUBSCRIPTIONS, **{"ack_deadline_seconds": 3600, **options})


def count(path: Path, table: str) -> int:
    connection = sqlite3.connect(path / "bus.sqlite3")
    try:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        connection.close()


CHILD = """
import asyncio, sys
from pathlib import Path
from exec_service.buses import Outgoing
from exec_service.buses.sqlite import SqliteBus

async def main():
    async with SqliteBus(Path(sys.argv[1]), "consumer", {"orders-sub": "orders"}, ack_deadline_seconds=3600) as bus:
        print("ready", flush=True)
        if sys.argv[2] == "pull":
            print(len(await bus.pull("orders-sub", 100)), flush=True)
            await asyncio.Event().wait()
        number = 0
        while True:
            number += 1
            await bus.publish("orders", [Outgoing(f"{number}.{part}".encode()) for part in range(10)])
            print(number, flush=True)

asyncio.run(main())
"""


@contextmanager
def child(data_dir: Path, what: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", CHILD, str(data_dir), what], stdout=subprocess.PIPE, text=True)
    try:
        assert read_line(process) == "ready"
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def read_line(process: subprocess.Popen[str]) -> str:
    """The child's next line; the test's own time limit is the deadline."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "the child has ended"
    return line.strip()


async def test_what_a_killed_consumer_had_is_delivered_long_before_the_deadline(tmp_path: Path) -> None:
    async with bus_at(tmp_path) as bus:
        await bus.publish(TOPIC, outgoing("a", "b"))
        with child(tmp_path, "pull") as process:
            assert read_line(process) == "2"
            await assert_nothing_waits(bus)
            waiting = asyncio.create_task(bus.pull(SUBSCRIPTION, 10))
            await asyncio.sleep(0)
            process.kill()
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert texts(await waiting) == ["a", "b"]
        assert len(list((tmp_path / "locks").iterdir())) == 1  # the dead one's lock file is cleared away


async def test_kill_9_loses_nothing_that_was_published_and_leaves_no_half_publish(tmp_path: Path) -> None:
    with child(tmp_path, "publish") as process:
        assert process.stdout is not None
        for _ in range(10):
            process.stdout.readline()
        process.kill()
        rest = process.stdout.read().split()
        acknowledged = int(rest[-1]) if rest else 10

    async with bus_at(tmp_path) as bus:
        there = count(tmp_path, "deliveries WHERE subscription = 'orders-sub'")
        assert there in (acknowledged * 10, acknowledged * 10 + 10)
        expected = [f"{number}.{part}" for number in range(1, there // 10 + 1) for part in range(10)]
        assert texts(await pull(bus, there)) == expected


async def test_leaving_gives_back_at_once_what_was_not_acknowledged(tmp_path: Path) -> None:
    async with bus_at(tmp_path, "first") as first, bus_at(tmp_path, "second") as second:
        await first.publish(TOPIC, outgoing("a"))
        await pull(first, 1)
        await first.__aexit__(None, None, None)

        assert texts(await pull(second, 1)) == ["a"]


async def test_a_cancelled_pull_gives_back_at_once_what_it_took(tmp_path: Path) -> None:
    async with bus_at(tmp_path) as bus:
        for number in range(50):
            await bus.publish(TOPIC, outgoing(f"{number}"))
            pulling = asyncio.create_task(bus.pull(SUBSCRIPTION, 10))
            for _ in range(number % 10):
                await asyncio.sleep(0)
            pulling.cancel()
            outcome = (await asyncio.gather(pulling, return_exceptions=True))[0]
            messages = outcome if isinstance(outcome, list) else await pull(bus, 1)
            assert texts(messages) == [f"{number}"]
            await bus.acknowledge(SUBSCRIPTION, ack_ids(messages))


async def test_one_ordering_key_is_with_one_consumer_at_a_time(tmp_path: Path) -> None:
    async with bus_at(tmp_path, "first") as first, bus_at(tmp_path, "second") as second:
        await first.publish(TOPIC, outgoing("a1", "a2", key="a"))
        await first.publish(TOPIC, outgoing("b1", key="b"))
        messages = await first.pull(SUBSCRIPTION, 1)

        assert texts(await second.pull(SUBSCRIPTION, 10)) == ["b1"]
        await assert_nothing_waits(second)
        waiting = asyncio.create_task(second.pull(SUBSCRIPTION, 10))
        await asyncio.sleep(0)
        await first.acknowledge(SUBSCRIPTION, ack_ids(messages))

        async with asyncio.timeout(PATIENCE_SECONDS):
            assert texts(await waiting) == ["a2"]


async def test_an_ack_id_is_late_once_the_message_was_leased_again(tmp_path: Path) -> None:
    async with bus_at(tmp_path, ack_deadline_seconds=0.05) as bus:
        await bus.publish(TOPIC, outgoing("a"))
        late = await pull(bus, 1)
        await pull(bus, 1)

        await bus.acknowledge(SUBSCRIPTION, ack_ids(late))

        assert texts(await pull(bus, 1)) == ["a"]


@pytest.mark.parametrize("ack_id", ["", "x", "1", "1.", ".1", "1.1.1", "-1.1", "9" * 30 + ".1", "1." + "9" * 30, "٣.٣"])
async def test_what_is_no_ack_id_is_ignored(tmp_path: Path, ack_id: str) -> None:
    async with bus_at(tmp_path) as bus:
        await bus.publish(TOPIC, outgoing("a"))
        await pull(bus, 1)
        await bus.acknowledge(SUBSCRIPTION, [ack_id])
        await bus.acknowledge("no-such-subscription", ["1.1"])
    assert count(tmp_path, "deliveries") == 2


async def test_acknowledged_messages_leave_the_file_once_no_subscription_needs_them(tmp_path: Path) -> None:
    async with bus_at(tmp_path) as bus:
        await bus.publish(TOPIC, outgoing("a", "b"))
        await bus.publish(OTHER_TOPIC, outgoing("c"))
        await bus.acknowledge(SUBSCRIPTION, ack_ids(await pull(bus, 2)))
        assert count(tmp_path, "messages") == 3
        await bus.acknowledge(ARCHIVE, ack_ids(await pull(bus, 1, ARCHIVE)))
        assert count(tmp_path, "messages") == 2
        await bus.acknowledge(ARCHIVE, ack_ids(await pull(bus, 1, ARCHIVE)))
        await bus.acknowledge(OTHER_SUBSCRIPTION, ack_ids(await pull(bus, 1, OTHER_SUBSCRIPTION)))
    assert count(tmp_path, "messages") == count(tmp_path, "deliveries") == 0


async def test_a_topic_without_subscription_keeps_its_newest_messages_for_one_to_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "KEPT_WITHOUT_SUBSCRIPTION", 5)
    async with SqliteBus(tmp_path, "producer", {SUBSCRIPTION: TOPIC}) as bus:
        await bus.publish(TOPIC, outgoing(*(f"order {number}" for number in range(10))))
        for number in range(4):
            await bus.publish(OTHER_TOPIC, outgoing(*(f"{number}.{part}" for part in range(3))))

    assert count(tmp_path, "messages") == 10 + 5
    async with bus_at(tmp_path) as bus:
        assert texts(await pull(bus, 5, OTHER_SUBSCRIPTION)) == ["2.1", "2.2", "3.0", "3.1", "3.2"]
        assert len(await pull(bus, 10)) == 10


async def test_what_is_published_before_anybody_pulls_is_kept_by_the_publishers_subscriptions(tmp_path: Path) -> None:
    async with SqliteBus(tmp_path, "submit", {SUBSCRIPTION: TOPIC}) as submit:
        await submit.publish(TOPIC, outgoing("a"))
    async with SqliteBus(tmp_path, "service", {SUBSCRIPTION: TOPIC}) as service:
        assert texts(await pull(service, 1)) == ["a"]


async def test_a_subscription_stays_with_its_topic(tmp_path: Path) -> None:
    async with bus_at(tmp_path):
        pass

    with pytest.raises(BusError, match="belongs to the topic orders"):
        await SqliteBus(tmp_path, "consumer", {SUBSCRIPTION: "other"}).__aenter__()

    assert list((tmp_path / "locks").iterdir()) == []


async def test_a_file_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    async with bus_at(tmp_path):
        pass
    connection = sqlite3.connect(tmp_path / "bus.sqlite3")
    connection.execute("UPDATE meta SET value = 99")
    connection.commit()
    connection.close()

    with pytest.raises(BusError, match="newer release"):
        await bus_at(tmp_path).__aenter__()


async def test_a_lock_held_beyond_patience_is_unavailable(tmp_path: Path) -> None:
    async with bus_at(tmp_path, busy_timeout_seconds=0.05) as bus:
        connection = sqlite3.connect(tmp_path / "bus.sqlite3", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusUnavailable):
            await bus.publish(TOPIC, outgoing("a"))
        connection.execute("ROLLBACK")
        connection.close()

        await bus.publish(TOPIC, outgoing("b"))
        messages = await pull(bus, 1)
        assert texts(messages) == ["b"]


async def test_a_bus_can_be_entered_again_and_gets_what_it_left(tmp_path: Path) -> None:
    bus = bus_at(tmp_path)
    async with bus:
        await bus.publish(TOPIC, outgoing("a"))
        await pull(bus, 1)
    async with bus:
        assert texts(await pull(bus, 1)) == ["a"]


async def test_a_bus_that_is_left_tells_those_who_wait(tmp_path: Path) -> None:
    bus = await bus_at(tmp_path).__aenter__()
    pulling = asyncio.create_task(bus.pull(SUBSCRIPTION, 1))
    for _ in range(10):
        await asyncio.sleep(0)
    await bus.__aexit__(None, None, None)

    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(BusUnavailable):
            await pulling
    with pytest.raises(BusUnavailable):
        await bus.publish(TOPIC, outgoing("a"))


async def test_publishing_is_synced_pulling_and_acknowledging_need_not_be(tmp_path: Path) -> None:
    async with bus_at(tmp_path) as bus:
        await bus.publish(TOPIC, outgoing("a"))
        await bus.acknowledge(SUBSCRIPTION, ack_ids(await pull(bus, 1)))
        level = await bus._database.run(lambda connection: connection.execute("PRAGMA synchronous").fetchone())
    assert level == (2,)


async def test_a_pull_of_less_than_one_message_is_a_mistake(tmp_path: Path) -> None:
    async with bus_at(tmp_path) as bus:
        with pytest.raises(ValueError):
            await bus.pull(SUBSCRIPTION, 0)
