"""``setup`` on Pub/Sub makes, repairs, and says what it cannot repair; on our own server and on the emulator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from exec_service.buses import BusError, BusUnavailable, Outgoing
from exec_service.buses.pubsub import PubSubBus
from exec_service.buses.pubsub_setup import set_up
from google.pubsub_v1 import SubscriberAsyncClient, types
from grpc import StatusCode
from pubsub_faults import Fail
from pubsub_server import PubSubServer

PROJECT = "project"
TOPIC, SUB, CONFIRMATIONS, CONFIRMATIONS_SUB = "orders", "orders-sub", "confirmations", "confirmations-sub"


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PubSubServer]:
    async with PubSubServer() as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
        yield server


async def run(project: str = PROJECT) -> list[str]:
    async with asyncio.timeout(60):
        return await set_up(
            project,
            orders_topic=TOPIC,
            orders_subscription=SUB,
            confirmations_topic=CONFIRMATIONS,
            confirmations_subscription=CONFIRMATIONS_SUB,
        )


def settings(server: PubSubServer, name: str) -> Any:
    return server.subscriptions[f"projects/{PROJECT}/subscriptions/{name}"].settings


MADE = [
    "The topic orders was made.",
    "The topic confirmations was made.",
    "The subscription orders-sub of the topic orders was made.",
    "The subscription confirmations-sub of the topic confirmations was made.",
]
EXISTS = [line.replace("was made", "exists") for line in MADE]


async def test_it_makes_what_the_service_needs(server: PubSubServer) -> None:
    assert await run() == MADE

    made = settings(server, SUB)
    assert made.topic == f"projects/{PROJECT}/topics/{TOPIC}"
    assert made.ack_deadline_seconds == 20
    assert made.enable_message_ordering
    assert not made.HasField("dead_letter_policy")
    assert made.HasField("expiration_policy")
    assert not made.expiration_policy.HasField("ttl")  # without the policy it would expire after 31 days
    assert settings(server, CONFIRMATIONS_SUB).topic == f"projects/{PROJECT}/topics/{CONFIRMATIONS}"
    assert settings(server, CONFIRMATIONS_SUB).enable_message_ordering
    async with PubSubBus(PROJECT, topics=[TOPIC, CONFIRMATIONS], subscriptions={SUB: TOPIC}):
        pass


async def test_a_second_run_changes_nothing(server: PubSubServer) -> None:
    await run()
    assert await run() == EXISTS
    assert server.count("CreateTopic") == server.count("CreateSubscription") == 2
    assert server.count("UpdateSubscription") == 0


async def test_two_runs_at_a_time_do_not_disturb_each_other(server: PubSubServer) -> None:
    await asyncio.gather(*(run() for _ in range(4)))
    assert await run() == EXISTS
    assert server.count("CreateTopic") > 2  # some of them met ALREADY_EXISTS


async def test_it_repairs_the_orders_subscription(server: PubSubServer) -> None:
    server.add_topic(PROJECT, TOPIC)
    server.add_subscription(
        PROJECT,
        SUB,
        TOPIC,
        ack_deadline_seconds=300,
        dead_letter_policy={"dead_letter_topic": "projects/project/topics/dead", "max_delivery_attempts": 5},
        expiration_policy={"ttl": {"seconds": 86_400}},
        message_retention_duration={"seconds": 345_600},
    )

    lines = await run()

    assert lines[2] == (
        "The subscription orders-sub of the topic orders exists; its ack deadline was 300 s and is 20 s now, its "
        "dead-letter policy (projects/project/topics/dead) was removed, it does not expire any more."
    )
    repaired = settings(server, SUB)
    assert repaired.ack_deadline_seconds == 20
    assert not repaired.HasField("dead_letter_policy")
    assert not repaired.expiration_policy.HasField("ttl")
    assert repaired.message_retention_duration.seconds == 345_600  # the rest is left alone
    assert (await run())[2] == EXISTS[2]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"enable_message_ordering": False}, "orders-sub does not keep the order .*subscriptions delete orders-sub"),
        ({"topic": "other"}, "orders-sub belongs to .*/other, not to .*/orders.*subscriptions delete orders-sub"),
        ({"push_config": {"push_endpoint": "https://example.com"}}, "orders-sub pushes .*modify-push-config"),
    ],
)
async def test_what_cannot_be_repaired_is_told_with_the_fix_and_the_rest_is_done(
    server: PubSubServer, changed: dict[str, Any], words: str
) -> None:
    server.add_topic(PROJECT, TOPIC)
    server.add_subscription(PROJECT, SUB, **{"topic": TOPIC, "ack_deadline_seconds": 60, **changed})

    with pytest.raises(BusError, match=words):
        await run()

    assert settings(server, SUB).ack_deadline_seconds == 20
    assert settings(server, CONFIRMATIONS_SUB).enable_message_ordering


async def test_the_confirmations_subscription_belongs_to_its_consumers(server: PubSubServer) -> None:
    server.add_topic(PROJECT, CONFIRMATIONS)
    server.add_subscription(PROJECT, CONFIRMATIONS_SUB, CONFIRMATIONS, ack_deadline_seconds=300)

    assert (await run())[3] == EXISTS[3]
    assert settings(server, CONFIRMATIONS_SUB).ack_deadline_seconds == 300


async def test_without_permission_it_names_the_role(server: PubSubServer) -> None:
    server.script("CreateTopic", Fail(StatusCode.PERMISSION_DENIED))
    with pytest.raises(BusError, match=r"topic orders of the project project.*roles/pubsub\.editor"):
        await run()


async def test_a_server_that_is_away_is_unavailable(server: PubSubServer) -> None:
    await server.stop()
    with pytest.raises(BusUnavailable):
        await run()


# ---------------------------------------------------------------------- on Google's emulator


async def test_the_emulator_is_set_up_and_used(pubsub_project: str) -> None:
    assert await run(pubsub_project) == MADE
    assert await run(pubsub_project) == EXISTS

    async with (
        asyncio.timeout(60),
        PubSubBus(pubsub_project, topics=[TOPIC, CONFIRMATIONS], subscriptions={SUB: TOPIC}) as bus,
    ):
        await bus.publish(TOPIC, [Outgoing(b"1", ordering_key="account")])
        (message,) = await bus.pull(SUB, 10)
        await bus.acknowledge(SUB, [message.ack_id])


@pytest.mark.parametrize("expires", [False, True])
async def test_the_emulator_is_repaired_but_for_an_expiration_which_it_cannot_change(
    pubsub_project: str, expires: bool
) -> None:
    await run(pubsub_project)
    path = f"projects/{pubsub_project}/subscriptions/{SUB}"
    wrong = types.Subscription(
        name=path,
        topic=f"projects/{pubsub_project}/topics/{TOPIC}",
        ack_deadline_seconds=120,
        enable_message_ordering=True,
        dead_letter_policy={"dead_letter_topic": f"projects/{pubsub_project}/topics/{CONFIRMATIONS}"},
        expiration_policy={"ttl": {"seconds": 86_400}} if expires else {},
    )
    subscriber = SubscriberAsyncClient()
    await subscriber.delete_subscription(subscription=path)
    await subscriber.create_subscription(request=wrong)

    if expires:
        with pytest.raises(BusError, match=r"changing the subscription orders-sub .*--expiration-period=never"):
            await run(pubsub_project)
    else:
        assert "its ack deadline was 120 s and is 20 s now, its dead-letter policy" in (await run(pubsub_project))[2]

    found = await subscriber.get_subscription(subscription=path)
    assert found.ack_deadline_seconds == 20
    assert not found.dead_letter_policy.dead_letter_topic
    await subscriber.transport.close()
