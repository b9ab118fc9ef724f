"""Whether this worker really does its work: what its parts say of themselves, and what that comes down to.

Pure: records in, sentences out. `Service.readiness` gathers the records, `health` shows the sentences. Ready means that
a new order would be taken in now, and that the accounts of this worker could trade. A delivery that is late is only a
warning: confirmations and notifications are durable, and no order waits for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from exec_core.broker import Availability
from exec_core.clock import Clock

from exec_service.buses import HEARD_EVERY_SECONDS

#: A bus that has answered no pull for so long, not even with nothing, is not believed to work.
BUS_SILENCE_SECONDS: Final = 1.5 * HEARD_EVERY_SECONDS
#: Taking no more orders in for a moment is how a burst is survived; for longer, new orders grow old on the bus.
HELD_BACK_SECONDS: Final = 10.0
#: A row that waits longer than this for its delivery is worth a warning.
LATE_DELIVERY_SECONDS: Final = 60.0
#: What others say is cut to so many characters.
LONGEST_CAUSE: Final = 300


class Phase(StrEnum):
    """Where a worker is between its start and its end."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the worker is ready and, in sentences, why not; what a person should look at; what is good to know."""

    ready: bool
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    info: tuple[str, ...] = ()


#: Before there is a worker to ask.
NOT_STARTED: Final = Readiness(False, ("The service is starting: its store and its bus are being opened.",))


class Stage(StrEnum):
    """What the intake is doing."""

    IDLE = "idle"
    HELD_BACK = "held back"
    PULLING = "pulling"
    STORING = "storing"


@dataclass(frozen=True, slots=True)
class IntakeStatus:
    """How taking in goes. `silent_seconds`: for how long the pull under way has heard nothing from the bus."""

    stage: Stage
    since: datetime
    failing_since: datetime | None = None
    failure: str | None = None
    silent_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """How the store answers. `heartbeat_age_seconds`: None without a lease. `commit_since`: when the commit under way
    first asked for the store."""

    lease_seconds: float
    heartbeat_age_seconds: float | None
    commit_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """How an account is served: by this worker, with its broker's `availability`; by another worker; or by nobody.

    `problem` is what keeps it from being served, whatever the broker says. `halted`: the sentence about its stop. That
    is a warning only: the worker does its work, which is to refuse the account's orders.
    """

    account_id: str
    availability: Availability | None = None
    elsewhere: bool = False
    problem: str | None = None
    halted: str | None = None


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """What one channel of the outbox still has to deliver."""

    name: str
    waiting: int
    oldest: datetime | None


class IntakeWatch:
    """Keeps what the intake is doing, since when, and whether its last attempt failed.

    A pull that waits for messages proves nothing by itself, so the bus is asked when it last answered one, be it
    without messages: `heard_at`, on the clock `monotonic`. What failed works again once it has answered since.
    """

    def __init__(
        self, clock: Clock, heard_at: Callable[[], float | None], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._heard_at = heard_at
        self._monotonic = monotonic
        self._stage = Stage.IDLE
        self._since = clock()
        self._began = monotonic()
        self._failing_since: datetime | None = None
        self._failed = 0.0
        self._failure: str | None = None

    def enter(self, stage: Stage) -> None:
        """The intake does this from now on; being held back goes on from when it began."""
        if stage is Stage.HELD_BACK and self._stage is stage:
            return
        self._stage, self._since, self._began = stage, self._clock(), self._monotonic()

    def failed(self, error: Exception) -> None:
        """The attempt failed; there will be another."""
        self.enter(Stage.IDLE)
        if self._failing_since is None or self._heard_since_failure:
            self._failing_since = self._since
        self._failed = self._monotonic()
        self._failure = _one_line(str(error) or type(error).__name__)

    def worked(self) -> None:
        """A batch was pulled, made durable and acknowledged."""
        self._failing_since = self._failure = None
        self.enter(Stage.IDLE)

    def status(self) -> IntakeStatus:
        """How it goes now."""
        silent = None
        if self._stage is Stage.PULLING:
            silent = self._monotonic() - max(self._began, self._heard_at() or self._began)
        if self._heard_since_failure:
            return IntakeStatus(self._stage, self._since, silent_seconds=silent)
        return IntakeStatus(self._stage, self._since, self._failing_since, self._failure, silent)

    @property
    def _heard_since_failure(self) -> bool:
        heard_at = self._heard_at()
        return heard_at is not None and heard_at > self._failed


def assess(
    phase: Phase,
    ended_tasks: Sequence[str],
    store: StoreStatus,
    intake: IntakeStatus,
    accounts: Sequence[AccountStatus],
    channels: Sequence[ChannelStatus],
    now: datetime,
    redact: Callable[[str], str] = str,
) -> Readiness:
    """What the parts' states come down to; every sentence goes through `redact`."""
    reasons = {
        Phase.STARTING: ["The service is starting: it takes up its accounts and their unfinished orders."],
        Phase.RUNNING: [],
        Phase.DRAINING: ["The service is draining: it takes no more orders in."],
        Phase.STOPPED: ["The service has stopped."],
    }[phase]
    warnings: list[str] = []
    info: list[str] = []
    reasons += [task_ended(name) for name in ended_tasks]
    if phase is not Phase.STOPPED:
        reasons += _store(store, now)
        warnings += [text for channel in channels if (text := _delivery(channel, now))]
    if phase is Phase.RUNNING:
        reasons += _intake(intake, store.lease_seconds / 2, now)
        for account in accounts:
            (info if account.elsewhere else reasons).extend(_account(account))
            warnings += [] if account.halted is None else [_sentence(account.halted, None)]
    clean = [tuple(redact(text) for text in texts) for texts in (reasons, warnings, info)]
    return Readiness(not reasons, *clean)


def task_ended(name: str) -> str:
    """What there is to say of a task that should be running."""
    return f"The task {name} has ended, and the service cannot do without it."


def _store(store: StoreStatus, now: datetime) -> list[str]:
    limit, age = store.lease_seconds / 2, store.heartbeat_age_seconds
    found = []
    if age is not None and age >= limit:
        found.append(
            f"The store has confirmed no heartbeat for {age:.0f} s; without one for {limit:g} s nothing is sent."
        )
    waited = _age(store.commit_since, now)
    if store.commit_since is not None and waited >= limit:
        found.append(f"A commit has been waiting for the store since {_time(store.commit_since)}.")
    return found


def _intake(intake: IntakeStatus, storing_limit: float, now: datetime) -> list[str]:
    found = []
    waited, since = _age(intake.since, now), _time(intake.since)
    if intake.failing_since is not None:
        found.append(
            _sentence(f"Taking orders in has been failing since {_time(intake.failing_since)}", intake.failure)
        )
    if intake.silent_seconds is not None and intake.silent_seconds >= BUS_SILENCE_SECONDS:
        found.append(f"The bus has neither answered the pull nor refused it for {intake.silent_seconds:.0f} s.")
    if intake.stage is Stage.HELD_BACK and waited >= HELD_BACK_SECONDS:
        found.append(f"Taking orders in is held back since {since}: too many wait for their broker.")
    if intake.stage is Stage.STORING and waited >= storing_limit:
        found.append(f"Messages that were pulled at {since} are not durable yet.")
    return found


def _account(account: AccountStatus) -> list[str]:
    who = f"Account {account.account_id}"
    if account.elsewhere:
        return [f"{who} is served by another worker."]
    if account.problem is not None:
        return [_sentence(f"{who} is not served", account.problem)]
    if account.availability is None:
        return [f"{who} is owned by nobody yet."]
    if account.availability.is_ready:
        return []
    state = account.availability.state.value.lower().replace("_", " ")
    start = f"{who} cannot trade: its broker is not ready ({state} since {_time(account.availability.since)})"
    return [_sentence(start, account.availability.reason)]


def _delivery(channel: ChannelStatus, now: datetime) -> str | None:
    if channel.oldest is None or _age(channel.oldest, now) < LATE_DELIVERY_SECONDS:
        return None
    since = _time(channel.oldest)
    return f"Delivery to {channel.name} is late: {channel.waiting} wait, the oldest since {since}."


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else (now - since).total_seconds()


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _sentence(start: str, cause: str | None) -> str:
    """One sentence, the cause at its end."""
    return f"{start}." if cause is None else f"{start}: {_one_line(cause).rstrip('.')}."


def _one_line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_CAUSE else f"{text[: LONGEST_CAUSE - 1]}…"
