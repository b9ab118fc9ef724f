"""Cancel and resolve: carried out by the owner, once, and answered in the same transaction."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from exec_core.clock import utc_now
from exec_service.commands import command_document
from exec_service.service import Service
from exec_service.stores import COMMANDS
from messages import order
from rig import Rig

RESTING = {"order_type": "LIMIT", "limit_price": 230, "price": 235}


async def ask(rig: Rig, name: str, kind: str, signal_id: str, **arguments: Any) -> None:
    """Write a command, as the command line does."""
    asked = await rig.order(signal_id)
    document = command_document(name, kind, asked["_id"], asked["account_id"], arguments, "ann", utc_now())
    async with rig.store() as store:
        await store.insert(COMMANDS, [document])


async def answer(rig: Rig, name: str) -> tuple[str, str]:
    """Wait for the answer to a command."""

    async def answered() -> Any:
        (document,) = await rig.load(COMMANDS, {"_id": name})
        return (document["state"], document["answer"]) if document["state"] != "OPEN" else None

    return await rig.until(answered, f"{name} is answered")


async def test_a_cancel_ends_the_order_when_the_broker_says_so(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1", **RESTING))
        await rig.reaches("sig_1", "SUBMITTED")
        await ask(rig, "c1", "cancel", "sig_1", reason="changed my mind")
        assert (await answer(rig, "c1"))[0] == "DONE"
        document = await rig.reaches("sig_1", "CANCELLED")
    assert (document["reason_code"], document["reason"]) == ("CANCELLED_BY_USER", "changed my mind")


async def test_a_cancel_before_the_order_was_sent_ends_it_unsent(rig: Rig) -> None:
    rig.faults.script("login", seconds=60)
    async with rig.service():
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "PENDING")
        await ask(rig, "c1", "cancel", "sig_1")
        document = await rig.reaches("sig_1", "CANCELLED")
    assert document["reason_code"] == "CANCELLED_BY_USER"
    assert rig.at_broker() == []


async def test_a_cancel_that_waits_for_a_service_is_carried_out_at_its_start(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1", **RESTING))
        await rig.reaches("sig_1", "SUBMITTED")
    await ask(rig, "c1", "cancel", "sig_1")
    async with rig.service():
        await rig.reaches("sig_1", "CANCELLED")


async def test_an_order_about_which_nothing_is_in_doubt_is_not_resolved(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1", **RESTING))
        await rig.reaches("sig_1", "SUBMITTED")
        await ask(rig, "c1", "resolve", "sig_1", **{"as": "filled"}, evidence="x", price="1")
        state, text = await answer(rig, "c1")
        assert (await rig.order("sig_1"))["status"] == "SUBMITTED"
    assert state == "REFUSED"
    assert "nothing about it is in doubt" in text


async def test_a_command_is_done_once_however_often_it_is_found(rig: Rig) -> None:
    rig.options["unknown_settle_seconds"] = 600
    rig.faults.script("lose-answer")
    rig.faults.script("hidden", seconds=600)
    async with rig.service() as service:
        await rig.publish(order("sig_1", **RESTING))
        await rig.reaches("sig_1", "UNKNOWN")
        await ask(rig, "c1", "resolve", "sig_1", **{"as": "filled"}, evidence="portal", quantity="40", price="229.5")
        await asyncio.gather(*(_commands(service).work() for _ in range(5)))
        state, _ = await answer(rig, "c1")
        document = await rig.order("sig_1")
    assert state == "DONE"
    assert document["filled_quantity"] == Decimal(40)
    assert len(await rig.load("fills")) == 1
    assert (await rig.position())["quantity"] == 40
    assert document["history"][-1]["evidence"] == "PERSON"
    assert document["history"][-1]["text"] == "ann: portal"


async def test_an_order_that_has_ended_is_not_resolved(rig: Rig) -> None:
    async with rig.service():
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "FILLED")
        await ask(rig, "c1", "resolve", "sig_1", **{"as": "cancelled"}, evidence="x")
        assert await answer(rig, "c1") == ("REFUSED", "The order is FILLED already")


async def test_an_unknown_order_ends_as_a_person_says_and_the_brokers_word_is_stronger(rig: Rig) -> None:
    rig.options["unknown_settle_seconds"] = 600
    rig.faults.script("lose-answer")
    rig.faults.script("hidden", seconds=3)
    async with rig.service():
        await rig.publish(order("sig_1", **RESTING))
        await rig.reaches("sig_1", "UNKNOWN")
        await ask(rig, "c1", "resolve", "sig_1", **{"as": "not-placed"}, evidence="not in the portal")
        document = await rig.reaches("sig_1", "REJECTED")
        assert document["reason_code"] == "NOT_PLACED"
        await rig.reaches("sig_1", "SUBMITTED")
        await rig.delivered()
    assert "🚨 Needs Attention" in rig.listener.titles()


def _commands(service: Service) -> Any:
    return service._parts.commands
