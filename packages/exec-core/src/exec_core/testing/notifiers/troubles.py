"""Cards on what does not arrive, and on the end: nothing is lost in silence, nobody is held up, everything lets go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from exec_core.errors import NotificationDelayed, NotificationRefused
from exec_core.notifier import Notifier
from exec_core.testing.notifiers.base import NotifierSuite, notifier_card
from exec_core.testing.notifiers.far_side import FarAbility, FarSide
from exec_core.testing.notifiers.telling import Telling, in_another_loop, new_notification

_LONG_PAUSE_SECONDS: Final = 37


class TroubleCards(NotifierSuite):
    """What does not arrive, and the end."""

    @notifier_card(200, needs=[FarAbility.REFUSE])
    async def test_refused(self, telling: Telling) -> None:
        """What the far side will never take raises `NotificationRefused`.

        Prerequisite: a notifier, entered.
        Action: send a notification that the far side refuses for good; then another one.
        Expected: the first raises `NotificationRefused`; the other one arrives.
        If this fails: tell the far side's "this is no good" (HTTP 400, 403, 413) from "not now": anything else than
        `NotificationRefused` is tried again for ever, and what comes after it waits.
        """
        good = new_notification()
        async with telling.notifier() as notifier:
            await telling.far.refuse_next()
            error = await telling.failure(notifier, new_notification())
            assert isinstance(error, NotificationRefused), f"{error!r} means: try again for ever"
            await telling.send(notifier, good)
            await telling.arrived(good)

    @notifier_card(210, needs=[FarAbility.DELAY])
    async def test_delayed(self, telling: Telling) -> None:
        """A pause that the far side asks for raises `NotificationDelayed` with its seconds.

        Prerequisite: a notifier, entered.
        Action: send a notification that the far side answers by asking for a pause; when it is over, send it again.
        Expected: the first send raises `NotificationDelayed` with those seconds; after that the notification arrives.
        If this fails: read the pause from the answer (the body, or ``Retry-After``), and do not sleep in `send`: the
        service waits, without holding anything up.
        Catches: Superalgos #87, where asking again without a pause kept the bot locked out.
        """
        notification = new_notification()
        async with telling.notifier() as notifier:
            await telling.far.delay_next(_LONG_PAUSE_SECONDS)
            error = await telling.failure(notifier, notification)
            assert isinstance(error, NotificationDelayed), f"{error!r} does not say how long to wait"
            assert error.retry_after_seconds == pytest.approx(_LONG_PAUSE_SECONDS, abs=1)
            await telling.send(notifier, notification)
            await telling.arrived(notification)

    @notifier_card(220, needs=[FarAbility.FAIL])
    async def test_failing(self, telling: Telling) -> None:
        """An error of the far side's own loses nothing.

        Prerequisite: a notifier, entered.
        Action: send a notification that the far side answers by an error that says nothing about the notification
        (HTTP 500, a proxy's page); send it again.
        Expected: the first send raises, but not `NotificationRefused`; after the second the notification arrives.
        If this fails: check the answer's status before you believe it; do not catch what you cannot mend.
        """
        notification = new_notification()
        async with telling.notifier() as notifier:
            await telling.far.fail_next()
            error = await telling.failure(notifier, notification)
            assert not isinstance(error, NotificationRefused), (
                "the notification would be dropped, for no fault of its own"
            )
            await telling.send(notifier, notification)
            await telling.arrived(notification)

    @notifier_card(230, needs=[FarAbility.GO_AWAY])
    async def test_away(self, telling: Telling) -> None:
        """A far side that is away loses nothing.

        Prerequisite: a notifier, entered, that has sent something.
        Action: let the far side go away; send a notification; let it come back; send it again.
        Expected: the first send raises, but not `NotificationRefused`; after the second the notification arrives.
        If this fails: let errors of the connection through, and make the connection anew with the next `send`.
        """
        before, notification = new_notification(), new_notification()
        async with telling.notifier() as notifier:
            await telling.send(notifier, before)
            await telling.arrived(before)
            await telling.far.go_away()
            error = await telling.failure(notifier, notification)
            assert not isinstance(error, NotificationRefused), (
                "the notification would be dropped, for no fault of its own"
            )
            await telling.far.come_back()
            await telling.send(notifier, notification)
            await telling.arrived(notification)

    @notifier_card(240, needs=[FarAbility.HANG])
    def test_hanging(self) -> None:
        """A far side that hangs holds up nobody: `send` can be cancelled, and the loop goes on.

        Prerequisite: a notifier, entered.
        Action: send a notification that comes in and is not answered; cancel the send; let the far side answer again;
        send another one.
        Expected: while the far side hangs the event loop goes on; the cancelled send ends; the other one arrives.
        If this fails: never call a client that blocks in the event loop: use an asynchronous one, or a thread
        (`asyncio.to_thread`); and let `asyncio.CancelledError` through.
        """
        self._beside_a_hanging_send(self._cancel_and_go_on)

    @staticmethod
    async def _cancel_and_go_on(telling: Telling, notifier: Notifier, sending: asyncio.Task[None]) -> None:
        notification = new_notification()
        sending.cancel()
        await asyncio.wait({sending}, timeout=telling.patience_seconds)
        assert sending.done(), "a send that was cancelled goes on"
        assert sending.cancelled(), "a send that was cancelled must raise CancelledError"
        await telling.far.go_on()
        await telling.send(notifier, notification)
        await telling.arrived(notification)
        await telling.leave(notifier)

    @notifier_card(300)
    async def test_leaving_twice(self, telling: Telling) -> None:
        """Leaving twice does nothing the second time.

        Prerequisite: a notifier, entered, that has sent something; another one that has not.
        Action: leave each twice.
        Expected: nothing is raised.
        If this fails: remember in `__aexit__` what was closed already.
        """
        notification = new_notification()
        used, unused = telling.new_notifier(), telling.new_notifier()
        for notifier in (used, unused):
            await telling.bounded(notifier.__aenter__(), "entering")
        await telling.send(used, notification)
        await telling.arrived(notification)
        for notifier in (used, unused, used, unused):
            await telling.leave(notifier)

    @notifier_card(310, needs=[FarAbility.GO_AWAY])
    async def test_leaving_while_away(self, telling: Telling) -> None:
        """Leaving works while the far side is away.

        Prerequisite: a notifier, entered, that has sent something; the far side has gone, and a send has failed.
        Action: leave the notifier.
        Expected: it lets go soon, and raises nothing.
        If this fails: a goodbye that the far side does not hear is none of the service's business: bound it, and
        catch the errors of the connection there.
        """
        notification = new_notification()
        notifier = telling.new_notifier()
        await telling.bounded(notifier.__aenter__(), "entering")
        await telling.send(notifier, notification)
        await telling.arrived(notification)
        await telling.far.go_away()
        await telling.outcome(notifier, new_notification())
        await telling.leave(notifier)

    @notifier_card(320, needs=[FarAbility.HANG])
    def test_leaving_while_hanging(self) -> None:
        """Leaving works while the far side hangs.

        Prerequisite: a notifier, entered; a send that the far side does not answer was cancelled.
        Action: leave the notifier while the far side still hangs.
        Expected: it lets go soon, and raises nothing.
        If this fails: what is under way in a thread cannot be called back: wait for it a moment only, in a daemon
        thread, so that it does not keep the process.
        """
        self._beside_a_hanging_send(self._cancel_and_leave)

    @staticmethod
    async def _cancel_and_leave(telling: Telling, notifier: Notifier, sending: asyncio.Task[None]) -> None:
        sending.cancel()
        await asyncio.wait({sending}, timeout=telling.patience_seconds)
        await telling.leave(notifier)

    def _beside_a_hanging_send(self, then: Callable[[Telling, Notifier, asyncio.Task[None]], Awaitable[None]]) -> None:
        async def scenario() -> None:
            async with self.far_side() as far:
                telling = Telling(plugin, far, self.patience_seconds)
                notifier = telling.new_notifier()
                await telling.bounded(notifier.__aenter__(), "entering")
                await far.hang_next()
                sending = asyncio.get_running_loop().create_task(notifier.send(new_notification()))
                try:
                    await telling.until(lambda: _came_in(far, sending), "the far side was asked")
                    # A send that blocks the loop is over whenever anybody else has a turn.
                    assert not sending.done(), "send held up the event loop, or gave up at once"
                    await then(telling, notifier, sending)
                finally:
                    await far.go_on()
                    sending.cancel()
                    await asyncio.gather(sending, return_exceptions=True)

        plugin = self._record()
        in_another_loop(scenario, 6 * self.patience_seconds, "a far side that hangs holds up the event loop")


async def _came_in(far: FarSide, sending: asyncio.Task[None]) -> bool:
    return sending.done() or await far.is_hanging()
