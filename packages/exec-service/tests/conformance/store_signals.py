"""What every `Store` must pass: changes to signals, of which one call makes many, each for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from exec_service.stores import ORDERS, SIGNALS, Document, SignalChange, Store
from store_samples import NOON, UNSTORABLE, StoreFixtures, new, only, order, tell

Merge = Callable[[Document | None], Document | None]


def appending(name: str) -> Merge:
    """Adds a name to a list, once."""

    def merge(document: Document | None) -> Document | None:
        known = [] if document is None else document.get("names", [])
        return None if name in known else {"names": [*known, name]}

    return merge


def of_revision(revision: int) -> Merge:
    def merge(document: Document | None) -> Document | None:
        if document is not None and document.get("revision", 0) >= revision:
            return None
        return {"revision": revision}

    return merge


class SignalSuite(StoreFixtures):
    """`update_signals`."""

    async def test_a_new_signal_document_bears_the_signals_id(self, store: Store) -> None:
        seen: list[Any] = []

        def merge(document: dict[str, Any] | None) -> dict[str, Any]:
            seen.append(document)
            return {"execution_status": "SUBMITTED", "revision": 3}

        await tell(store, ["nobody"], "S", merge)

        assert set(map(type, seen)) == {type(None)}
        expected = {"_id": "S", "signal_id": "S", "execution_status": "SUBMITTED", "revision": 3}
        assert await store.load(SIGNALS) == [expected]

    async def test_a_signal_is_found_by_the_first_of_the_ids_that_exists(self, store: Store) -> None:
        await store.insert(SIGNALS, [{"_id": key, "signal_id": key} for key in ("A", "B", "S")])

        await tell(store, ["nobody", "B", "A"], "S", lambda found: {"found": found and found["_id"]})

        assert await store.load(SIGNALS, {"_id": "B"}) == [{"_id": "B", "signal_id": "B", "found": "B"}]
        assert "found" not in await only(store, SIGNALS, "S")

    async def test_else_it_is_found_by_its_signal_id_and_foreign_fields_stay(self, store: Store) -> None:
        await store.insert(SIGNALS, [{"_id": "mongo id", "signal_id": "S", "legs": [{"a": Decimal("1.0")}]}])

        await tell(store, ["nobody"], "S", lambda found: {"order_id": "1", "saw": bool(found)})
        await tell(store, [], "S", lambda found: {"order_id": "2"})

        assert await store.load(SIGNALS) == [
            {"_id": "mongo id", "signal_id": "S", "legs": [{"a": Decimal("1.0")}], "order_id": "2", "saw": True}
        ]

    async def test_a_document_whose_own_id_is_the_signals_is_found_too(self, store: Store) -> None:
        await store.insert(SIGNALS, [{"_id": "S", "theirs": 1}])

        await tell(store, [], "S", lambda _: {"ours": 2})

        assert await store.load(SIGNALS) == [{"_id": "S", "theirs": 1, "ours": 2}]

    async def test_a_merge_that_returns_none_leaves_the_signal_alone(self, store: Store) -> None:
        await store.insert(SIGNALS, [{"_id": "A", "signal_id": "A"}])

        await tell(store, [], "A", lambda _: None)
        await tell(store, [], "B", lambda _: None)

        assert await store.load(SIGNALS) == [{"_id": "A", "signal_id": "A"}]

    async def test_a_merge_that_fails_changes_nothing_and_its_error_is_raised(self, store: Store) -> None:
        def merge(document: dict[str, Any] | None) -> dict[str, Any] | None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await store.update_signals([SignalChange([], "B", lambda _: {}), SignalChange([], "A", merge)])

        assert await store.load(SIGNALS) == []
        await store.commit([new(ORDERS, order("A"))])  # and the store goes on

    async def test_an_older_revision_never_overwrites_a_newer_signal(self, store: Store, other: Store) -> None:
        told = (tell(by, [], "S", of_revision(revision)) for revision in range(1, 11) for by in (store, other))
        await asyncio.gather(*told)

        assert await store.load(SIGNALS) == [{"_id": "S", "signal_id": "S", "revision": 10}]

    # ------------------------------------------------------------------ many in one call

    async def test_no_change_is_none(self, store: Store) -> None:
        assert await store.update_signals([]) == []

    async def test_one_call_changes_many_each_found_in_its_own_way(self, store: Store) -> None:
        theirs = [
            {"_id": "by id", "theirs": 1},
            {"_id": "by mention", "signal_id": "S2", "theirs": 2},
            {"_id": "S3", "theirs": 3},
            {"_id": "left alone", "signal_id": "S4", "theirs": 4},
        ]
        await store.insert(SIGNALS, theirs)
        names = [["nobody", "by id"], [], ["nobody"], [], []]
        changes = [SignalChange(names[n], f"S{n + 1}", lambda _, n=n: {"ours": n}) for n in range(5)]  # type: ignore[misc]
        changes[3] = SignalChange([], "S4", lambda _: None)

        assert await store.update_signals(changes) == [None] * 5

        found = {document["_id"]: document for document in await store.load(SIGNALS)}
        assert found.pop("S5") == {"_id": "S5", "signal_id": "S5", "ours": 4}
        assert found == {
            "by id": {"_id": "by id", "theirs": 1, "ours": 0},
            "by mention": {"_id": "by mention", "signal_id": "S2", "theirs": 2, "ours": 1},
            "S3": {"_id": "S3", "theirs": 3, "ours": 2},
            "left alone": theirs[3],
        }

    @pytest.mark.parametrize("exists", [False, True])
    async def test_changes_of_one_signal_are_made_in_order_each_on_what_the_one_before_has_made(
        self, store: Store, exists: bool
    ) -> None:
        if exists:
            await store.insert(SIGNALS, [{"_id": "theirs", "signal_id": "S", "names": ["z"], "more": 1}])
        wanted = [SignalChange([], "S", appending(name)) for name in "abca"]

        assert await store.update_signals([*wanted, SignalChange([], "T", appending("x"))]) == [None] * 5

        theirs = {"_id": "theirs", "signal_id": "S", "names": ["z", "a", "b", "c"], "more": 1}
        ours = {"_id": "S", "signal_id": "S", "names": ["a", "b", "c"]}
        (found,) = await store.load(SIGNALS, {"signal_id": "S"})
        assert found == (theirs if exists else ours)

    async def test_a_later_change_sees_what_the_store_would_have_given_back(self, store: Store) -> None:
        seen: list[Document | None] = []

        def merge(document: Document | None) -> Document | None:
            seen.append(None if document is None else dict(document))
            return {"pair": (Decimal("1.50"), NOON.replace(microsecond=123999))}

        await store.update_signals([SignalChange([], "S", merge), SignalChange([], "S", merge)])

        assert seen[-1] == {"_id": "S", "signal_id": "S", "pair": [Decimal("1.50"), NOON]}
        assert await store.load(SIGNALS) == [seen[-1]]

    async def test_two_ways_to_name_one_document_mean_one_document(self, store: Store) -> None:
        await store.insert(SIGNALS, [{"_id": "theirs", "signal_id": "S"}])
        changes = [
            SignalChange(["theirs"], "T", appending("a")),
            SignalChange([], "S", appending("b")),
            SignalChange([], "new", appending("c")),
            SignalChange(["new"], "other", appending("d")),
        ]

        assert await store.update_signals(changes) == [None] * 4

        assert await only(store, SIGNALS, "theirs") == {"_id": "theirs", "signal_id": "S", "names": ["a", "b"]}
        assert await only(store, SIGNALS, "new") == {"_id": "new", "signal_id": "new", "names": ["c", "d"]}
        assert len(await store.load(SIGNALS)) == 2

    @pytest.mark.parametrize("name", ["an object", "half a surrogate pair", "a naive time"])
    async def test_a_change_that_cannot_be_made_is_answered_for_and_the_others_are_made(
        self, store: Store, name: str
    ) -> None:
        await store.insert(SIGNALS, [{"_id": "old", "signal_id": "old"}])

        def refuse(_: Document | None) -> Document | None:
            raise ValueError("not this one")

        def bad(_: Document | None) -> Document | None:
            return {"value": UNSTORABLE[name]}

        changes = [
            SignalChange([], "A", appending("a")),
            SignalChange([], "B", bad),
            SignalChange([], "old", bad),
            SignalChange([], "C", refuse),
            SignalChange([], "A", bad),
            SignalChange([], "\ud800", appending("a")),
            SignalChange([], "old", appending("a")),
        ]

        answers = await store.update_signals(changes)

        assert [isinstance(answer, ValueError) for answer in answers] == [False, True, True, True, True, True, False]
        assert [answers[0], answers[-1]] == [None, None]
        assert {document["_id"]: document["names"] for document in await store.load(SIGNALS)} == {
            "A": ["a"],
            "old": ["a"],
        }

    async def test_two_that_make_the_same_changes_at_the_same_time_lose_none(self, store: Store, other: Store) -> None:
        async def call(by: Store, name: str) -> None:
            changes = [SignalChange([], f"S{n}", appending(f"{name}{k}")) for n in range(8) for k in range(2)]
            assert await by.update_signals(changes) == [None] * 16

        await asyncio.gather(*(call(by, f"{by is store}{n}-") for by in (store, other) for n in range(3)))

        found = await store.load(SIGNALS)
        assert len(found) == 8
        assert {len(set(document["names"])) for document in found} == {12}
        assert {len(document["names"]) for document in found} == {12}
