"""Keeps one account's findings, tells people of them once, and stops the account where one demands it.

Each look comes to one transaction: the findings, what is told of them, and the stop. So a finding is told once,
however often the service is stopped, and an account is stopped if, and only if, the cause is on record.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

from exec_core.clock import Clock

from exec_service import findings, notices
from exec_service.findings import Event, Step
from exec_service.halting import Halts
from exec_service.ledger import Ledger
from exec_service.logs import order_log
from exec_service.projections import Projector
from exec_service.reconciliation import Kind, Look, Severity
from exec_service.stores import FINDINGS, Document, Store
from exec_service.units import Unit

logger = logging.getLogger(__name__)

#: What people have been told of already, by the order's own alarm.
TOLD_BY_THE_ORDER: Final = frozenset({Kind.UNKNOWN_TO_BROKER, Kind.MODIFIED})


class FindingsKeeper:
    """One account's; see the module's text."""

    def __init__(
        self, account_id: str, halts: Halts, ledger: Ledger, store: Store, projector: Projector, clock: Clock
    ) -> None:
        self._account_id = account_id
        self._halts = halts
        self._ledger = ledger
        self._store = store
        self._projector = projector
        self._clock = clock

    async def stored(self, look: Look) -> list[Document]:
        """What stands, and what is cleared of what the look has found."""
        standing = await self._store.load(FINDINGS, {"account_id": self._account_id, "cleared_at": None})
        names = {findings.finding_id(self._account_id, about) for about in look.findings}
        older = names - {document["_id"] for document in standing}
        return standing + (await self._store.load(FINDINGS, {"_id": sorted(older)}) if older else [])

    async def record(self, look: Look) -> None:
        """Keep what the look came to, and tell it; in one transaction."""
        found = findings.steps(self._account_id, look, stored := await self.stored(look), self._clock())
        if found or any(finding.severity is Severity.CRITICAL for finding in look.findings.values()):
            documents = {document["_id"]: document for document in stored}
            await self._ledger.submit(lambda unit: self._write(unit, look, found, documents))

    def _write(self, unit: Unit, look: Look, found: Iterable[Step], stored: Mapping[str, Document]) -> None:
        stopped_by = None
        for step in found:
            unit.write(step.write())
            if step.event in (Event.APPEARED, Event.CLEARED):
                self._halts.accept_no_more(self._account_id, step.id)
        for finding in look.findings.values():
            name = findings.finding_id(self._account_id, finding.about)
            if finding.severity is not Severity.CRITICAL:
                continue
            if not self._halts.is_accepted(self._account_id, name, findings.total_of(finding)):
                halted = self._halts.halt_in(unit, self._account_id, finding.text)
                if halted is not None:
                    stopped_by = name
                    text = halted.sentence(self._account_id)
                    notice = f"{findings.notice_id(name, 0)}-stopped-{halted.since.timestamp():.6f}"
                    make = partial(notices.account_stopped, notice, text, signal_id=finding.signal_id)
                    unit.write(*self._projector.tell(self._account_id, make, unit.now))
                    unit.afterwards(partial(_log, text, finding.signal_id))
        for step in found:
            self._tell(unit, step, stored.get(step.id), is_told=step.id == stopped_by)

    def _tell(self, unit: Unit, step: Step, stored: Document | None, *, is_told: bool) -> None:
        """What people hear of a step: that it appeared, that it is more than was told, that it is no more."""
        name = findings.notice_id(step.id, step.revision)
        finding = step.finding
        if finding is None:
            if stored is None or stored["severity"] == Severity.INFORMATION:
                unit.afterwards(partial(_log, f"No longer so: {stored['text'] if stored else step.id}", None))
                return
            what = findings.WORDS[Kind(stored["kind"])]
            cleared = partial(notices.difference_cleared, name, what, stored["text"], signal_id=stored["signal_id"])
            unit.write(*self._projector.tell(self._account_id, cleared, unit.now))
            unit.afterwards(partial(_log, f"No longer so: {stored['text']}", stored["signal_id"]))
            return
        grew = finding.severity is Severity.CRITICAL and step.event is Event.CHANGED
        if step.event is not Event.APPEARED and not grew:
            return
        if is_told:
            return  # as the reason of the stop
        unit.afterwards(partial(_log, finding.text, finding.signal_id))
        if finding.kind not in TOLD_BY_THE_ORDER:
            make = partial(
                notices.difference_found,
                name,
                findings.WORDS[finding.kind],
                finding.severity.value.lower(),
                finding.text,
                signal_id=finding.signal_id,
            )
            unit.write(*self._projector.tell(self._account_id, make, unit.now))


def _log(text: str, signal_id: str | None) -> None:
    if signal_id is None:
        logger.warning("Reconciliation: %s", text)
    else:
        order_log.warning(f"Reconciliation: {text}", signal_id)
