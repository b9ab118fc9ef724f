"""What the service needs of its topics and subscriptions, and whether it is so; for `run`, `setup` and `doctor`.

A dead-letter policy is refused because its delivery count rises with our restarts and outages: a good order would be
lost to it. A long ack deadline is refused because it is how long a killed worker's orders wait.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

from google.api_core import exceptions as api
from google.pubsub_v1 import types

from exec_service.buses import BusError
from exec_service.buses.pubsub_connection import Connection
from exec_service.buses.pubsub_errors import subscription_target, told, topic_target
from exec_service.buses.pubsub_requests import Delivery, subscription_path, topic_path
from exec_service.checks import Check, Outcome

logger = logging.getLogger(__name__)

COMPONENT: Final = "Pub/Sub"
VIEWER: Final = "roles/pubsub.viewer"
ACK_DEADLINE_SECONDS: Final = 20
LONGEST_ACK_DEADLINE_SECONDS: Final = 60
#: The checks on what `setup` cannot repair.
TOPIC, DELIVERY, ORDERING = "topic", "delivery", "message ordering"
#: What Pub/Sub calls the topic of a subscription whose topic was deleted.
DELETED_TOPIC: Final = "_deleted-topic_"
#: A day: an outage may last a night, and what is kept for less would be lost in it.
SHORTEST_RETENTION_SECONDS: Final = 86_400


async def verified(
    connection: Connection,
    project_id: str,
    topics: Sequence[str],
    subscriptions: Mapping[str, str],
    timeout_seconds: float,
) -> dict[str, Delivery | None]:
    """How each subscription delivers; None where it may not be looked at.

    :raises BusError: a topic or subscription is missing, or not as the service needs it.
    """
    problems: list[str] = []
    for name in dict.fromkeys(topics):
        try:
            with told("looking at", topic_target(project_id, name, VIEWER)):
                await connection.publisher.get_topic(
                    topic=topic_path(project_id, name), retry=None, timeout=timeout_seconds
                )
        except BusError as error:
            _judge(error, problems)
    deliveries: dict[str, Delivery | None] = {}
    for name, topic in subscriptions.items():
        deliveries[name] = None
        try:
            with told("looking at", subscription_target(project_id, name, VIEWER)):
                found = await connection.subscriber.get_subscription(
                    subscription=subscription_path(project_id, name), retry=None, timeout=timeout_seconds
                )
        except BusError as error:
            _judge(error, problems)
            continue
        deliveries[name] = Delivery.of(found)
        for check in subscription_checks(found, project_id, name, topic):
            sentence = f"{check.detail}; {check.fix}"
            if check.outcome is Outcome.FAILED:
                problems.append(sentence)
            elif check.outcome is Outcome.WARNING:
                logger.warning("%s", sentence)
    if problems:
        raise BusError(". ".join(problems))
    return deliveries


def _judge(error: BusError, problems: list[str]) -> None:
    """What is missing is a problem, what may not be looked at a warning; any other error is raised."""
    match error.__cause__:
        case api.NotFound():
            problems.append(str(error))
        case api.Forbidden():
            logger.warning("%s. It is used unseen", error)
        case _:
            raise error


def subscription_checks(found: types.Subscription, project_id: str, name: str, topic: str) -> list[Check]:
    """One check per setting of a subscription that matters, for one that should deliver `topic`."""
    raw = types.Subscription.pb(found)
    recreate = (
        f"once it is empty, run `gcloud pubsub subscriptions delete {name} --project={project_id}`, "
        "then `exec-service setup`"
    )
    return [
        _topic_check(raw, project_id, name, topic, recreate),
        _delivery_check(raw, project_id, name),
        _deadline_check(raw, project_id, name),
        _ordering_check(raw, name, recreate),
        _dead_letter_check(raw, project_id, name),
        _expiration_check(raw, project_id, name),
        _retention_check(raw, project_id, name),
        _filter_check(raw, name, recreate),
    ]


def by_hand(project_id: str, name: str, option: str) -> str:
    """The command that changes one setting of a subscription."""
    return f"run `gcloud pubsub subscriptions update {name} --project={project_id} {option}`"


def expires(raw: Any) -> bool:
    """Whether Pub/Sub deletes the subscription when nobody uses it."""
    return bool(raw.expiration_policy.ttl.seconds)


def _result(subject: str, wrong: str | None, detail: str, fix: str, outcome: Outcome = Outcome.FAILED) -> Check:
    if wrong is None:
        return Check(COMPONENT, subject, Outcome.OK, detail)
    return Check(COMPONENT, subject, outcome, wrong, fix)


def _topic_check(raw: Any, project_id: str, name: str, topic: str, recreate: str) -> Check:
    wrong = None
    if raw.topic == DELETED_TOPIC:
        wrong = f"The topic of the subscription {name} was deleted"
    elif raw.topic != topic_path(project_id, topic):
        wrong = f"The subscription {name} belongs to {raw.topic}, not to {topic_path(project_id, topic)}"
    elif raw.detached:
        wrong = f"The subscription {name} was detached from its topic {topic}"
    return _result(f"{name}, {TOPIC}", wrong, topic, recreate)


def _delivery_check(raw: Any, project_id: str, name: str) -> Check:
    wrong = None
    if raw.push_config.push_endpoint:
        wrong = f"The subscription {name} pushes its messages elsewhere, so that they cannot be pulled"
    elif raw.bigquery_config.table or raw.cloud_storage_config.bucket:
        wrong = f"The subscription {name} exports its messages, so that they cannot be pulled"
    command = f"gcloud pubsub subscriptions modify-push-config {name} --project={project_id} --push-endpoint="
    return _result(f"{name}, {DELIVERY}", wrong, "Pull", f"run `{command}`")


def _deadline_check(raw: Any, project_id: str, name: str) -> Check:
    seconds = raw.ack_deadline_seconds
    wrong = None
    if seconds > LONGEST_ACK_DEADLINE_SECONDS:
        wrong = (
            f"The subscription {name} has an ack deadline of {seconds} s, more than {LONGEST_ACK_DEADLINE_SECONDS} s: "
            "the orders of a killed worker would wait that long"
        )
    fix = _repair(project_id, name, f"--ack-deadline={ACK_DEADLINE_SECONDS}")
    return _result(f"{name}, ack deadline", wrong, f"{seconds} s", fix)


def _ordering_check(raw: Any, name: str, recreate: str) -> Check:
    wrong = None
    if not raw.enable_message_ordering:
        wrong = f"The subscription {name} does not keep the order of messages, which cannot be changed later"
    return _result(f"{name}, {ORDERING}", wrong, "On", recreate, Outcome.WARNING)


def _dead_letter_check(raw: Any, project_id: str, name: str) -> Check:
    wrong = None
    if raw.dead_letter_policy.dead_letter_topic:
        wrong = (
            f"The subscription {name} has a dead-letter policy, which would take good orders away after a few restarts"
        )
    fix = _repair(project_id, name, "--clear-dead-letter-policy")
    return _result(f"{name}, dead-letter policy", wrong, "None", fix)


def _expiration_check(raw: Any, project_id: str, name: str) -> Check:
    wrong = None
    if expires(raw):
        days = raw.expiration_policy.ttl.seconds / 86_400
        wrong = f"The subscription {name} is deleted by Pub/Sub after {days:g} days without use"
    fix = _repair(project_id, name, "--expiration-period=never")
    return _result(f"{name}, expiration", wrong, "Never", fix, Outcome.WARNING)


def _retention_check(raw: Any, project_id: str, name: str) -> Check:
    seconds = raw.message_retention_duration.seconds
    wrong = None
    if 0 < seconds < SHORTEST_RETENTION_SECONDS:
        wrong = f"The subscription {name} keeps messages for {seconds / 3600:g} h only, and an outage may last longer"
    fix = by_hand(project_id, name, "--message-retention-duration=7d")
    return _result(f"{name}, retention", wrong, f"{seconds / 86_400:g} days", fix, Outcome.WARNING)


def _filter_check(raw: Any, name: str, recreate: str) -> Check:
    wrong = f"The subscription {name} drops every message that its filter does not match" if raw.filter else None
    return _result(f"{name}, filter", wrong, "None", recreate, Outcome.WARNING)


def _repair(project_id: str, name: str, option: str) -> str:
    return f"run `exec-service setup`, or {by_hand(project_id, name, option)}"
