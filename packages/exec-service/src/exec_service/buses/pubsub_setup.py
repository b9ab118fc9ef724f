"""``exec-service setup``: makes the topics and subscriptions, and repairs what can be repaired.

Running it twice changes nothing, and two at a time do not disturb each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from google.api_core import exceptions as api
from google.pubsub_v1 import types

from exec_service.buses import BusError
from exec_service.buses.pubsub_connection import Connection, connect
from exec_service.buses.pubsub_errors import subscription_target, told, topic_target
from exec_service.buses.pubsub_requests import subscription_path, topic_path
from exec_service.buses.pubsub_verifying import (
    ACK_DEADLINE_SECONDS,
    DELIVERY,
    ORDERING,
    TOPIC,
    by_hand,
    expires,
    subscription_checks,
)
from exec_service.checks import Outcome

EDITOR: Final = "roles/pubsub.editor"
TIMEOUT_SECONDS: Final = 10.0


async def set_up(
    project_id: str,
    *,
    orders_topic: str,
    orders_subscription: str,
    confirmations_topic: str,
    confirmations_subscription: str,
) -> list[str]:
    """Make both topics with a subscription each; one sentence per thing, saying what was done.

    :raises BusError: something exists that cannot be repaired (all of it, with the fixes; the rest is done), or there
        are no credentials, or they do not allow it.
    :raises BusUnavailable: Pub/Sub does not answer.
    """
    connection = await connect(TIMEOUT_SECONDS)
    try:
        setup = _Setup(connection, project_id, [], [])
        for topic in (orders_topic, confirmations_topic):
            await setup.topic(topic)
        await setup.subscription(orders_subscription, orders_topic, repair=True)
        await setup.subscription(confirmations_subscription, confirmations_topic, repair=False)
    finally:
        await connection.close()
    if setup.problems:
        raise BusError(". ".join(setup.problems))
    return setup.done


@dataclass(frozen=True, slots=True)
class _Setup:
    connection: Connection
    project_id: str
    done: list[str]
    problems: list[str]

    async def topic(self, name: str) -> None:
        publisher, path = self.connection.publisher, topic_path(self.project_id, name)
        with told("setting up", topic_target(self.project_id, name, EDITOR)):
            try:
                await publisher.get_topic(topic=path, retry=None, timeout=TIMEOUT_SECONDS)
            except api.NotFound:
                try:
                    await publisher.create_topic(name=path, retry=None, timeout=TIMEOUT_SECONDS)
                except api.AlreadyExists:
                    pass  # somebody else has just made it: as good
                else:
                    self.done.append(f"The topic {name} was made.")
                    return
        self.done.append(f"The topic {name} exists.")

    async def subscription(self, name: str, topic: str, *, repair: bool) -> None:
        """Make it, or look at it; `repair` what is not as the service needs it."""
        subscriber, path = self.connection.subscriber, subscription_path(self.project_id, name)
        wanted = types.Subscription(
            name=path,
            topic=topic_path(self.project_id, topic),
            ack_deadline_seconds=ACK_DEADLINE_SECONDS,
            enable_message_ordering=True,
            expiration_policy=types.ExpirationPolicy(),  # without a time to live: never
        )
        with told("setting up", subscription_target(self.project_id, name, EDITOR)):
            try:
                found = await subscriber.get_subscription(subscription=path, retry=None, timeout=TIMEOUT_SECONDS)
            except api.NotFound:
                try:
                    await subscriber.create_subscription(request=wanted, retry=None, timeout=TIMEOUT_SECONDS)
                except api.AlreadyExists:
                    found = await subscriber.get_subscription(subscription=path, retry=None, timeout=TIMEOUT_SECONDS)
                else:
                    self.done.append(f"The subscription {name} of the topic {topic} was made.")
                    return
        changes = await self._repair(name, found, wanted) if repair else []
        self._judge(name, topic, found)
        self.done.append(f"The subscription {name} of the topic {topic} exists{_told(changes)}.")

    async def _repair(self, name: str, found: types.Subscription, wanted: types.Subscription) -> list[str]:
        """Change what is wrong, each by itself: the emulator cannot change all. What was changed, in words."""
        raw = types.Subscription.pb(found)
        repairs = []
        if raw.ack_deadline_seconds != ACK_DEADLINE_SECONDS:
            was = f"its ack deadline was {raw.ack_deadline_seconds} s and is {ACK_DEADLINE_SECONDS} s now"
            repairs.append(("ack_deadline_seconds", was, f"--ack-deadline={ACK_DEADLINE_SECONDS}"))
        if raw.dead_letter_policy.dead_letter_topic:
            was = f"its dead-letter policy ({raw.dead_letter_policy.dead_letter_topic}) was removed"
            repairs.append(("dead_letter_policy", was, "--clear-dead-letter-policy"))
        if expires(raw):
            was = "it does not expire any more"
            repairs.append(("expiration_policy", was, "--expiration-period=never"))
        done = []
        for path, was, option in repairs:
            try:
                with told("changing", subscription_target(self.project_id, name, EDITOR)):
                    await self.connection.subscriber.update_subscription(
                        request={"subscription": wanted, "update_mask": {"paths": [path]}},
                        retry=None,
                        timeout=TIMEOUT_SECONDS,
                    )
                done.append(was)
            except BusError as error:
                if not isinstance(error.__cause__, api.BadRequest | api.MethodNotImplemented):
                    raise
                self.problems.append(f"{error}; {by_hand(self.project_id, name, option)}")
        return done

    def _judge(self, name: str, topic: str, found: types.Subscription) -> None:
        """Note what cannot be repaired; what can be was, or is noted already."""
        for check in subscription_checks(found, self.project_id, name, topic):
            if check.outcome is not Outcome.OK and check.name.endswith((TOPIC, DELIVERY, ORDERING)):
                self.problems.append(f"{check.detail}; {check.fix}")


def _told(changes: list[str]) -> str:
    return f"; {', '.join(changes)}" if changes else ""
