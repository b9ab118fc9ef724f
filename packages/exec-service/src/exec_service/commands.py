"""What people ask for on the command line: `cancel` and `resolve`, carried out by the account's owner.

A command is a document: the command line writes it, the owner finds it, does it and writes the answer. So it works
from any machine, waits for a service that is down, and is done once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from exec_core.clock import Clock
from exec_core.events import CancelAsked, Resolution, Resolved
from exec_core.identifiers import ClientOrderId
from exec_core.orders import ReasonCode

from exec_service import journal
from exec_service.execution import Execution
from exec_service.ledger import Ledger
from exec_service.stores import COMMANDS, Document, LeaseLost, Store, StoreUnavailable, Write

logger = logging.getLogger(__name__)

OPEN: Final = "OPEN"
DONE: Final = "DONE"
REFUSED: Final = "REFUSED"


def command_document(
    command_id: str, kind: str, order_id: str, account_id: str, arguments: dict[str, Any], who: str, at: datetime
) -> Document:
    """A command as it is stored."""
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
        self, store: Store, ledger: Ledger, execution: Execution, clock: Clock, owns: Callable[[str], bool]
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._execution = execution
        self._clock = clock
        self._owns = owns

    async def work(self) -> None:
        """Do what is open now."""
        try:
            documents = await self._store.load(COMMANDS, {"state": OPEN}, order_by="created_at")
        except StoreUnavailable as error:
            logger.warning("Commands cannot be read: %s", error)
            return
        for document in documents:
            if self._owns(document["account_id"]):
                await self._carry_out(document)

    async def _carry_out(self, document: Document) -> None:
        order_id = ClientOrderId(document["client_order_id"])
        state, answer = REFUSED, ""
        try:
            if await self._ledger.find(order_id) is None:
                answer = "There is no such order"
            elif document["kind"] == "cancel":
                state, answer = await self._cancel(order_id, document)
            elif document["kind"] == "resolve":
                state, answer = await self._resolve(order_id, document)
            else:
                answer = f"This release knows no command {document['kind']}"
        except (LeaseLost, asyncio.CancelledError):
            raise
        except Exception as error:
            logger.exception("The command %s failed", document["_id"])
            answer = f"It failed ({type(error).__name__}); the log says more"
        done = {"revision": 2, "state": state, "answer": answer, "answered_at": self._clock()}
        await self._ledger.write(Write(COMMANDS, document["_id"], None, done))

    async def _cancel(self, order_id: ClientOrderId, document: Document) -> tuple[str, str]:
        reason = document["arguments"].get("reason") or f"Cancelled by {document['who']}"
        before = await self._ledger.find(order_id)
        if before is not None and before.order.status.is_final:
            return REFUSED, f"The order is {before.order.status} already"
        after = await self._execution.apply(order_id, CancelAsked(ReasonCode.CANCELLED_BY_USER, reason))
        if after.order.status.is_final:
            return DONE, f"The order is {after.order.status}"
        return DONE, "The cancel is asked for; the order ends when the broker says so"

    async def _resolve(self, order_id: ClientOrderId, document: Document) -> tuple[str, str]:
        arguments = document["arguments"]
        event = Resolved(
            Resolution(arguments["as"]),
            document["who"],
            arguments["evidence"],
            _decimal(arguments.get("quantity")),
            _decimal(arguments.get("price")),
        )
        before = await self._ledger.find(order_id)
        if before is not None and before.order.status.is_final:
            return REFUSED, f"The order is {before.order.status} already"
        try:
            after = await self._execution.apply(order_id, event)
        except ValueError as error:
            return REFUSED, str(error)
        return DONE, f"The order is {after.order.status}, {after.order.filled_quantity} filled"


def _decimal(value: object) -> Decimal | None:
    return None if value is None else Decimal(str(value))
