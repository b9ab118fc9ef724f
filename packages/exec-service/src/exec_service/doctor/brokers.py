"""Each account's broker: what the worker that serves it says, or a session of our own.

A second session beside a worker's could disturb it (two with one client id, say), so that none is opened where a live
worker owns the account, nor where that cannot be told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from exec_core.broker import AvailabilityState, Mode
from exec_core.errors import AuthenticationFailed, BrokerError, ConfigurationError
from exec_core.plugins import BrokerFactory

from exec_service import bootstrap
from exec_service.checks import Check, Outcome
from exec_service.doctor.configuration import CORRECT_ACCOUNT, Configuration, Served
from exec_service.doctor.threads import PluginThreads, described
from exec_service.settings import Settings
from exec_service.stores import ACCOUNTS, StoreNotPrepared, WorkerState

COMPONENT: Final = "broker"
#: So long a broker has to connect, to tell its account and to disconnect.
SECONDS: Final = 20.0

LOG_IN: Final = "Log in at the broker: orders are held until somebody does"
REACH_IT: Final = (
    "See that the broker (its gateway, say) runs and can be reached from here under the account's settings"
)
ASK_AUTHOR: Final = "Tell the author of the plugin {broker}, or see its page for what it needs"
ASK_AGAIN: Final = "Ask again in a moment, or see that worker's log"

_STATES: Final[Mapping[AvailabilityState, tuple[Outcome, str | None]]] = {
    AvailabilityState.READY: (Outcome.OK, None),
    AvailabilityState.LOGIN_NEEDED: (Outcome.FAILED, LOG_IN),
    AvailabilityState.ANNOUNCED_BREAK: (Outcome.WARNING, "Wait: the venue has announced a break, and orders are held"),
    AvailabilityState.DISCONNECTED: (Outcome.FAILED, REACH_IT),
}


@dataclass(frozen=True, slots=True)
class Owned:
    """An account in the store: its document, and the live worker that serves it."""

    document: Mapping[str, Any]
    worker: WorkerState


async def examine(found: Configuration, threads: PluginThreads, store_seconds: float) -> list[Check]:
    """One check per account whose plugin can be used."""
    owned = await _owned_accounts(found, store_seconds)
    return list(await asyncio.gather(*(_examined(served, owned, threads) for served in found.accounts)))


async def _owned_accounts(found: Configuration, seconds: float) -> dict[str, Owned] | None:
    """The accounts that live workers serve; None where the store cannot tell."""
    if found.unusable_places:
        return None
    try:
        async with asyncio.timeout(seconds):
            return await _owned_in(found.settings)
    except StoreNotPrepared:
        return {}
    except Exception:  # noqa: BLE001  # whatever it is, the store's own checks tell it
        return None


async def _owned_in(settings: Settings) -> dict[str, Owned]:
    if not bootstrap.store_exists(settings):
        return {}
    async with bootstrap.make_store(settings, prepare=False) as store:
        workers = {worker.worker_id: worker for worker in await store.workers() if not worker.is_gone}
        documents = await store.load(ACCOUNTS)
    return {
        document["_id"]: Owned(document, workers[document["worker_id"]])
        for document in documents
        if document.get("worker_id") in workers
    }


async def _examined(served: Served, owned: Mapping[str, Owned] | None, threads: PluginThreads) -> Check:
    account = served.account
    if owned is not None and account.id in owned:
        return _what_its_worker_says(served, owned[account.id])
    if owned is None and account.mode is not Mode.MOCK:
        text = "Not tried: whether a worker is connected for this account cannot be told, and it must not be disturbed"
        return Check(COMPONENT, account.id, Outcome.WARNING, text, "Mend the store first, then ask again")
    session = _Session(served)
    try:
        return await threads.run(account.id, session.examined)
    except TimeoutError:
        text = f"{served.plugin.name} did not {session.doing} within {threads.seconds:g} s"
        return Check(COMPONENT, account.id, Outcome.FAILED, text, REACH_IT)
    except AuthenticationFailed as error:
        return Check(COMPONENT, account.id, Outcome.FAILED, str(error), LOG_IN)
    except ConfigurationError as error:
        return Check(COMPONENT, account.id, Outcome.FAILED, "; ".join(error.problems), CORRECT_ACCOUNT)
    except BrokerError as error:
        return Check(COMPONENT, account.id, Outcome.FAILED, str(error), REACH_IT)
    except Exception as error:  # noqa: BLE001  # foreign code: whatever it raises is what is wrong with it
        text = f"{served.plugin.name} failed to {session.doing}: {described(error)}"
        return Check(COMPONENT, account.id, Outcome.FAILED, text, ASK_AUTHOR.format(broker=served.plugin.name))


def _what_its_worker_says(served: Served, owned: Owned) -> Check:
    worker, document = owned.worker, owned.document
    who = f"Served by worker {worker.worker_id} (process {worker.process_id} on {worker.host})"
    said = document.get("availability")
    if said not in set(AvailabilityState):
        text = f"{who}, which has not said yet how its broker is"
        return Check(COMPONENT, served.account.id, Outcome.WARNING, text, ASK_AGAIN)
    outcome, fix = _STATES[AvailabilityState(said)]
    text = f"{who}: {_state(said, document.get('availability_since'), document.get('availability_reason'))}"
    return Check(COMPONENT, served.account.id, outcome, text, fix)


def _state(state: str, since: object, reason: object) -> str:
    when = f" since {since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if isinstance(since, datetime) else ""
    why = f": {reason}" if reason else ""
    return f"{state}{when}{why}"


class _Session:
    """A session that is opened, asked for the account and closed again; `doing` says what it is at."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self.doing = "connect"

    async def examined(self) -> Check:
        """What the session showed."""
        name, plugin = self._served.account.id, self._served.plugin
        async with BrokerFactory.create_from(plugin, self._served.config) as broker:
            availability = broker.availability()
            told = ""
            if availability.is_ready:
                self.doing = "tell its account"
                summary = await broker.account()
                told = f"; the account answers, in {summary.currency}"
                availability = broker.availability()
            self.doing = "disconnect"
        outcome, fix = _STATES[availability.state]
        state = _state(availability.state, availability.since, availability.reason)
        return Check(COMPONENT, name, outcome, f"A session with {plugin.name} opens: {state}{told}", fix)
