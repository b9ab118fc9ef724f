"""Several workers share accounts: they come, go, hand over and take up, and nothing is lost, doubled or left alone."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest
from exec_broker_mock.broker import MockBroker
from exec_core.clock import utc_now
from exec_service import bootstrap, handover, taking
from exec_service.commands import command_document
from exec_service.outbox import Outbox
from exec_service.service import Service
from exec_service.stores import ACCOUNTS, COMMANDS, LeaseLost, Store, StoreError, Write
from exec_service.stores.mongo import MongoStore
from messages import order
from pydantic import SecretStr
from real_servers import MongoDatabase
from rig import Rig

T = TypeVar("T")

#: Whoever waited for it would come too late for every deadline here.
LEASE = 3600.0
SECONDS = 60.0
FOUR = {f"acc_{number}": {"name": f"Account {number}", "broker": "mock"} for number in range(1, 5)}


@pytest.fixture
def rig(rig: Rig) -> Rig:
    rig.accounts = FOUR
    rig.options["worker_lease_seconds"] = LEASE
    return rig


@asynccontextmanager
async def worker(
    rig: Rig, name: str, store: Store | None = None, *, expected: int = 1, **options: Any
) -> AsyncIterator[Service]:
    """A worker of this name, until the end of the block; it stops in good order."""
    settings = rig.settings.model_copy(update={"worker_id": name, **options})
    async with store or rig.store() as opened, rig.bus(name) as bus:
        channels = rig.channels(opened, bus)
        service = bootstrap.assemble(
            settings, opened, bus, channels, ["listener"], rig.redactor.redact, expected_workers=expected
        )
        running = asyncio.create_task(service.run())
        try:
            opening = asyncio.create_task(service.opened.wait())
            await asyncio.wait([opening, running], return_when=asyncio.FIRST_COMPLETED, timeout=SECONDS)
            opening.cancel()
            if running.done():
                await running
            yield service
        finally:
            service.stop()
            done, _ = await asyncio.wait([running], timeout=SECONDS)
            assert done, f"{name} does not stop"
            await running


async def until(condition: Callable[[], Awaitable[T] | T], what: str) -> T:
    async with asyncio.timeout(SECONDS):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found  # type: ignore[return-value]
            await asyncio.sleep(0.02)


def connected(*services: Service) -> list[int]:
    """How many accounts each has at work, with its broker's session."""
    return [sum(desk.session.attempted.is_set() for desk in service.desks.values()) for service in services]


async def shared(counts: Iterable[int], *services: Service) -> None:
    wanted = list(counts)
    await until(lambda: connected(*services) == wanted, f"they share {wanted}")


def orders(name: str, count: int) -> list[dict[str, Any]]:
    accounts = itertools.cycle(FOUR)
    return [order(f"{name}_{n}", account_id=next(accounts), symbol=f"S{n % 3}") for n in range(count)]


async def all_filled(rig: Rig, count: int) -> None:
    async def filled() -> bool:
        return len(await rig.load("orders", {"status": "FILLED"})) == count

    await rig.until(filled, f"{count} orders are filled", SECONDS)
    placed = Counter(row["signal_id"] for row in rig.at_broker())
    assert len(placed) == count
    assert set(placed.values()) == {1}


async def owners(rig: Rig) -> dict[str, str | None]:
    return {row["_id"]: row["worker_id"] for row in await rig.load(ACCOUNTS)}


async def test_who_comes_gets_its_share_and_what_it_leaves_is_taken_up_at_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "exec_service")
    async with worker(rig, "w1") as first:
        await shared([4], first)
        async with worker(rig, "w2") as second:
            await shared([2, 2], first, second)
            assert sorted([*first.desks, *second.desks]) == sorted(FOUR)
            async with worker(rig, "w3") as third:
                await shared([2, 1, 1], first, second, third)
            await until(lambda: sum(connected(first, second)) == 4, "what the third had is served")
            await rig.publish(*orders("a", 12))
            await all_filled(rig, 12)
        await shared([4], first)
        await rig.publish(*orders("b", 12))
        await all_filled(rig, 24)
        assert caplog.text.count("is handed over") == 3, "no more than had to be"
    assert await owners(rig) == dict.fromkeys(FOUR)


async def test_under_load_no_hand_over_loses_doubles_or_reorders_anything(rig: Rig) -> None:
    count = 0

    async def load(name: str) -> None:
        nonlocal count
        for number in range(6):
            await rig.publish(*orders(f"{name}{number}", 8))
            count += 8
            await asyncio.sleep(0.05)

    async with worker(rig, "w1") as first:
        for turn in range(2):
            loading = asyncio.create_task(load(f"come{turn}-"))
            async with worker(rig, "w2") as second:
                await shared([2, 2], first, second)
                await loading
                loading = asyncio.create_task(load(f"go{turn}-"))
            await loading
        await shared([4], first)
        await all_filled(rig, count)
        published = await rig.confirmations()
    revisions: dict[str, list[int]] = {}
    for message in published:
        revisions.setdefault(message["signal_id"], []).append(message["revision"])
    assert len(revisions) == count
    assert all(told == sorted(told) for told in revisions.values())
    for document in await rig.load("orders"):
        statuses = [entry["status"] for entry in document["history"]]
        assert "UNKNOWN" not in statuses, "who hands over has an answer to all it sent"


def slow_broker(patch: pytest.MonkeyPatch, name: str) -> tuple[asyncio.Event, asyncio.Event]:
    """A send of this signal that is under way for as long as one likes: it was begun, it may be answered."""
    begun, answered, place = asyncio.Event(), asyncio.Event(), MockBroker.place_order

    async def slow(self: MockBroker, placed: Any) -> Any:
        if placed.request.signal_id == name:
            begun.set()
            await answered.wait()
        return await place(self, placed)

    patch.setattr(MockBroker, "place_order", slow)
    return begun, answered


async def test_a_send_under_way_gets_its_answer_before_the_account_is_free(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, answered = slow_broker(monkeypatch, "slow")
    async with worker(rig, "w1") as first:
        await rig.publish(order("slow", account_id="acc_4"))
        await begun.wait()
        async with worker(rig, "w2") as second:
            await until(lambda: list(second.desks) == ["acc_3"], "one account has come over")
            await rig.publish(order("behind", account_id="acc_4"))
            await rig.reaches("behind", "PENDING", seconds=SECONDS)
            assert (await owners(rig))["acc_4"] == "w1"
            answered.set()
            await shared([2, 2], first, second)
            await rig.reaches("slow", "FILLED", seconds=SECONDS)
            await rig.reaches("behind", "FILLED", seconds=SECONDS)
            assert sorted(second.desks) == ["acc_3", "acc_4"]
    assert "UNKNOWN" not in [entry["status"] for entry in (await rig.order("slow"))["history"]]
    assert len(rig.at_broker("slow")) == len(rig.at_broker("behind")) == 1


async def test_an_account_whose_broker_hangs_is_kept_and_goes_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handover, "ANSWERS_SECONDS", 0.3)
    begun, answered = slow_broker(monkeypatch, "slow")
    async with worker(rig, "w1") as first:
        await rig.publish(order("slow", account_id="acc_4"))
        await begun.wait()
        async with worker(rig, "w2"):
            await until(lambda: "Account acc_4 is kept" in caplog.text, "it is kept")
            assert "acc_4" in first.desks
            # Whatever waits there is sent by who keeps it.
            await rig.publish(order("other", account_id="acc_4", symbol="QQQ"))
            await rig.reaches("other", "FILLED", seconds=SECONDS)
            assert (await owners(rig))["acc_4"] == "w1"
            await rig.publish(order("behind", account_id="acc_4"))
            await rig.reaches("behind", "PENDING", seconds=SECONDS)
            answered.set()
            await rig.reaches("behind", "FILLED", seconds=SECONDS)
    assert len(rig.at_broker("slow")) == 1


async def test_what_waits_for_delivery_goes_with_the_account_and_is_told_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker(rig, "w1") as first:
        rig.listener.fails = OSError("away")
        await rig.publish(*orders("a", 8))
        await all_filled(rig, 8)
        async with worker(rig, "w2") as second:
            await shared([2, 2], first, second)
            rig.listener.fails = None
            await rig.delivered()
            await until(lambda: len(rig.listener.heard) == 8, "all is told")
            ids = Counter(notification.id for notification in rig.listener.heard)
            assert set(ids.values()) == {1}


async def test_an_account_with_a_delivery_that_does_not_end_is_kept_and_goes_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handover, "DELIVERIES_SECONDS", 0.2)
    let_go, hangs = Outbox.let_go, {"acc_4"}

    async def never(self: Outbox, account_id: str) -> None:
        if account_id in hangs:
            await asyncio.Event().wait()
        await let_go(self, account_id)

    monkeypatch.setattr(Outbox, "let_go", never)
    async with worker(rig, "w1") as first, worker(rig, "w2"):
        await until(lambda: "Account acc_4 is kept" in caplog.text, "it is kept")
        await until(lambda: "acc_4" in first.desks, "it is taken up again")
        await rig.publish(order("sig", account_id="acc_4"))
        await rig.reaches("sig", "FILLED", seconds=SECONDS)
        assert (await owners(rig))["acc_4"] == "w1"
        hangs.clear()


async def test_an_account_that_cannot_be_freed_goes_on_where_it_is(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    free, failed = handover.free, list[str]()

    async def once(parts: Any, account_ids: Iterable[str]) -> None:
        accounts = list(account_ids)
        if accounts == ["acc_4"] and not failed:
            failed.append("acc_4")
            raise StoreError("disk I/O error")
        await free(parts, accounts)

    monkeypatch.setattr(handover, "free", once)
    async with worker(rig, "w1") as first, worker(rig, "w2"):
        await until(lambda: bool(failed) and "acc_4" in first.desks, "it is taken up again")
        await rig.publish(order("sig", account_id="acc_4"))
        await rig.reaches("sig", "FILLED", seconds=SECONDS)


async def test_commands_find_the_new_owner(rig: Rig) -> None:
    resting = order("rests", account_id="acc_4", order_type="LIMIT", limit_price=230, price=235)
    async with worker(rig, "w1") as first:
        await rig.publish(resting)
        document = await rig.reaches("rests", "SUBMITTED", seconds=SECONDS)
        async with worker(rig, "w2") as second:
            await shared([2, 2], first, second)
            asked = command_document("c1", "cancel", document["_id"], "acc_4", {}, "somebody", utc_now())
            async with rig.store() as store:
                await store.insert(COMMANDS, [asked])
            await rig.reaches("rests", "CANCELLED", seconds=SECONDS)
    (answered,) = await rig.load(COMMANDS)
    assert answered["state"] == "DONE"


async def test_those_who_were_started_together_do_not_take_what_they_would_have_to_hand_over(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "exec_service")
    async with worker(rig, "w1", expected=2) as first:
        await shared([2], first)
        async with worker(rig, "w2", expected=2) as second:
            await shared([2, 2], first, second)
            assert "is handed over" not in caplog.text


async def test_who_waits_for_others_that_do_not_come_serves_everything_after_a_lease(rig: Rig) -> None:
    async with worker(rig, "w1", expected=2, worker_lease_seconds=1.0) as first:
        await shared([4], first)


async def test_an_account_that_only_one_is_configured_for_is_that_ones(rig: Rig) -> None:
    accounts = rig.settings.accounts
    less = {key: accounts[key] for key in ("acc_1",)}
    async with worker(rig, "w1") as first, worker(rig, "w2", accounts=less) as second:
        await until(lambda: sorted(second.desks) == ["acc_1"], "it comes over")
        await shared([3, 1], first, second)


async def test_an_account_that_a_living_worker_should_take_and_does_not_is_served_after_a_lease(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that takes part in the sharing, and then claims nothing."""
    claim = taking.Taking._take

    async def idle(self: taking.Taking, account_id: str) -> None:
        if self._parts.owner.worker_id != "idle":
            await claim(self, account_id)

    monkeypatch.setattr(taking.Taking, "_take", idle)
    async with worker(rig, "idle"), worker(rig, "w2", worker_lease_seconds=1.0) as second:
        await shared([4], second)


async def test_accounts_that_nobody_configured_are_shared_as_they_turn_up(rig: Rig) -> None:
    rig.accounts = {}
    async with worker(rig, "w1") as first, worker(rig, "w2") as second:
        await rig.publish(*orders("a", 8))
        await all_filled(rig, 8)
        await shared([2, 2], first, second)


async def test_a_worker_that_lost_its_lease_says_what_it_did_not_do(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, answered = slow_broker(monkeypatch, "slow_0")
    rig.listener.fails = OSError("away")
    said = r"Lost its lease \(epoch 1, taken over by w2\): 1 orders not sent, \d+ changes not written, 1 deliveries"
    with pytest.raises(LeaseLost, match=said):
        await _taken_over_from(rig, begun)
    answered.set()


async def _taken_over_from(rig: Rig, begun: asyncio.Event) -> None:
    """Run a worker until another has its account, while one order is being sent and one waits for it."""
    async with worker(rig, "w1", worker_lease_seconds=5.0) as first:
        await rig.publish(order("told"), order("slow_0"), order("slow_1"))
        await begun.wait()
        await rig.reaches("slow_1", "PENDING", seconds=SECONDS)
        await until(lambda: first.desks["acc_1"].dispatcher.waiting == 2, "one waits behind the other")
        async with rig.store() as other:
            await other.fence("w1")
            (row,) = await other.load(ACCOUNTS, {"_id": "acc_1"})
            taken = {"revision": row["revision"] + 1, "worker_id": "w2"}
            await other.commit([Write(ACCOUNTS, "acc_1", row["revision"], taken)])
        await until(lambda: not first.desks, "it has let go")


async def test_on_mongodb_too_they_share_and_wake_each_other(rig: Rig, mongodb: MongoDatabase) -> None:
    def store() -> MongoStore:
        return MongoStore(SecretStr(mongodb.uri), mongodb.database)

    async with worker(rig, "w1", store()) as first:
        await shared([4], first)
        async with worker(rig, "w2", store()) as second:
            await shared([2, 2], first, second)
            await rig.publish(*orders("a", 12))

            async def filled() -> bool:
                async with store() as looking:
                    return len(await looking.load("orders", {"status": "FILLED"})) == 12

            await rig.until(filled, "all are filled", SECONDS)
        await shared([4], first)
    async with store() as looking:
        assert {row["worker_id"] for row in await looking.load(ACCOUNTS)} == {None}
    placed = Counter(row["signal_id"] for row in rig.at_broker())
    assert len(placed) == 12
    assert set(placed.values()) == {1}
