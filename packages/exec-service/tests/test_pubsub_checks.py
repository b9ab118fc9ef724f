"""What ``doctor`` finds out about Pub/Sub, without touching anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import google.auth
import pytest
from exec_service.buses.pubsub_checks import examine
from exec_service.buses.pubsub_setup import set_up
from exec_service.checks import Check, Outcome
from google.auth.exceptions import DefaultCredentialsError
from grpc import StatusCode
from pubsub_faults import Fail
from pubsub_server import PubSubServer

PROJECT, TOPIC, SUB, CONFIRMATIONS = "project", "orders", "orders-sub", "confirmations"
SETTINGS = [
    f"{SUB}, {setting}"
    for setting in (
        "topic",
        "delivery",
        "ack deadline",
        "message ordering",
        "dead-letter policy",
        "expiration",
        "retention",
        "filter",
    )
]
BASIC = ["credentials", "connection", f"topic {TOPIC}", f"topic {CONFIRMATIONS}"]
PERMISSIONS = {"pubsub.topics.publish", "pubsub.subscriptions.consume"}
#: What would change something, or take a message from those who work.
TOUCHING = {"Publish", "Pull", "Acknowledge", "ModifyAckDeadline", "CreateTopic", "CreateSubscription"}


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PubSubServer]:
    async with PubSubServer(permissions=PERMISSIONS) as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
        server.add_topic(PROJECT, TOPIC)
        server.add_topic(PROJECT, CONFIRMATIONS)
        server.add_subscription(PROJECT, SUB, TOPIC)
        yield server
        assert not TOUCHING & {method for method, requests in server.requests.items() if requests}


async def found(project: str = PROJECT) -> list[Check]:
    async with asyncio.timeout(60):
        checks = await examine(project, orders_topic=TOPIC, orders_subscription=SUB, confirmations_topic=CONFIRMATIONS)
    assert all((check.outcome is Outcome.OK) == (check.fix is None) for check in checks)
    assert all(check.component == "Pub/Sub" for check in checks)
    return checks


def wrong(checks: Sequence[Check]) -> list[Check]:
    return [check for check in checks if check.outcome is not Outcome.OK]


async def test_everything_as_it_should_be(server: PubSubServer) -> None:
    checks = await found()
    assert wrong(checks) == []
    assert [check.name for check in checks] == [*BASIC, *SETTINGS, "permission to publish", "permission to pull"]


async def test_where_permissions_cannot_be_asked_they_are_left_out(server: PubSubServer) -> None:
    server.permissions = None
    assert [check.name for check in await found()] == [*BASIC, *SETTINGS]


@pytest.mark.parametrize(
    ("settings", "name", "outcome", "fix"),
    [
        ({"ack_deadline_seconds": 90}, "ack deadline", Outcome.FAILED, "--ack-deadline=20"),
        ({"enable_message_ordering": False}, "message ordering", Outcome.WARNING, "subscriptions delete"),
        ({"topic": CONFIRMATIONS}, "topic", Outcome.FAILED, "subscriptions delete"),
        (
            {"dead_letter_policy": {"dead_letter_topic": "projects/p/topics/d"}},
            "dead-letter policy",
            Outcome.FAILED,
            "--clear-dead-letter-policy",
        ),
        ({"expiration_policy": {"ttl": {"seconds": 9}}}, "expiration", Outcome.WARNING, "--expiration-period=never"),
        ({"message_retention_duration": {"seconds": 600}}, "retention", Outcome.WARNING, "--message-retention"),
        ({"filter": "x"}, "filter", Outcome.WARNING, "subscriptions delete"),
    ],
)
async def test_a_wrong_setting_is_one_finding_with_its_fix(
    server: PubSubServer, settings: dict[str, Any], name: str, outcome: Outcome, fix: str
) -> None:
    server.add_subscription(PROJECT, SUB, **{"topic": TOPIC, **settings})
    (check,) = wrong(await found())
    assert (check.name, check.outcome) == (f"{SUB}, {name}", outcome)
    assert check.fix is not None
    assert fix in check.fix


async def test_what_is_missing_is_named_each(server: PubSubServer) -> None:
    server.forget()
    server.permissions = None
    checks = wrong(await found())
    assert [check.name for check in checks] == [f"topic {TOPIC}", f"topic {CONFIRMATIONS}", f"subscription {SUB}"]
    assert {check.fix for check in checks} == {"Run `exec-service setup`"}


async def test_a_missing_permission_names_the_role(server: PubSubServer) -> None:
    server.permissions = {"pubsub.topics.publish"}
    (check,) = wrong(await found())
    assert (check.name, check.outcome) == ("permission to pull", Outcome.FAILED)
    assert check.fix is not None
    assert "roles/pubsub.subscriber" in check.fix


async def test_who_may_not_look_is_warned_and_his_permissions_are_told(server: PubSubServer) -> None:
    server.script("GetTopic", *[Fail(StatusCode.PERMISSION_DENIED)] * 2)
    server.script("GetSubscription", Fail(StatusCode.PERMISSION_DENIED))
    checks = await found()
    assert [check.outcome for check in wrong(checks)] == [Outcome.WARNING] * 3
    assert all("roles/pubsub.viewer" in (check.fix or "") for check in wrong(checks))
    assert [check.name for check in checks][-2:] == ["permission to publish", "permission to pull"]


async def test_a_server_that_is_away_is_one_finding(server: PubSubServer) -> None:
    await server.stop()
    (check,) = wrong(await found())
    assert (check.name, check.outcome) == ("connection", Outcome.FAILED)
    assert server.host in (check.fix or "")


async def test_what_nobody_expected_is_a_finding_too(server: PubSubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> list[Check]:
        raise RuntimeError("broken")

    monkeypatch.setattr("exec_service.buses.pubsub_checks.subscription_checks", broken)
    (check,) = wrong(await found())
    assert "RuntimeError: broken" in check.detail


async def test_missing_credentials_are_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)

    def none_there(**_: Any) -> None:
        raise DefaultCredentialsError("none")

    monkeypatch.setattr(google.auth, "default", none_there)
    (check,) = await found()
    assert (check.name, check.outcome) == ("credentials", Outcome.FAILED)
    assert "gcloud auth application-default login" in (check.fix or "")


async def test_what_setup_makes_on_the_emulator_passes(pubsub_project: str) -> None:
    assert {check.outcome for check in await found(pubsub_project)} == {Outcome.OK, Outcome.FAILED}
    await set_up(
        pubsub_project,
        orders_topic=TOPIC,
        orders_subscription=SUB,
        confirmations_topic=CONFIRMATIONS,
        confirmations_subscription="confirmations-sub",
    )
    checks = await found(pubsub_project)
    assert wrong(checks) == []
    assert [check.name for check in checks] == [*BASIC, *SETTINGS]
