"""``exec-service doctor``: every component is tried for real, and what is wrong is named with its fix.

Nothing stops it: what cannot be used is told, and all else is looked at. The parts are looked at side by side, each for
a bounded time; one whose check itself fails is a FAILED check with the error. Stores and buses examine themselves
(`bootstrap.examine`); here are the configuration, the brokers, the notifiers and this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from exec_service import bootstrap
from exec_service.checks import Check, Outcome
from exec_service.doctor import brokers, configuration, machine, notifiers
from exec_service.doctor.configuration import COMPONENT, Configuration
from exec_service.doctor.threads import PluginThreads, described
from exec_service.redaction import Redactor

#: The store and the bus have shorter time-outs of their own.
EXAMINE_SECONDS: Final = 45.0
REPORT_IT: Final = "This is a mistake in the program: report it with this text"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All checks, without secrets."""

    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """What keeps the service from working as it should."""
        return tuple(check for check in self.checks if check.outcome is Outcome.FAILED)

    @property
    def is_usable(self) -> bool:
        """Whether the service would start on this configuration."""
        return all(check.component != COMPONENT for check in self.failed)


async def diagnose(
    redactor: Redactor,
    *,
    embedded: bool,
    use_mock_broker: bool | None = None,
    plugin_seconds: float = brokers.SECONDS,
    examine_seconds: float = EXAMINE_SECONDS,
) -> Diagnosis:
    """Look at everything that `exec-service run` with these options would use. Raises nothing.

    `redactor` learns the secrets as they are met. A broker or a notifier has `plugin_seconds` to answer; store and bus
    have `examine_seconds`.
    """
    found = configuration.read(redactor, embedded=embedded, use_mock_broker=use_mock_broker)
    threads = PluginThreads(plugin_seconds)
    groups = await asyncio.gather(
        guarded("store and bus", _store_and_bus(found, examine_seconds)),
        guarded("broker", brokers.examine(found, threads, examine_seconds)),
        guarded("notifier", notifiers.examine(threads, redactor)),
        guarded("machine", asyncio.to_thread(machine.examine, found.settings)),
    )
    checks = [*found.checks, *(check for group in groups for check in group)]
    return Diagnosis(tuple(_redacted(check, redactor) for check in checks))


async def guarded(component: str, work: Awaitable[Iterable[Check]]) -> list[Check]:
    """What `work` found; that it failed, if it did."""
    try:
        return list(await work)
    except Exception as error:  # noqa: BLE001  # a check that crashes must not take the others with it
        return [Check(component, "check", Outcome.FAILED, f"The check itself failed: {described(error)}", REPORT_IT)]


async def _store_and_bus(found: Configuration, seconds: float) -> list[Check]:
    if found.unusable_places:
        names = ", ".join(sorted(found.unusable_places))
        text = f"Not looked at, because where they are is not known ({names})"
        return [Check("store and bus", "place", Outcome.WARNING, text, f"Correct {names} first")]
    try:
        async with asyncio.timeout(seconds):
            return await bootstrap.examine(found.settings)
    except TimeoutError:
        text = f"Store and bus could not be examined within {seconds:g} s"
        fix = "See that their servers run, and that they can be reached from this machine"
        return [Check("store and bus", "time", Outcome.FAILED, text, fix)]


def _redacted(check: Check, redactor: Redactor) -> Check:
    return replace(
        check,
        name=redactor.redact(check.name),
        detail=redactor.redact(check.detail),
        fix=None if check.fix is None else redactor.redact(check.fix),
    )
