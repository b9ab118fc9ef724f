"""What people ask for on the command line, carried out by the account's owner: `cancel` and `resolve` of an order,
`resume` of an account that was stopped.

A command is a document: the command line writes it, the owner finds it, does it and writes the answer. So it works
from any machine, waits for a service that is down, and is done once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from exec_core.clock import Clock
from exec_core.events import CancelAsked, Resolution, Resolved
from exec_core.identifiers import ClientOrderId
from exec_core.notifier import Notification
from exec_core.orders import OrderStatus, ReasonCode

from exec_service import journal, notices
from exec_service.stores import COMMANDS, Document, LeaseLost, RevisionConflict, Store, StoreUnavailable, Write
from exec_service.units import OrderMissing, Unit

if TYPE_CHECKING:  # the command line wants only the words of this module, and begins sooner so
    from exec_service.execution import Execution
    from exec_service.ledger import Ledger

logger = logging.getLogger(__name__)

OPEN: Final = "OPEN"
DONE: Final = "DONE"
REFUSED: Final = "REFUSED"
RESUME: Final = "resume"

#: Makes the outbox rows that tell people something about an account.
Tell = Callable[[str, Callable[..., Notification], datetime], list[Write]]


def command_document(
    command_id: str, kind: str, order_id: str | None, account_id: str, arguments: dict[str, Any], who: str, at: datetime
) -> Document:
    """A command as it is stored. `order_id`: None where it is about the whole account."""
    return {
        "_id": command_id,
        "revision": 1,
        "schema_version": journal.SCHEMA_VERSION,
        "kind": kind,
        "client_order_id": order_id,
        "account_id": account_id,
        "arguments": arguments,
        "who": who,
        "created_at": at,
        "state": OPEN,
        "answer": None,
        "answered_at": None,
    }


class Commands:
    """Carries out the commands for the accounts that we own."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        execution: Execution,
        clock: Clock,
        owns: Callable[[str], bool],
        tell: Tell,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._execution = execution
        self._clock = clock
        self._owns = owns
        self._tell = tell

    async def work(self) -> None:
        """Do what is open now."""
        try:
            documents = await self._store.load(COMMANDS, {"state": OPEN}, order_by="created_at")
        except StoreUnavailable as error:
            logger.warning("Commands cannot be read: %s", error)
            return
        for document in documents:
            if self._owns(document["account_id"]):
                try:
                    await self._carry_out(document)
                except RevisionConflict:
                    logger.info("The command %s was answered meanwhile", document["_id"])

    async def _carry_out(self, document: Document) -> None:
        """Do it and answer it, in one transaction: a command is done once, whatever is killed when."""
        try:
            await self._ledger.submit(lambda unit: self._decide(unit, document))
        except (LeaseLost, asyncio.CancelledError, RevisionConflict):
            raise
        except Exception as error:
            if isinstance(error, OrderMissing):
                answer = "There is no such order"
            elif isinstance(error, ValueError):
                answer = str(error)
            else:
                logger.exception("The command %s failed", document["_id"])
                answer = f"It failed ({type(error).__name__}); the log says more"
            await self._ledger.submit(lambda unit: self._answer(unit, document, REFUSED, answer))

    def _decide(self, unit: Unit, document: Document) -> None:
        if not self._owns(document["account_id"]):
            return  # it has been handed over meanwhile: the new owner finds the command
        if document["kind"] == RESUME:
            self._resume(unit, document)
        else:
            self._about_order(unit, document)

    def _resume(self, unit: Unit, document: Document) -> None:
        """A person has looked at why the account was stopped, and starts it again."""
        account_id, arguments, who = document["account_id"], document["arguments"], document["who"]
        halts = self._execution.halts
        if not halts.knows(account_id):
            return  # it is just being taken up: the command is found again
        reason = arguments.get("reason")
        seen = {finding["id"]: finding["total"] for finding in arguments.get("findings") or ()}
        halted = halts.resume_in(unit, account_id, who, reason, seen)
        if halted is None:
            self._answer(unit, document, REFUSED, f"The account {account_id} is not stopped")
            return
        make = partial(notices.account_resumed, f"{document['_id']}-resumed", who, reason)
        unit.write(*self._tell(account_id, make, unit.now))
        said = f"Account {account_id} was started again by {who}: {reason or 'no reason was given'}"
        unit.afterwards(lambda: logger.warning("%s. It had been stopped: %s", said, halted.reason))
        self._answer(unit, document, DONE, f"The account {account_id} trades again")

    def _about_order(self, unit: Unit, document: Document) -> None:
        order_id = ClientOrderId(document["client_order_id"])
        before = unit.entry(order_id).order
        if before.status.is_final:
            self._answer(unit, document, REFUSED, f"The order is {before.status} already")
            return
        if document["kind"] == "resolve" and before.status is not OrderStatus.UNKNOWN and before.attention is None:
            text = f"The order is {before.status} and nothing about it is in doubt: wait for the broker, or cancel it"
            self._answer(unit, document, REFUSED, text)
            return
        after = self._execution.apply_in(unit, order_id, _event(document)).order
        if document["kind"] == "resolve":
            answer = f"The order is {after.status}, {after.filled_quantity} filled"
        elif after.status.is_final:
            answer = f"The order is {after.status}"
        else:
            answer = "The cancel is asked for; the order ends when the broker says so"
        self._answer(unit, document, DONE, answer)

    def _answer(self, unit: Unit, document: Document, state: str, answer: str) -> None:
        done = {"revision": 2, "state": state, "answer": answer, "answered_at": self._clock()}
        unit.write(Write(COMMANDS, document["_id"], 1, done))


def _event(document: Document) -> CancelAsked | Resolved:
    """What the command does to the order. :raises ValueError: this release knows no such command."""
    arguments, who = document["arguments"], document["who"]
    if document["kind"] == "cancel":
        return CancelAsked(ReasonCode.CANCELLED_BY_USER, arguments.get("reason") or f"Cancelled by {who}")
    if document["kind"] == "resolve":
        return Resolved(
            Resolution(arguments["as"]),
            who,
            arguments["evidence"],
            _decimal(arguments.get("quantity")),
            _decimal(arguments.get("price")),
        )
    raise ValueError(f"This release knows no command {document['kind']}")


def _decimal(value: object) -> Decimal | None:
    return None if value is None else Decimal(str(value))
