"""What the states of the service's parts come down to, and how the intake knows that it works."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from exec_core.broker import Availability, AvailabilityState
from exec_service.buses import BusUnavailable
from exec_service.readiness import (
    BUS_SILENCE_SECONDS,
    HELD_BACK_SECONDS,
    LATE_DELIVERY_SECONDS,
    AccountStatus,
    ChannelStatus,
    IntakeStatus,
    IntakeWatch,
    Phase,
    Readiness,
    Stage,
    StoreStatus,
    assess,
)

NOW = datetime(2026, 11, 24, 10, 30, 12, tzinfo=UTC)
LEASE = 15.0
PULLING = IntakeStatus(Stage.PULLING, NOW, silent_seconds=0.0)
STORE = StoreStatus(LEASE, 1.0)
READY = AccountStatus("acc_1", Availability(AvailabilityState.READY, NOW))


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def judged(
    phase: Phase = Phase.RUNNING,
    *,
    ended: tuple[str, ...] = (),
    store: StoreStatus = STORE,
    intake: IntakeStatus = PULLING,
    accounts: tuple[AccountStatus, ...] = (READY,),
    channels: tuple[ChannelStatus, ...] = (),
) -> Readiness:
    return assess(phase, ended, store, intake, accounts, channels, NOW, lambda text: text.replace("hunter2", "***"))


def away(state: AvailabilityState, reason: str | None = None) -> AccountStatus:
    return AccountStatus("acc_1", Availability(state, ago(60), reason))


def test_when_all_work_it_is_ready_and_there_is_nothing_to_say() -> None:
    assert judged() == Readiness(True, (), (), ())


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (judged(Phase.STARTING), "The service is starting: it takes up its accounts and their unfinished orders."),
        (judged(Phase.DRAINING), "The service is draining: it takes no more orders in."),
        (judged(Phase.STOPPED), "The service has stopped."),
        (judged(ended=("ledger",)), "The task ledger has ended, and the service cannot do without it."),
        (
            judged(store=StoreStatus(LEASE, LEASE / 2)),
            "The store has confirmed no heartbeat for 8 s; without one for 7.5 s nothing is sent.",
        ),
        (
            judged(store=StoreStatus(LEASE, 1.0, ago(LEASE / 2))),
            "A commit has been waiting for the store since 2026-11-24 10:30:04 UTC.",
        ),
        (
            judged(intake=IntakeStatus(Stage.IDLE, NOW, ago(3), "no route to 10.0.0.1")),
            "Taking orders in has been failing since 2026-11-24 10:30:09 UTC: no route to 10.0.0.1.",
        ),
        (
            judged(intake=IntakeStatus(Stage.PULLING, ago(3600), silent_seconds=BUS_SILENCE_SECONDS)),
            f"The bus has neither answered the pull nor refused it for {BUS_SILENCE_SECONDS:.0f} s.",
        ),
        (
            judged(intake=IntakeStatus(Stage.HELD_BACK, ago(HELD_BACK_SECONDS))),
            "Taking orders in is held back since 2026-11-24 10:30:02 UTC: too many wait for their broker.",
        ),
        (
            judged(intake=IntakeStatus(Stage.STORING, ago(LEASE / 2))),
            "Messages that were pulled at 2026-11-24 10:30:04 UTC are not durable yet.",
        ),
        (
            judged(accounts=(away(AvailabilityState.DISCONNECTED, "connection refused."),)),
            "Account acc_1 cannot trade: its broker is not ready (disconnected since 2026-11-24 10:29:12 UTC): "
            "connection refused.",
        ),
        (
            judged(accounts=(away(AvailabilityState.LOGIN_NEEDED),)),
            "Account acc_1 cannot trade: its broker is not ready (login needed since 2026-11-24 10:29:12 UTC).",
        ),
        (
            judged(accounts=(away(AvailabilityState.ANNOUNCED_BREAK, "nightly restart"),)),
            "Account acc_1 cannot trade: its broker is not ready (announced break since 2026-11-24 10:29:12 UTC): "
            "nightly restart.",
        ),
        (judged(accounts=(READY, AccountStatus("acc_2"))), "Account acc_2 is owned by nobody yet."),
        (
            judged(accounts=(AccountStatus("acc_2", problem="no such plugin"),)),
            "Account acc_2 is not served: no such plugin.",
        ),
    ],
)
def test_each_fault_is_one_reason(found: Readiness, reason: str) -> None:
    assert not found.ready
    assert found.reasons == (reason,)


@pytest.mark.parametrize(
    "found",
    [
        judged(store=StoreStatus(LEASE, LEASE / 2 - 0.1)),
        judged(store=StoreStatus(LEASE, 1.0, ago(LEASE / 2 - 0.1))),
        judged(intake=IntakeStatus(Stage.PULLING, ago(86_400 * 3), silent_seconds=90.0)),
        judged(intake=IntakeStatus(Stage.HELD_BACK, ago(HELD_BACK_SECONDS - 0.1))),
        judged(intake=IntakeStatus(Stage.STORING, ago(LEASE / 2 - 0.1))),
        judged(channels=(ChannelStatus("confirmations", 1, ago(LATE_DELIVERY_SECONDS - 0.1)),)),
        judged(accounts=()),
    ],
)
def test_what_is_merely_under_way_is_no_reason(found: Readiness) -> None:
    assert found == Readiness(True)


def test_an_account_of_another_worker_is_said_and_no_reason() -> None:
    found = judged(accounts=(READY, AccountStatus("acc_2", elsewhere=True)))
    assert found == Readiness(True, info=("Account acc_2 is served by another worker.",))


def test_a_late_delivery_is_a_warning_and_no_reason_confirmations_too() -> None:
    channels = (
        ChannelStatus("confirmations", 12, ago(LATE_DELIVERY_SECONDS)),
        ChannelStatus("notifier:telegram", 0, None),
    )
    warning = "Delivery to confirmations is late: 12 wait, the oldest since 2026-11-24 10:29:12 UTC."
    assert judged(channels=channels) == Readiness(True, warnings=(warning,))


def test_every_fault_is_told_not_only_the_first() -> None:
    found = judged(
        ended=("store",),
        store=StoreStatus(LEASE, 60.0, ago(60)),
        intake=IntakeStatus(Stage.IDLE, NOW, ago(60), "x"),
        accounts=(away(AvailabilityState.DISCONNECTED), AccountStatus("acc_2")),
    )
    assert len(found.reasons) == 6


def test_no_secret_passes() -> None:
    found = judged(
        intake=IntakeStatus(Stage.IDLE, NOW, NOW, "mongodb://user:hunter2@db is away"),
        accounts=(away(AvailabilityState.DISCONNECTED, "token hunter2 expired"), AccountStatus("a", problem="hunter2")),
    )
    assert len(found.reasons) == 3
    assert "hunter2" not in str(found)


def test_a_cause_is_one_short_line() -> None:
    found = judged(accounts=(away(AvailabilityState.DISCONNECTED, "first\n  second " + "x" * 1_000),))
    (reason,) = found.reasons
    assert "first second x" in reason
    assert "\n" not in reason
    assert len(reason) < 450


class Time:
    """A clock that is moved by hand, and when the bus was last heard."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.heard: float | None = None
        self.watch = IntakeWatch(lambda: ago(-self.seconds), lambda: self.heard, lambda: self.seconds)

    def passes(self, seconds: float) -> None:
        self.seconds += seconds

    def hears(self) -> None:
        self.heard = self.seconds


class TestIntakeWatch:
    def test_a_pull_that_waits_is_as_silent_as_its_bus(self) -> None:
        time = Time()
        time.watch.enter(Stage.PULLING)
        time.passes(200)
        assert time.watch.status().silent_seconds == 200
        time.hears()
        time.passes(30)
        assert time.watch.status().silent_seconds == 30

    def test_what_was_heard_before_the_pull_began_says_nothing_against_it(self) -> None:
        time = Time()
        time.hears()
        time.passes(500)
        time.watch.enter(Stage.PULLING)
        time.passes(5)
        assert time.watch.status().silent_seconds == 5

    def test_silence_is_a_matter_of_pulling_only(self) -> None:
        time = Time()
        time.watch.enter(Stage.STORING)
        time.passes(500)
        assert time.watch.status().silent_seconds is None

    def test_failing_is_since_the_first_failure_and_tells_the_last(self) -> None:
        time = Time()
        time.watch.enter(Stage.PULLING)
        time.watch.failed(BusUnavailable("first"))
        began = time.watch.status().failing_since
        time.passes(10)
        time.watch.enter(Stage.PULLING)
        time.watch.failed(BusUnavailable("second"))
        assert (time.watch.status().failing_since, time.watch.status().failure) == (began, "second")

    def test_beginning_to_pull_again_proves_nothing(self) -> None:
        time = Time()
        time.hears()
        time.passes(1)
        time.watch.failed(BusUnavailable("away"))
        time.watch.enter(Stage.PULLING)
        time.passes(60)
        assert time.watch.status().failure == "away"

    def test_an_answer_without_messages_proves_that_it_works_again(self) -> None:
        time = Time()
        time.watch.failed(BusUnavailable("away"))
        time.watch.enter(Stage.PULLING)
        time.passes(1)
        time.hears()
        assert time.watch.status().failing_since is None

    def test_a_later_failure_is_a_new_one(self) -> None:
        time = Time()
        time.watch.failed(BusUnavailable("away"))
        time.passes(1)
        time.hears()
        time.passes(3600)
        time.watch.failed(BusUnavailable("away again"))
        assert time.watch.status().failing_since == ago(-time.seconds)

    def test_a_batch_that_was_taken_in_ends_it(self) -> None:
        time = Time()
        time.watch.failed(BusUnavailable("away"))
        time.watch.worked()
        assert time.watch.status().failing_since is None

    def test_being_held_back_goes_on_from_when_it_began(self) -> None:
        time = Time()
        time.watch.enter(Stage.HELD_BACK)
        began = time.watch.status().since
        time.passes(20)
        time.watch.enter(Stage.HELD_BACK)
        assert time.watch.status().since == began

    def test_an_error_without_a_text_is_named(self) -> None:
        time = Time()
        time.watch.failed(BusUnavailable())
        assert time.watch.status().failure == "BusUnavailable"
