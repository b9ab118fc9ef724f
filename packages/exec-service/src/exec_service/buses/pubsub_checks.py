"""What ``exec-service doctor`` says about Pub/Sub. It only looks: nothing is pulled, published or changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from google.api_core import exceptions as api

from exec_service.buses import BusError, BusUnavailable
from exec_service.buses.pubsub_connection import Connection, connect, emulator_host
from exec_service.buses.pubsub_errors import LOGIN, Target, explained, subscription_target, told, topic_target
from exec_service.buses.pubsub_requests import subscription_path, topic_path
from exec_service.buses.pubsub_verifying import COMPONENT, VIEWER, subscription_checks
from exec_service.checks import Check, Outcome

TIMEOUT_SECONDS: Final = 10.0


async def examine(
    project_id: str, *, orders_topic: str, orders_subscription: str, confirmations_topic: str
) -> list[Check]:
    """Credentials, connection, topics, subscription, permissions; raises nothing."""
    try:
        connection = await connect(TIMEOUT_SECONDS)
    except BusError as error:
        return [_capitalised(Check(COMPONENT, "credentials", Outcome.FAILED, str(error), LOGIN))]
    host = emulator_host()
    detail = "found" if host is None else f"the emulator at {host} asks for none"
    checks = [Check(COMPONENT, "credentials", Outcome.OK, detail)]
    examination = _Examination(connection, project_id, checks)
    try:
        await examination.run(orders_topic, orders_subscription, confirmations_topic)
    except BusUnavailable as error:
        fix = f"see that {connection.place} is up and can be reached from here, then run `exec-service doctor` again"
        checks.append(Check(COMPONENT, "connection", Outcome.FAILED, str(error), fix))
    except Exception as error:  # noqa: BLE001  # the other components are still to be examined
        detail = f"the examination failed ({type(error).__name__}: {error})"
        checks.append(Check(COMPONENT, "examination", Outcome.FAILED, detail, "run `exec-service doctor` again"))
    finally:
        await connection.close()
    return [_capitalised(check) for check in checks]


@dataclass(frozen=True, slots=True)
class _Examination:
    connection: Connection
    project_id: str
    checks: list[Check]

    async def run(self, orders_topic: str, orders_subscription: str, confirmations_topic: str) -> None:
        """All of it; `BusUnavailable` when there is no answer."""
        for name in dict.fromkeys((orders_topic, confirmations_topic)):
            await self._topic(name)
        await self._subscription(orders_subscription, orders_topic)
        publishing = topic_target(self.project_id, confirmations_topic)
        await self._permission(
            "permission to publish",
            publishing,
            "pubsub.topics.publish",
            self.connection.publisher.test_iam_permissions,
            topic_path(self.project_id, confirmations_topic),
        )
        pulling = subscription_target(self.project_id, orders_subscription)
        await self._permission(
            "permission to pull",
            pulling,
            "pubsub.subscriptions.consume",
            self.connection.subscriber.test_iam_permissions,
            subscription_path(self.project_id, orders_subscription),
        )

    async def _topic(self, name: str) -> None:
        target = topic_target(self.project_id, name, VIEWER)
        try:
            with told("looking at", target):
                await self.connection.publisher.get_topic(
                    topic=topic_path(self.project_id, name), retry=None, timeout=TIMEOUT_SECONDS
                )
        except BusError as error:
            self._failed(f"topic {name}", target, error)
        else:
            self._answered()
            self.checks.append(Check(COMPONENT, f"topic {name}", Outcome.OK, "exists"))

    async def _subscription(self, name: str, topic: str) -> None:
        target = subscription_target(self.project_id, name, VIEWER)
        try:
            with told("looking at", target):
                found = await self.connection.subscriber.get_subscription(
                    subscription=subscription_path(self.project_id, name), retry=None, timeout=TIMEOUT_SECONDS
                )
        except BusError as error:
            self._failed(f"subscription {name}", target, error)
        else:
            self.checks.extend(subscription_checks(found, self.project_id, name, topic))

    async def _permission(
        self, name: str, target: Target, permission: str, ask: Callable[..., Awaitable[Any]], resource: str
    ) -> None:
        """Left out where it cannot be asked: the emulator has no permissions, and what is missing was told."""
        try:
            with told("asking for the permissions on", target):
                answer = await ask(request={"resource": resource, "permissions": [permission]}, timeout=TIMEOUT_SECONDS)
        except BusError as error:
            if isinstance(error.__cause__, api.MethodNotImplemented | api.NotFound | api.Forbidden):
                return
            self._failed(name, target, error)
            return
        if permission in answer.permissions:
            self.checks.append(Check(COMPONENT, name, Outcome.OK, f"{permission} on {target}"))
        else:
            detail = f"the credentials do not have {permission} on {target}"
            fix = f"grant their owner the role {target.role} on it"
            self.checks.append(Check(COMPONENT, name, Outcome.FAILED, detail, fix))

    def _answered(self) -> None:
        if all(check.name != "connection" for check in self.checks):
            self.checks.append(Check(COMPONENT, "connection", Outcome.OK, f"{self.connection.place} answers"))

    def _failed(self, name: str, target: Target, error: BusError) -> None:
        """What is missing or forbidden is one finding among others; no answer at all ends the examination."""
        cause = error.__cause__
        if isinstance(error, BusUnavailable) or not isinstance(cause, Exception):
            raise error
        self._answered()
        found = explained(cause, target)
        # Who may not look may still be allowed to pull and publish.
        outcome = Outcome.WARNING if isinstance(cause, api.Forbidden) else Outcome.FAILED
        fix = found.fix or "run `exec-service doctor` again once that is settled"
        self.checks.append(Check(COMPONENT, name, outcome, f"{target}: {found.problem}", fix))


def _capitalised(check: Check) -> Check:
    """The same, its fix as a sentence. A detail may begin with a name, and names stay as they are."""
    return replace(check, fix=check.fix and check.fix[:1].upper() + check.fix[1:])
