"""Sends a commit's writes inside its transaction, and finds out whose documents are not as expected."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Final

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError, WriteError

from exec_service.stores import OPEN_POSITION, POSITIONS, UNIQUE
from exec_service.stores.mongo_codec import OPTIONS, decode, pack
from exec_service.stores.mongo_errors import DUPLICATE_KEY
from exec_service.stores.mongo_writes import LOOK_FIRST, Group, Pending, Plan, changes, chunks

#: A query holds so many alternatives at most.
MAX_ALTERNATIVES: Final = 1_000

Documents = dict[Hashable, dict[str, Any]]


class Unexpected(Exception):
    """Something is not as the writes expect it; nothing may be committed. `known` names what is known of it."""

    def __init__(self, known: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(f"{len(known)} known")
        self.known = tuple(known)


class Batch:
    """The writes of one attempt. `thorough`: look at everything first, and name all that is not as expected."""

    def __init__(
        self, database: AsyncDatabase[Any], session: AsyncClientSession, plan: Plan, *, thorough: bool
    ) -> None:
        self._database = database
        self._session = session
        self._plan = plan
        self._thorough = thorough

    async def write(self) -> None:
        """Write all. :raises Unexpected: a document or a unique combination is not as expected."""
        if self._thorough:
            conflicts = [key for group in self._plan.groups for key in await self._conflicts(group)]
            if conflicts:
                raise Unexpected(conflicts)
        # Positions are what others write too: the sooner after the snapshot, the less often they are quicker.
        for group in sorted(self._plan.groups, key=lambda group: group.collection != POSITIONS):
            await self._write(group)

    async def _write(self, group: Group) -> None:
        name, statements, new = group.collection, changes(group.changes, known=False), list(group.inserts)
        if len(statements) > LOOK_FIRST:
            found = await self._find(name, [item.id for item in group.changes], {"revision": 1})
            _check_revisions(group.changes, found)
            statements = changes([item for item in group.changes if item.id in found], known=True)
            new += [item for item in group.changes if item.id not in found]
        if statements:
            sizes = [statement.size for statement in statements]
            for part in chunks(sizes):
                sent = statements[part]
                await self._send(name, "update", "updates", [one.sent for one in sent], [one.items for one in sent])
        if new:
            documents = [item.document() for item in new]
            for part in chunks([len(document.raw) for document in documents]):
                await self._send(name, "insert", "documents", documents[part], [[item] for item in new[part]])

    async def _send(
        self, collection: str, command: str, what: str, statements: Sequence[Any], items: Sequence[Sequence[Pending]]
    ) -> None:
        try:
            reply = await self._database.command(
                {command: collection, "ordered": True, what: statements}, session=self._session, codec_options=OPTIONS
            )
        except DuplicateKeyError as error:
            raise Unexpected from error
        for found in reply.get("writeErrors", ()):
            if found["code"] == DUPLICATE_KEY:
                raise Unexpected([item.key for item in items[found["index"]]])
            raise WriteError(found.get("errmsg", ""), found["code"], reply)
        if reply["n"] != sum(map(len, items)):
            raise Unexpected

    async def _find(self, collection: str, ids: Sequence[Any], fields: Mapping[str, Any]) -> Documents:
        cursor = self._database[collection].find(
            {"_id": {"$in": list(ids)}}, fields, session=self._session, batch_size=len(ids)
        )
        found = [decode(raw) for raw in await cursor.to_list()]
        return {pack(document["_id"]): document for document in found}

    async def _conflicts(self, group: Group) -> list[tuple[str, str]]:
        """Every document of the group that is not as expected, or takes a unique combination of another's."""
        unique = _unique(group.collection)
        fields = dict.fromkeys(("revision", "status", *(name for names in unique for name in names)), 1)
        found = await self._find(group.collection, [item.id for item in group.everything()], fields)
        conflicts = {item.key: None for item in group.everything() if not _is_as_expected(item, found)}
        for names in unique:
            wanted = {item.id: _taken(names, {**found.get(item.id, {}), **item.fields}) for item in group.everything()}
            holders = await self._holders(group.collection, names, [key for key in wanted.values() if key], set(wanted))
            for item in group.everything():
                key = wanted[item.id]
                if key is not None and holders.setdefault(key, item.id) != item.id:
                    conflicts[item.key] = None
        return list(conflicts)

    async def _holders(
        self, collection: str, names: tuple[str, ...], wanted: Sequence[Hashable], ours: set[Any]
    ) -> dict[Hashable, Any]:
        """Who, besides the documents that we write, has which of the combinations."""
        holders: dict[Hashable, Any] = {}
        for part in _parts(wanted):
            either = [dict(zip(names, key, strict=True)) for key in part]  # type: ignore[call-overload]  # a tuple
            async for raw in self._database[collection].find({"$or": either}, session=self._session):
                document = decode(raw)
                key = _taken(names, document)
                if key is not None and pack(document["_id"]) not in ours:
                    holders[key] = document["_id"]
        return holders


def _check_revisions(changes: Sequence[Pending], found: Documents) -> None:
    conflicts = [item.key for item in changes if not _is_as_expected(item, found)]
    if conflicts:
        raise Unexpected(conflicts)


def _is_as_expected(item: Pending, found: Documents) -> bool:
    if item.expected_revision is None:
        return True
    if item.expected_revision == 0:
        return item.id not in found
    return item.id in found and found[item.id].get("revision") == item.expected_revision


def _unique(collection: str) -> list[tuple[str, ...]]:
    return [*UNIQUE.get(collection, ()), *([(OPEN_POSITION[0],)] if collection == POSITIONS else [])]


def _taken(names: tuple[str, ...], document: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The combination that the document holds; None if it holds none that must be unique."""
    if names == (OPEN_POSITION[0],) and document.get("status") == OPEN_POSITION[1]:
        return None
    key = tuple(document.get(name) for name in names)
    return None if None in key else key


def _parts(items: Sequence[Hashable]) -> Iterator[Sequence[Hashable]]:
    for start in range(0, len(items), MAX_ALTERNATIVES):
        yield items[start : start + MAX_ALTERNATIVES]
