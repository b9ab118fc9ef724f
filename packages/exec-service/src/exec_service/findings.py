"""Findings as they are kept: one document per account and what it is about, from its appearing to its clearing.

Pure: what a look found against what is stored comes to steps. Each is written in one transaction with what it tells
people, so that a finding is told once however often the service is stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from exec_core.identifiers import digest

from exec_service import journal
from exec_service.codecs import plain
from exec_service.reconciliation import Finding, Kind, Look, Severity, Subject
from exec_service.stores import FINDINGS, Document, Write

#: A finding that stands is marked as seen again at most this often.
SEEN_AGAIN: Final = timedelta(seconds=60)

#: What people read for each kind.
WORDS: Final[Mapping[Kind, str]] = {
    Kind.UNKNOWN_TO_BROKER: "order unknown to the broker",
    Kind.EXTERNAL_ORDER: "external order",
    Kind.MODIFIED: "order modified at the broker",
    Kind.STILL_OPEN: "ended order still open at the broker",
    Kind.POSITION_DIFFERS: "position differs",
    Kind.BEYOND_ASKED: "more at the broker than was asked",
}
#: The most pressing first.
RANKS: Final[Mapping[str, int]] = {severity.value: rank for rank, severity in enumerate(Severity)}


class Event(StrEnum):
    """What became of a finding."""

    APPEARED = "APPEARED"
    CHANGED = "CHANGED"
    SEEN = "SEEN"
    CLEARED = "CLEARED"


@dataclass(frozen=True, slots=True)
class Step:
    """One document to write. `finding`: None where it is cleared; `document` is then the stored one's."""

    event: Event
    id: str
    revision: int
    document: Mapping[str, Any]
    finding: Finding | None = None

    def write(self) -> Write:
        """The write, over the revision that was loaded."""
        return Write(FINDINGS, self.id, self.revision - 1, {**self.document, "revision": self.revision})


def finding_id(account_id: str, about: Subject) -> str:
    """The document's name."""
    return f"{account_id}|{about[0]}|{about[1]}"


def notice_id(step_id: str, revision: int) -> str:
    """The name of what is told about a step: always the same for the same one."""
    return f"finding-{digest(step_id)}-{revision}"


def about_of(document: Mapping[str, Any]) -> Subject | None:
    """What a stored finding is about; None if only a newer release knows."""
    known = Kind.__members__.get(document["kind"])
    return None if known is None else (known, document["subject"])


def is_news(look: Look, stored: Iterable[Document]) -> bool:
    """Whether the look says anything else than what stands: then it takes a second one that agrees."""
    standing = {about: document for document in stored if (about := _standing(document)) is not None}
    for about, finding in look.findings.items():
        if about not in standing or not _same(standing[about], finding):
            return True
    return any(look.denies(about) for about in standing)


def steps(account_id: str, look: Look, stored: Iterable[Document], now: datetime) -> list[Step]:
    """What the look changes. `stored`: what stands, and what was cleared of what the look has found."""
    documents = {document["_id"]: document for document in stored}
    found: list[Step] = []
    for about, finding in look.findings.items():
        name = finding_id(account_id, about)
        document = documents.get(name)
        revision = 1 if document is None else document["revision"] + 1
        if document is None or document["cleared_at"] is not None:
            found.append(Step(Event.APPEARED, name, revision, _new(account_id, finding, now), finding))
        elif not _same(document, finding) or document["text"] != finding.text:
            changed = {"text": finding.text, "figures": plain(finding.figures), "last_seen_at": now}
            found.append(Step(Event.CHANGED, name, revision, changed, finding))
        elif now - document["last_seen_at"] >= SEEN_AGAIN:
            found.append(Step(Event.SEEN, name, revision, {"last_seen_at": now}, finding))
    for name, document in documents.items():
        gone = _standing(document)
        if gone is not None and look.denies(gone):
            cleared = {"cleared_at": now, "accepted": None}
            found.append(Step(Event.CLEARED, name, document["revision"] + 1, cleared))
    return found


def newest_first(documents: Iterable[Document]) -> list[Document]:
    """The most severe first, of those the newest."""
    by_age = sorted(documents, key=lambda document: document["first_seen_at"], reverse=True)
    return sorted(by_age, key=lambda document: RANKS.get(document["severity"], -1))


def total_of(finding: Finding) -> Decimal:
    """The figure by which one finding of that kind is larger than another."""
    total = finding.figures.get("total")
    return total if isinstance(total, Decimal) else Decimal(0)


def _new(account_id: str, finding: Finding, now: datetime) -> dict[str, Any]:
    return {
        "schema_version": journal.SCHEMA_VERSION,
        "account_id": account_id,
        "kind": finding.kind.value,
        "severity": finding.severity.value,
        "subject": finding.subject,
        "signal_id": finding.signal_id,
        "text": finding.text,
        "figures": plain(finding.figures),
        "first_seen_at": now,
        "last_seen_at": now,
        "cleared_at": None,
        "accepted": None,
        "notified": True,
    }


def _standing(document: Mapping[str, Any]) -> Subject | None:
    return about_of(document) if document["cleared_at"] is None else None


def _same(document: Mapping[str, Any], finding: Finding) -> bool:
    return bool(document["figures"] == plain(finding.figures))
