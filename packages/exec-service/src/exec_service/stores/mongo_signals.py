"""Our part of `signal_store`, whose documents belong to others: updates that touch nothing but our fields.

However many signals there are, they are looked up with one question, and written with one insert and one update.
Nothing is locked while a `merge` decides. What it has looked at is noted, and the update takes place only if all of
that still stands as it was; else the document is read, and decided on, again. So other writers of the same documents
neither lose anything nor make us fail, and what we did not look at may change as it likes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final

from bson import ObjectId
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, WriteError
from pymongo.results import BulkWriteResult, InsertManyResult

from exec_service.stores import SIGNALS, SignalChange, StoreError, StoreUnavailable
from exec_service.stores.mongo_codec import decode_exactly, encode, identifiers, pack
from exec_service.stores.mongo_connection import Connection
from exec_service.stores.mongo_errors import DUPLICATE_KEY, is_passing
from exec_service.stores.mongo_seen import Seen, guard
from exec_service.stores.mongo_writes import packed_fields, setting

DOING: Final = "update signal_store"
#: So many are decided on without a pause, in some ten milliseconds.
AT_ONCE: Final = 500
#: Where a new document is kept out by what these hold, it is found when it is looked for again.
_LOOKED_UP: Final = frozenset({"_id", "signal_id"})

Answer = StoreError | ValueError | None


async def update_signals(connection: Connection, wanted: Sequence[SignalChange]) -> list[Answer]:
    """See `Store.update_signals`. :raises StoreUnavailable: also when others keep changing what was decided on."""
    answers: list[Answer] = []
    for start in range(0, len(wanted), AT_ONCE):
        answers += await _answers(connection, wanted[start : start + AT_ONCE])
    return answers


async def _answers(connection: Connection, wanted: Sequence[SignalChange]) -> list[Answer]:
    try:
        return await _Updates(connection, wanted).run()
    except StoreUnavailable:
        raise
    except BSONError as error:
        problem: Answer = StoreError(f"MongoDB could not {DOING}: {type(error).__name__}: {error}")
    except (StoreError, ValueError) as error:
        problem = error
    if len(wanted) == 1:
        return [problem]
    # Something about one of them spoils the whole: one by one each gets its own answer.
    return [answer for one in wanted for answer in await _answers(connection, [one])]


class _Target:
    """A document that is to be changed: as it was found, if it was, and what is to be set in it."""

    __slots__ = ("changes", "fields", "key", "name", "seen", "stored", "unseen")

    def __init__(self, key: Any, stored: RawBSONDocument | None) -> None:
        self.key = key
        self.name = f"{SIGNALS}/{key}"
        self.stored = stored
        self.seen = Seen({"_id": key} if stored is None else stored)
        self.fields: dict[str, Any] = {}
        #: of these what no later change was shown yet
        self.unseen: dict[str, Any] = {}
        #: whose changes these are, by their numbers
        self.changes: list[int] = []

    def shown(self) -> Seen:
        """The document as the changes so far have made it."""
        if self.unseen:
            self.seen.overlay(decode_exactly(encode(self.unseen, self.name)))
            self.unseen = {}
        return self.seen

    def take(self, number: int, packed: dict[str, Any]) -> None:
        """Also make this change."""
        self.fields |= packed
        self.unseen |= packed
        self.changes.append(number)

    def document(self) -> RawBSONDocument:
        """The whole, where it is new. :raises ValueError: it is too large."""
        return encode({"_id": self.key, **self.fields}, self.name)

    def update(self, stored: RawBSONDocument) -> UpdateOne:
        """What sets the fields, if all that was looked at stands as it did. :raises ValueError: it is too large."""
        where = {"_id": self.key, **guard(stored, self.seen.names)}
        return UpdateOne(where, setting(self.fields, encode(self.fields, self.name)))


class _Found:
    """What was found of the signals, and what is new since."""

    def __init__(self, documents: Sequence[RawBSONDocument]) -> None:
        self._by_id: dict[Any, _Target] = {}
        self._mentions: dict[Any, _Target] = {}
        # Of several that mention a signal the same one each time: what was told of the signal before stands there.
        for raw in documents if len(documents) < 2 else sorted(documents, key=lambda raw: str(raw["_id"])):
            self._add(_Target(pack(raw["_id"]), raw), raw.get("signal_id"))

    def of(self, names: Sequence[Any], signal_id: str) -> _Target | None:
        """By the first of the names that exists, else by its ``signal_id``, else by the signal's own name."""
        for name in names:
            if name in self._by_id:
                return self._by_id[name]
        return self._mentions.get(signal_id) or self._by_id.get(signal_id)

    def new(self, signal_id: str) -> _Target:
        """One that is to be made."""
        return self._add(_Target(signal_id, None), signal_id)

    def _add(self, target: _Target, signal_id: Any) -> _Target:
        if isinstance(target.key, str | ObjectId):  # nothing else is asked for by its name
            self._by_id[target.key] = target
        if isinstance(signal_id, str):
            self._mentions.setdefault(signal_id, target)
        return target


class _Updates:
    """Changes on their way, until each is made, or known to be impossible."""

    def __init__(self, connection: Connection, wanted: Sequence[SignalChange]) -> None:
        self._connection = connection
        self._wanted = wanted
        self._answers: list[Answer] = [None] * len(wanted)
        #: Of each change the names that its document may bear, and its signal's.
        self._names: list[tuple[list[Any], str]] = []
        self._left: list[int] = []
        for number, change in enumerate(wanted):
            try:
                names = [form for name in change.ids for form in identifiers(name)]
                self._names.append((names, pack(change.signal_id, "signal_id")))
                self._left.append(number)
            except ValueError as error:
                self._names.append(([], ""))
                self._answers[number] = error

    async def run(self) -> list[Answer]:
        """Try until nothing is left. :raises StoreUnavailable: others are always quicker."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._connection.timeout_seconds
        wait = 0.005
        while self._left:
            targets = self._decide(_Found(await self._find()))
            self._left = sorted(await self._insert(targets) + await self._update(targets))
            if self._left:
                if loop.time() > deadline:
                    names = ", ".join(sorted({self._wanted[number].signal_id for number in self._left}))
                    raise StoreUnavailable(f"signal_store: others keep changing what is to be updated of {names:.300}")
                await asyncio.sleep(random.uniform(0, wait))
                wait = min(wait * 2, 0.2)
        return self._answers

    async def _find(self) -> list[RawBSONDocument]:
        """All documents that may be meant."""
        signals = list({self._names[number][1] for number in self._left})
        ids = {name for number in self._left for name in self._names[number][0]}.union(signals)
        where = {"$or": [{"_id": {"$in": list(ids)}}, {"signal_id": {"$in": signals}}]}
        with self._connection.bounded(DOING):
            found = self._connection.collection(SIGNALS).find(where, batch_size=10 * AT_ONCE)
            return await found.to_list()

    def _decide(self, found: _Found) -> list[_Target]:
        """The documents to write; what needs no writing is done with, and so is what can never be written."""
        targets: dict[int, _Target] = {}
        for number in self._left:
            change = self._wanted[number]
            names, signal_id = self._names[number]
            target = found.of(names, signal_id)
            try:
                fields = change.merge(None if target is None else target.shown())
                if fields is None:
                    if target is not None and target.changes:
                        target.changes.append(number)  # it has nothing to add to what is not written yet
                    continue
                if target is None:
                    fields = {"signal_id": change.signal_id, **fields}
                packed = packed_fields(SIGNALS, fields, f"{SIGNALS}/{signal_id}")
            except ValueError as error:
                self._answers[number] = error
                continue
            if target is None:
                target = found.new(signal_id)
            target.take(number, packed)
            targets[id(target)] = target
        return list(targets.values())

    async def _insert(self, targets: Sequence[_Target]) -> list[int]:
        """Make the new documents; the changes that are to be decided on again come back."""
        new: list[tuple[_Target, RawBSONDocument]] = []
        for target in targets:
            if target.stored is None:
                try:
                    new.append((target, target.document()))
                except ValueError as error:
                    self._give_up(target, error)
        if not new:
            return []
        with self._connection.bounded(DOING):
            documents = [document for _, document in new]
            _, failed = await _outcome(self._connection.collection(SIGNALS).insert_many(documents, ordered=False))
        again: list[int] = []
        for index, problem in failed.items():
            target, _ = new[index]
            if is_passing(problem) or _is_found_next(problem):
                again += target.changes
            else:
                self._give_up(target, self._connection.translated(problem, DOING))
        return again

    async def _update(self, targets: Sequence[_Target]) -> list[int]:
        """Change what is there; the changes that are to be decided on again come back."""
        sent: list[tuple[_Target, UpdateOne]] = []
        for target in targets:
            if target.stored is not None:
                try:
                    sent.append((target, target.update(target.stored)))
                except ValueError as error:
                    self._give_up(target, error)
        if not sent:
            return []
        with self._connection.bounded(DOING):
            updates = [update for _, update in sent]
            result, failed = await _outcome(self._connection.collection(SIGNALS).bulk_write(updates, ordered=False))
        # Which were not as they had been is not told: looking at all of them again shows whose change stands.
        all_stood = result["nMatched"] + len(failed) == len(sent)
        again: list[int] = []
        for index, (target, _) in enumerate(sent):
            problem = failed.get(index)
            if problem is not None and not is_passing(problem):
                self._give_up(target, self._connection.translated(problem, DOING))
            elif problem is not None or not all_stood:
                again += target.changes
        return again

    def _give_up(self, target: _Target, error: StoreError | ValueError) -> None:
        for number in target.changes:
            self._answers[number] = error


async def _outcome(
    write: Awaitable[InsertManyResult | BulkWriteResult],
) -> tuple[Mapping[str, Any], dict[int, WriteError]]:
    """What the server has counted, and what went wrong with which statement."""
    try:
        result = await write
    except BulkWriteError as error:
        details = error.details or {}
        if details.get("writeConcernErrors") or not details.get("writeErrors"):
            raise
        errors = details["writeErrors"]
        return details, {item["index"]: WriteError(item.get("errmsg", ""), item["code"], item) for item in errors}
    return (result.bulk_api_result if isinstance(result, BulkWriteResult) else {}), {}


def _is_found_next(error: WriteError) -> bool:
    """Whether somebody else was quicker to make the document; what else keeps it out will go on doing so."""
    return error.code == DUPLICATE_KEY and set((error.details or {}).get("keyPattern", _LOOKED_UP)) <= _LOOKED_UP
