"""What every `Store` must pass: whole documents take the place of others, and documents go."""

from __future__ import annotations

import asyncio

import pytest
from exec_service.stores import FILLS, ORDERS, OUTBOX, Replacement, RevisionConflict, Store, Write
from store_samples import NOON, UNSTORABLE, VALUES, StoreFixtures, exactly, ids, only, order


class ArchivingSuite(StoreFixtures):
    """`replace` and `remove`."""

    async def test_a_replaced_document_has_nothing_left_of_what_stood_there(self, store: Store) -> None:
        await store.insert(ORDERS, [order("A", 7, status="FILLED", sequence=5, order_id="b1", history=[1, 2])])
        small = order("A", 8, status="FILLED", order_id="b1", values=list(VALUES.values()))

        assert await store.replace(ORDERS, [Replacement(7, small)]) == set()

        assert exactly(await only(store, ORDERS, "A")) == exactly(small)
        assert ids(await store.load(ORDERS, {"order_id": "b1", "sequence": None, "status": "FILLED"})) == ["A"]
        assert await store.load(ORDERS, {"sequence": 5}) == []

    async def test_what_is_not_at_the_expected_revision_is_left_and_named(self, store: Store) -> None:
        await store.insert(ORDERS, [order("A", 7), order("B", 8, note="newer"), order("C", 7), order("E")])
        asked = [Replacement(7, order(key, 8, note="replaced")) for key in "ABCD"]

        assert await store.replace(ORDERS, asked) == {"B", "D"}

        assert {document["_id"]: document.get("note") for document in await store.load(ORDERS)} == {
            "A": "replaced", "B": "newer", "C": "replaced", "E": None,
        }  # fmt: skip

    async def test_a_replaced_document_keeps_its_unique_combination(self, store: Store) -> None:
        await store.insert(ORDERS, [order("A", 1), order("B", 1)])
        await store.replace(ORDERS, [Replacement(1, order("A", 2))])

        assert await store.insert(ORDERS, [order("A"), order("X", signal_id="signal of A")]) == {"A", "X"}

    async def test_who_would_take_anothers_unique_combination_is_left(self, store: Store) -> None:
        await store.insert(ORDERS, [order("A", 1), order("B", 1), order("C", 1)])
        asked = [Replacement(1, order("B", 2, signal_id="signal of A")), Replacement(1, order("C", 2))]

        assert await store.replace(ORDERS, asked) == {"B"}

        assert (await only(store, ORDERS, "B"))["revision"] == 1
        assert (await only(store, ORDERS, "C"))["revision"] == 2

    async def test_a_worker_that_knew_the_replaced_document_meets_a_conflict(self, store: Store, other: Store) -> None:
        await store.insert(ORDERS, [order("A", 7)])
        await other.replace(ORDERS, [Replacement(7, order("A", 8))])

        with pytest.raises(RevisionConflict) as caught:
            await store.commit([Write(ORDERS, "A", 7, {"revision": 8}), Write(FILLS, "F", 0, {"_id": "F"})])

        assert caught.value.conflicts == ((ORDERS, "A"),)
        assert await store.load(FILLS) == []

    async def test_of_a_change_and_a_replacement_at_once_one_takes_place(self, store: Store, other: Store) -> None:
        await store.insert(ORDERS, [order(f"{number}", 1) for number in range(20)])

        async def changed(number: int) -> bool:
            try:
                await store.commit([Write(ORDERS, f"{number}", 1, {"revision": 2, "by": "worker"})])
            except RevisionConflict:
                return False
            return True

        replaced = other.replace(ORDERS, [Replacement(1, order(f"{n}", 2, by="archive")) for n in range(20)])
        left, *won = await asyncio.gather(replaced, *(changed(number) for number in range(20)))

        assert left == {f"{number}" for number in range(20) if won[number]}
        for document in await store.load(ORDERS):
            assert document["by"] == ("worker" if document["_id"] in left else "archive")

    @pytest.mark.parametrize("name", ["a naive time", "a decimal of 35 digits", "an object"])
    async def test_what_can_never_be_written_replaces_nothing(self, store: Store, name: str) -> None:
        await store.insert(ORDERS, [order("A", 1), order("B", 1)])
        good = Replacement(1, order("A", 2))

        with pytest.raises(ValueError):
            await store.replace(ORDERS, [good, Replacement(1, order("B", 2, value=UNSTORABLE[name]))])
        with pytest.raises(ValueError):
            await store.replace(ORDERS, [good, Replacement(1, order("B", 1))])
        with pytest.raises(ValueError):
            await store.replace(ORDERS, [good, Replacement(1, order("A", 3))])
        with pytest.raises(ValueError):
            await store.replace("no such collection", [good])

        assert {document["revision"] for document in await store.load(ORDERS)} == {1}

    async def test_removed_documents_are_gone_and_others_are_not(self, store: Store, other: Store) -> None:
        await store.insert(OUTBOX, [{"_id": f"{number}", "delivered_at": NOON} for number in range(7_000)])

        await store.remove(OUTBOX, [f"{number}" for number in range(1, 7_500)])
        await store.remove(OUTBOX, ["1"])
        await store.remove(OUTBOX, [])

        assert ids(await other.load(OUTBOX)) == ids(await other.load(OUTBOX, {"delivered_at": NOON})) == ["0"]
        assert await other.count(OUTBOX) == 1
        assert await store.insert(OUTBOX, [{"_id": "0"}, {"_id": "1"}]) == {"0"}
        with pytest.raises(ValueError):
            await store.remove("no such collection", ["0"])
