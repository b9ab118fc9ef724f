"""Takes messages in: durable first, acknowledged then; a repetition is recognised, a bad one is kept and answered.

Any worker may do this for any account. The insert of an order under its derived id is the deduplication; whoever owns
the account sends it.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from exec_core.clock import Clock
from exec_core.identifiers import ClientOrderId, SignalId, digest
from exec_core.orders import OrderStatus, ReasonCode

from exec_service import claims, journal, texts, wire
from exec_service.backoff import exponential
from exec_service.buses import Bus, BusError, Message
from exec_service.claims import Claim
from exec_service.execution import Execution
from exec_service.ledger import Ledger
from exec_service.logs import order_log
from exec_service.projections import Projector
from exec_service.readiness import IntakeStatus, IntakeWatch, Stage
from exec_service.records import Accepted, Invalid, OrderRecord, Unreadable
from exec_service.stores import (
    DEAD_LETTERS,
    ORDERS,
    Document,
    LeaseLost,
    RevisionConflict,
    Store,
    StoreError,
    Write,
)
from exec_service.units import Entry, Unit

logger = logging.getLogger(__name__)

MAX_MESSAGES = 200
PARSED_AT_ONCE = 10
#: Where so many come at once, more are waiting: they are pulled meanwhile. Else a pull would only be in the way of the
#: few, on their way to the broker.
MANY_MESSAGES = 10
#: Orders that may wait to be sent before no more are taken in: the bus keeps the rest.
MAX_BACKLOG = 5_000
#: At most one alert about dead letters in so many seconds.
DEAD_LETTER_ALERT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Taken:
    """A message's order document, before it is known whether its id is new."""

    order_id: ClientOrderId
    signal_id: SignalId
    content: str
    message: Message
    order: OrderRecord | Invalid


class ArrivalNumbers:
    """Numbers that rise, also across restarts: what arrived first is sent first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0

    def next(self) -> int:
        """The next number: microseconds since 1970, or one more than the last."""
        self._last = max(self._last + 1, int(self._clock().timestamp() * 1_000_000))
        return self._last


class Intake:
    """Pulls, makes durable, acknowledges; `accepted` is told of each order that is PENDING now.

    `claim` asks whether an order can be sent at once: then it is stored as such, and is sent when it is durable.

    `repeated` gets the account of one that was PENDING already: perhaps we stored it, and never learnt that we did.
    """

    def __init__(
        self,
        bus: Bus,
        store: Store,
        ledger: Ledger,
        execution: Execution,
        projector: Projector,
        clock: Clock,
        *,
        subscription: str,
        environment: str | None,
        account_names: Mapping[str, str],
        claim: Callable[[OrderRecord], Awaitable[Claim | None]],
        accepted: Callable[[OrderRecord], None],
        repeated: Callable[[str], None],
        backlog: Callable[[], int],
    ) -> None:
        self._bus = bus
        self._store = store
        self._ledger = ledger
        self._execution = execution
        self._projector = projector
        self._clock = clock
        self._subscription = subscription
        self._environment = environment
        self._account_names = account_names
        self._claim = claim
        self._accepted = accepted
        self._repeated = repeated
        self._backlog = backlog
        self._sequence = ArrivalNumbers(clock)
        self._alerted_at: datetime | None = None
        self._taking: asyncio.Future[None] | None = None
        self._acknowledging: asyncio.Future[None] | None = None
        self._watch = IntakeWatch(clock, lambda: bus.heard_at)

    def status(self) -> IntakeStatus:
        """How taking in goes."""
        return self._watch.status()

    async def settled(self) -> None:
        """Wait for the batch that was under way when `run` was cancelled, and for its acknowledgement."""
        if self._taking is not None:
            await asyncio.wait([self._taking])
        if self._acknowledging is not None:
            await asyncio.wait([self._acknowledging])

    async def run(self) -> None:
        """Take messages in until cancelled; what is being made durable then is still acknowledged.

        One batch is stored at a time. Meanwhile the one before it is acknowledged and, under load, the next is pulled.
        """
        waits = exponential(0.2, 5.0)
        pulling: asyncio.Task[list[Message]] | None = None
        try:
            while True:
                if pulling is None and self._backlog() >= MAX_BACKLOG:
                    self._watch.enter(Stage.HELD_BACK)
                    await asyncio.sleep(0.05)
                    continue
                try:
                    self._watch.enter(Stage.PULLING)
                    pulling = pulling or self._pull()
                    await asyncio.wait([pulling])
                    pulled, pulling = pulling, None
                    messages = pulled.result()
                    if len(messages) >= MANY_MESSAGES and self._backlog() < MAX_BACKLOG:
                        pulling = self._pull()
                    self._watch.enter(Stage.STORING)
                    self._taking = asyncio.ensure_future(self._take_all(messages))
                    await asyncio.shield(self._taking)
                    self._watch.worked()
                    waits = exponential(0.2, 5.0)
                except LeaseLost:
                    raise
                except (BusError, StoreError) as error:
                    # Not acknowledged, so the bus delivers it again; what was stored is recognised.
                    self._watch.failed(error)
                    logger.warning("Taking orders in failed, trying again: %s", error)
                    await asyncio.sleep(next(waits))
        finally:
            if pulling is not None:
                pulling.cancel()
                await asyncio.wait([pulling])

    def _pull(self) -> asyncio.Task[list[Message]]:
        task = asyncio.get_running_loop().create_task(
            self._bus.pull(self._subscription, MAX_MESSAGES), name="intake pulls"
        )
        # It may have failed while nobody asked, as when we are to stop.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _take_all(self, messages: Sequence[Message]) -> None:
        """`take`, so that a message which nobody can process costs only itself."""
        try:
            await self._make_durable(messages)
            before = self._acknowledging
            self._acknowledging = asyncio.ensure_future(self._acknowledge(messages, before))
        except (BusError, StoreError):
            raise  # says nothing of the messages
        except Exception:
            # One message's, whatever it is. None was acknowledged, and what was stored is recognised as a repeat.
            logger.exception("A batch of %d messages could not be taken in; each is tried alone", len(messages))
            for message in messages:
                await self._take_alone(message)

    async def _take_alone(self, message: Message) -> None:
        try:
            await self.take([message])
        except (BusError, StoreError):
            raise  # says nothing of the messages
        except Exception as error:
            # It would come again for ever, and hold up what is behind it. It is kept durably before it is acknowledged.
            logger.exception("The message %s could not be taken in and is kept", message.message_id)
            reason = f"the message could not be processed ({type(error).__name__}); the log says more"
            await self._dead_letter(message, ReasonCode.INVALID, reason, None)
            await self._bus.acknowledge(self._subscription, [message.ack_id])

    async def _acknowledge(self, messages: Sequence[Message], before: asyncio.Future[None] | None) -> None:
        """Acknowledge what is durable, after those `before`. What cannot be comes again, and is recognised."""
        if before is not None:
            await asyncio.wait([before])
        try:
            await self._bus.acknowledge(self._subscription, [message.ack_id for message in messages])
        except BusError as error:
            self._watch.failed(error)
            logger.warning(
                "%d messages that are stored cannot be acknowledged, and come again: %s", len(messages), error
            )

    async def take(self, messages: Sequence[Message]) -> None:
        """Make every message durable, as an order or a dead letter, then acknowledge them all."""
        await self._make_durable(messages)
        await self._bus.acknowledge(self._subscription, [message.ack_id for message in messages])

    async def _make_durable(self, messages: Sequence[Message]) -> None:
        """Make every message durable, as an order or a dead letter."""
        received_at = self._clock()
        taken: list[_Taken] = []
        for number, message in enumerate(messages):
            if number % PARSED_AT_ONCE == 0:
                await asyncio.sleep(0)  # what waits for the loop, such as a commit, must not wait for a whole batch
            parsed = wire.parse(
                message.data,
                message_id=message.message_id,
                published_at=message.publish_time,
                received_at=received_at,
                sequence=self._sequence.next(),
                attributes=message.attributes,
                environment=self._environment,
                accounts=self._account_names,
            )
            match parsed:
                case Accepted(record):
                    signal_id = record.order.request.signal_id
                    order_log.info(texts.received(signal_id), signal_id)
                    judged = self._execution.process_order(record)
                    taken.append(_Taken(judged.id, signal_id, record.source.content, message, judged))
                case Invalid():
                    order_log.info(texts.received(parsed.key.signal_id), parsed.key.signal_id)
                    order_id = parsed.key.client_order_id()
                    taken.append(_Taken(order_id, parsed.key.signal_id, parsed.source.content, message, parsed))
                case Unreadable(reason, code, signal):
                    await self._dead_letter(message, code, reason, signal)
        repeats = await self._store_new(taken)
        if repeats:
            await self._judge_repeats(repeats)

    async def _store_new(self, taken: Sequence[_Taken]) -> list[_Taken]:
        """Insert what is new: PENDING orders in one go, refused ones each with its answer; the rest comes back."""
        repeats: list[_Taken] = []
        first: dict[ClientOrderId, _Taken] = {}
        for item in taken:
            if item.order_id in first:
                repeats.append(item)
            else:
                first[item.order_id] = item
        pending: list[OrderRecord] = []
        answered: list[_Taken] = []
        for item in first.values():
            if isinstance(item.order, OrderRecord) and item.order.order.status is OrderStatus.PENDING:
                pending.append(item.order)
            else:
                answered.append(item)
        waiting: list[OrderRecord] = []
        sent: list[tuple[OrderRecord, Claim]] = []
        begun: list[asyncio.Future[bool]] = []
        try:
            for record in pending:
                claim = await self._claim(record)
                if claim is None:
                    waiting.append(record)
                else:
                    sent.append((record, claim))
                    begun.append(claims.store(self._ledger, claim))
            known = await self._insert(waiting)
            stored = await asyncio.gather(*begun)
            known |= await self._insert([record for (record, _), done in zip(sent, stored, strict=True) if not done])
        finally:
            # Whatever has failed: nobody may be told that an order is not stored while its commit is under way.
            await asyncio.gather(*begun, return_exceptions=True)
            for _, claim in sent:
                claim.settle(None)
        repeats += [first[record.id] for record in pending if record.id in known]
        repeats += [item for item in answered if not await self._store_answered(item)]
        return repeats

    async def _insert(self, records: Sequence[OrderRecord]) -> set[str]:
        """Store them as PENDING; the ids of those that are known come back."""
        if not records:
            return set()
        known = await self._store.insert(ORDERS, [journal.order_document(record) for record in records])
        for record in records:
            if record.id not in known:
                self._accepted(record)
        return known

    async def _store_answered(self, item: _Taken) -> bool:
        """Store a refused order together with its confirmation; False if its id is taken."""
        if await self._store.load(ORDERS, {"_id": item.order_id}, limit=1):
            return False
        order = item.order

        def decide(unit: Unit) -> None:
            if isinstance(order, OrderRecord):
                unit.put(Entry(order))
                lines = texts.log_lines(None, order.order)
            else:
                unit.write(*self._projector.invalid(order, unit.now))
                lines = [texts.rejected(order.reason)]

            def log() -> None:
                for line in lines:
                    order_log.info(line, item.signal_id)

            unit.afterwards(log)

        try:
            await self._ledger.submit(decide)
        except RevisionConflict:
            return False
        return True

    async def _judge_repeats(self, repeats: Sequence[_Taken]) -> None:
        """Same key, same content: nothing else happens. Other content: kept as a dead letter, and told."""
        ids = [item.order_id for item in repeats]
        stored: dict[str, Document] = {
            document["_id"]: document for document in await self._store.load(ORDERS, {"_id": ids})
        }
        for item in repeats:
            known = stored[item.order_id]
            if known["content"] == item.content:
                if known["status"] == OrderStatus.PENDING:
                    self._repeated(known["account_id"])
                order_log.info(texts.duplicate(), item.signal_id)
                continue
            reason = (
                f"The signal_id {item.signal_id} was used before, for an order with other content; "
                "this one was not placed, and nothing about the first has changed"
            )
            await self._dead_letter(item.message, ReasonCode.CONFLICT, reason, item.signal_id)

    async def _dead_letter(self, message: Message, code: ReasonCode, reason: str, signal_id: str | None) -> None:
        """Keep the message as it came; durable when this returns."""
        now = self._clock()
        letter: dict[str, Any] = {
            "_id": digest("dead letter", message.message_id, message.data.hex()[:4096]),
            "schema_version": journal.SCHEMA_VERSION,
            "received_at": now,
            "message_id": message.message_id,
            "signal_id": signal_id,
            "reason_code": code.value,
            "reason": reason,
            "body": None,
            "body_b64": None,
            "attributes": dict(message.attributes),
        }
        try:
            letter["body"] = message.data.decode("utf-8")
        except UnicodeDecodeError:
            letter["body_b64"] = base64.b64encode(message.data).decode("ascii")
        if await self._store.load(DEAD_LETTERS, {"_id": letter["_id"]}, limit=1):
            return  # kept already: the message was delivered again
        writes = [Write(DEAD_LETTERS, letter["_id"], None, letter)]
        alert = self._alerted_at is None or (now - self._alerted_at).total_seconds() >= DEAD_LETTER_ALERT_SECONDS
        if alert or code is ReasonCode.CONFLICT:
            if code is not ReasonCode.CONFLICT:
                self._alerted_at = now
            writes += self._projector.dead_letter(letter["_id"], code, reason, signal_id, now)
        await self._ledger.write(*writes)
        if signal_id is not None:
            order_log.warning(texts.refused_message(code, reason), signal_id)
        else:
            logger.warning("%s", texts.refused_message(code, reason))
