"""Pulling from one subscription: one long-poll request at a time, and the messages that it has leased to us.

The request runs in a task of its own. Whoever waits for it may be cancelled; its messages are kept for the next pull,
in order, as long as their ack deadline lasts. Nothing is asked for before somebody pulls, and nothing is kept for
long when nobody does any more: what waits here could be with another worker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from google.api_core import exceptions as api

from exec_service.buses import BusError, BusUnavailable, Message
from exec_service.buses.pubsub_connection import Connection
from exec_service.buses.pubsub_errors import subscription_target, told
from exec_service.buses.pubsub_requests import MAX_PER_REQUEST, Delivery, id_batches, received, subscription_path

logger = logging.getLogger(__name__)

#: Empty answers normally take long; when they do not, the next request waits so that they come no faster than this.
EMPTY_PULL_SECONDS: Final = 0.1
#: After a cancelled pull: how long to expect the next before what waits here is given back.
IDLE_SECONDS: Final = 2.0
#: Giving back is a courtesy (the ack deadline does it too), so it may not hold up anybody for long.
GIVE_BACK_SECONDS: Final = 3.0
#: Assumed where the subscription may not be looked at: the longest ack deadline that `run` accepts.
UNSEEN: Final = Delivery(60.0, keeps_order=True)


class Puller:
    """One subscription as this bus pulls it. `limit` bounds the messages that are leased to us at one time."""

    def __init__(
        self,
        connection: Connection,
        project_id: str,
        name: str,
        *,
        limit: int,
        timeout_seconds: float,
        delivery: Delivery | None = None,
    ) -> None:
        self.path = subscription_path(project_id, name)
        self._target = subscription_target(project_id, name)
        self._viewed = subscription_target(project_id, name, "roles/pubsub.viewer")
        self._connection = connection
        self._subscriber = connection.subscriber
        self._limit = limit
        self._timeout = timeout_seconds
        self._delivery = delivery
        self._turn = asyncio.Lock()
        self._request: asyncio.Task[None] | None = None
        self._waiting: deque[Message] = deque()
        #: When the lease of each delivery has surely ended (the loop's clock), oldest first.
        self._leases: dict[str, float] = {}
        self._room = asyncio.Event()
        self._idle: asyncio.TimerHandle | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._closed = False
        #: The `time.monotonic()` of the last pull that ended well, one without messages included.
        self.heard_at: float | None = None

    async def pull(self, max_messages: int) -> list[Message]:
        """See `Bus.pull`."""
        async with self._turn:
            self._stop_idling()
            try:
                return await self._pull(max_messages)
            finally:
                if self._request is not None or self._waiting:
                    self._start_idling()

    def acknowledged(self, ack_ids: Sequence[str]) -> None:
        """These leases have ended."""
        for ack_id in ack_ids:
            self._leases.pop(ack_id, None)
        self._room.set()

    async def close(self) -> None:
        """End the request, give back at once what is leased, and tell those who wait. Raises nothing."""
        self._closed = True
        self._stop_idling()
        if self._leaving is not None:
            await asyncio.wait([self._leaving])
        await self._end_request()
        self._room.set()
        self._waiting.clear()
        self._forget_ended()
        await self._give_back(list(self._leases))
        self._leases.clear()

    # ------------------------------------------------------------------ pulling

    async def _pull(self, max_messages: int) -> list[Message]:
        loop = asyncio.get_running_loop()
        while True:
            self._check_open()
            if messages := self._take(max_messages):
                return messages
            if self._request is not None and self._request.done():
                self._request = None  # of an earlier pull: what it brought was taken, or how it failed is old news
            if self._request is None:
                self._delivery = delivery = self._delivery or await self._look()
                room = await self._wait_for_room()
                self._request = asyncio.create_task(
                    self._fetch(min(max_messages, room, MAX_PER_REQUEST), delivery), name=f"pull {self.path}"
                )
                # Somebody may have been cancelled before asking how it ended.
                self._request.add_done_callback(lambda done: done.cancelled() or done.exception())
            request, started = self._request, loop.time()
            await asyncio.wait([request])
            self._check_open()
            self._request = None
            request.result()
            if not self._waiting:
                await asyncio.sleep(max(0.0, started + EMPTY_PULL_SECONDS - loop.time()))

    def _take(self, max_messages: int) -> list[Message]:
        """The oldest of what waits here; what has waited beyond its ack deadline is dropped: it comes again."""
        if not self._waiting:
            return []
        self._forget_ended()
        still_leased = [message for message in self._waiting if message.ack_id in self._leases]
        if late := len(self._waiting) - len(still_leased):
            logger.info("%d messages from %s were not asked for in time and will be delivered again", late, self.path)
        self._waiting = deque(still_leased[max_messages:])
        return still_leased[:max_messages]

    async def _fetch(self, max_messages: int, delivery: Delivery) -> None:
        """One request; its messages are leased to us from now on."""
        try:
            with told("pulling from", self._target):
                response = await self._subscriber.pull(
                    subscription=self.path,
                    max_messages=max_messages,
                    retry=None,
                    timeout=self._connection.pull_timeout_seconds,
                )
        except BusError as error:
            match error.__cause__:
                case api.DeadlineExceeded():
                    # Nothing was there: the time-out of a long poll is no failure. On a dead connection, keepalive
                    # would have ended it as unavailable.
                    self.heard_at = time.monotonic()
                    return
                case api.NotFound():
                    self._delivery = None  # it may be made again, otherwise
            raise
        self.heard_at = time.monotonic()
        messages = received(response, keeps_order=delivery.keeps_order and self._connection.keeps_order)
        ends = asyncio.get_running_loop().time() + delivery.ack_deadline_seconds
        for message in messages:
            self._leases.pop(message.ack_id, None)
            self._leases[message.ack_id] = ends
        self._waiting.extend(messages)

    async def _wait_for_room(self) -> int:
        """How many messages may be asked for: at least one."""
        loop = asyncio.get_running_loop()
        while True:
            self._check_open()
            self._forget_ended()
            room = self._limit - len(self._leases)
            if room > 0:
                return room
            self._room.clear()
            first_end = next(iter(self._leases.values()))
            try:
                async with asyncio.timeout(max(0.0, first_end - loop.time())):
                    await self._room.wait()
            except TimeoutError:
                continue  # the oldest lease has ended

    async def _look(self) -> Delivery:
        try:
            with told("looking at", self._viewed):
                found = await self._subscriber.get_subscription(
                    subscription=self.path, retry=None, timeout=self._timeout
                )
        except BusError as error:
            if isinstance(error.__cause__, api.Forbidden):
                return UNSEEN
            raise
        return Delivery.of(found)

    def _forget_ended(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._leases:
            ack_id, end = next(iter(self._leases.items()))
            if end > now:
                return
            del self._leases[ack_id]

    def _check_open(self) -> None:
        if self._closed:
            raise BusUnavailable(f"The connection was closed while pulling from {self._target}")

    # ------------------------------------------------------------------ giving back

    def _start_idling(self) -> None:
        if not self._closed:
            self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._leave)

    def _stop_idling(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _leave(self) -> None:
        """Nobody has pulled for a while."""
        if not self._turn.locked():
            self._leaving = asyncio.create_task(self._give_up_waiting(), name=f"give back {self.path}")

    async def _give_up_waiting(self) -> None:
        """End the request and give back what waits here, but nothing that was handed out."""
        async with self._turn:
            await self._end_request()
            unseen = [message.ack_id for message in self._waiting]
            self._waiting.clear()
            self.acknowledged(unseen)
            await self._give_back(unseen)

    async def _end_request(self) -> None:
        """Let an answer that is on its way arrive, else cancel."""
        if self._request is None:
            return
        await asyncio.wait([self._request], timeout=self._connection.grace_seconds)
        self._request.cancel()
        await asyncio.wait([self._request])
        self._request = None

    async def _give_back(self, ack_ids: Sequence[str]) -> None:
        if not ack_ids:
            return
        try:
            async with asyncio.timeout(GIVE_BACK_SECONDS):
                with told("giving messages back to", self._target):
                    for batch in id_batches(ack_ids):
                        await self._subscriber.modify_ack_deadline(
                            subscription=self.path,
                            ack_ids=batch,
                            ack_deadline_seconds=0,
                            retry=None,
                            timeout=GIVE_BACK_SECONDS,
                        )
        except (BusError, TimeoutError) as error:
            reason = str(error) or f"no answer within {GIVE_BACK_SECONDS:g} s"
            logger.warning(
                "%d messages will be delivered again only after their ack deadline: %s", len(ack_ids), reason
            )
