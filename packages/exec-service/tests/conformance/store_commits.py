"""What every `Store` must pass: all or nothing, nobody's change lost, nothing twice that must be unique."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from exec_service.stores import (
    ACCOUNTS,
    CONFIRMATIONS,
    FILLS,
    ORDERS,
    OUTBOX,
    POSITIONS,
    Appended,
    Not,
    RevisionConflict,
    Store,
    Write,
)
from store_samples import NOON, PATIENCE_SECONDS, OpenStore, StoreFixtures, ids, new, only, order, position


class CommitSuite(StoreFixtures):
    """Commits, unique combinations and signals."""

    # ------------------------------------------------------------------ commit

    async def test_what_is_committed_is_seen_by_others_and_after_reopening(
        self, store: Store, other: Store, open_store: OpenStore
    ) -> None:
        await store.commit([new(ORDERS, order("A"))])

        assert await other.load(ORDERS) == [order("A")]
        async with open_store() as third:
            assert await third.load(ORDERS) == [order("A")]

    async def test_a_document_carries_its_id_even_if_the_write_did_not_repeat_it(self, store: Store) -> None:
        await store.commit([Write(ACCOUNTS, "acc", 0, {"revision": 1, "worker_id": "w"})])

        assert await store.load(ACCOUNTS) == [{"_id": "acc", "revision": 1, "worker_id": "w"}]

    async def test_a_write_sets_its_top_level_fields_and_leaves_the_others(self, store: Store) -> None:
        await store.commit([new(POSITIONS, {**position("P", "key"), "foreign": {"a": 1}, "tags": [1, 2], "note": "x"})])

        await store.commit([Write(POSITIONS, "P", 1, {"revision": 2, "tags": [3], "note": None})])

        assert await only(store, POSITIONS, "P") == {
            **position("P", "key", revision=2),
            "foreign": {"a": 1},
            "tags": [3],
            "note": None,
        }

    async def test_a_nested_dict_is_replaced_as_a_whole(self, store: Store) -> None:
        await store.commit([new(ORDERS, order("A", nested={"old": 1}))])

        await store.commit([Write(ORDERS, "A", 1, {"revision": 2, "nested": {"new": 2}})])

        assert (await only(store, ORDERS, "A"))["nested"] == {"new": 2}

    async def test_a_part_of_a_nested_dict_is_set_and_the_rest_of_it_stays(self, store: Store) -> None:
        await store.commit([new(ORDERS, order("A", state={"attempts": 1, "end": {"reason": "x"}}))])

        inside = {"state": {"attempts": 2, "sent_at": NOON, "end": None}, "new": {"a": [Decimal("1.50")]}}
        await store.commit([Write(ORDERS, "A", 1, {"revision": 2, "note": "n"}, inside)])

        changed = {"attempts": 2, "end": None, "sent_at": NOON}
        assert await only(store, ORDERS, "A") == order("A", 2, note="n", state=changed, new={"a": [Decimal("1.50")]})

    async def test_lists_grow_at_their_end_and_keep_the_newest(self, store: Store) -> None:
        await store.commit([new(ORDERS, order("A", history=[{"at": NOON}], newest=[1, 2, 3], other=[0]))])

        appended = {
            "history": Appended([{"price": Decimal("2.0")}, {"at": NOON}]),
            "newest": Appended((4, 5), 3),
            "begun": Appended(["first"], 5),
        }
        await store.commit([Write(ORDERS, "A", 1, {"revision": 2}, None, appended)])
        await store.commit([Write(ORDERS, "A", 2, {"revision": 3}, {}, {"newest": Appended(range(6, 10), 3)})])

        assert await only(store, ORDERS, "A") == order(
            "A",
            3,
            history=[{"at": NOON}, {"price": Decimal("2.0")}, {"at": NOON}],
            newest=[7, 8, 9],
            other=[0],
            begun=["first"],
        )

    async def test_a_change_in_part_that_is_not_as_expected_changes_nothing(self, store: Store) -> None:
        await store.commit([new(ORDERS, order("A", 2, history=[1]))])
        for expected in (1, 3):
            with pytest.raises(RevisionConflict):
                await store.commit([Write(ORDERS, "A", expected, {"revision": 4}, None, {"history": Appended([2])})])
        assert await only(store, ORDERS, "A") == order("A", 2, history=[1])

    @pytest.mark.parametrize("expected", [None, 0])
    async def test_only_what_has_a_revision_is_changed_in_part(self, store: Store, expected: int | None) -> None:
        for parts in ({"inside": {"state": {"a": 1}}}, {"appended": {"history": Appended([1])}}):
            with pytest.raises(ValueError, match="revision"):
                await store.commit([Write(ORDERS, "A", expected, {"revision": 1}, **parts)])
        assert await store.load(ORDERS) == []

    async def test_the_same_change_to_many_reaches_each_that_is_as_expected_or_none(self, store: Store) -> None:
        await store.commit([new(ORDERS, order(f"{n}", 1, history=[])) for n in range(40)])
        same = [Write(ORDERS, f"{n}", 1, {"revision": 2}, None, {"history": Appended(["sent"])}) for n in range(40)]
        await store.commit(same[:30])
        with pytest.raises(RevisionConflict) as caught:
            await store.commit(same[29:])

        assert caught.value.conflicts == ((ORDERS, "29"),)
        found = {document["_id"]: document for document in await store.load(ORDERS)}
        assert all(found[f"{n}"]["history"] == (["sent"] if n < 30 else []) for n in range(40))

    async def test_revision_none_writes_whatever_is_there_or_not(self, store: Store) -> None:
        await store.commit([Write(OUTBOX, "A", None, {"channel": "x"})])
        await store.commit([Write(OUTBOX, "A", None, {"delivered_at": NOON})])

        assert await store.load(OUTBOX) == [{"_id": "A", "channel": "x", "delivered_at": NOON}]

    @pytest.mark.parametrize("expected", [1, 2, 4])
    async def test_a_document_of_another_revision_is_a_conflict(self, store: Store, expected: int) -> None:
        await store.commit([new(ORDERS, order("A", 3))])
        # 3 stands there; for revision 1 there is a stale write, for 4 one from nowhere
        with pytest.raises(RevisionConflict) as caught:
            await store.commit([Write(ORDERS, "A", expected, order("A", 9))])

        assert caught.value.conflicts == ((ORDERS, "A"),)
        assert await store.load(ORDERS) == [order("A", 3)]

    async def test_a_document_that_does_not_exist_has_no_revision_to_expect(self, store: Store) -> None:
        with pytest.raises(RevisionConflict):
            await store.commit([Write(ORDERS, "A", 1, order("A", 2))])

        assert await store.load(ORDERS) == []

    async def test_a_document_without_revision_has_none_to_expect(self, store: Store) -> None:
        await store.commit([Write(OUTBOX, "A", None, {"channel": "x"})])

        with pytest.raises(RevisionConflict):
            await store.commit([Write(OUTBOX, "A", 1, {"revision": 2})])

    async def test_a_document_that_must_be_new_and_exists_is_a_conflict(self, store: Store) -> None:
        await store.commit([new(ORDERS, order("A"))])

        with pytest.raises(RevisionConflict) as caught:
            await store.commit([new(ORDERS, order("A", note="another"))])

        assert caught.value.conflicts == ((ORDERS, "A"),)
        assert await store.load(ORDERS) == [order("A")]

    async def test_one_conflict_undoes_the_whole_commit(self, store: Store) -> None:
        await store.commit([new(ORDERS, order("A")), new(POSITIONS, position("P", "key"))])

        with pytest.raises(RevisionConflict) as caught:
            await store.commit(
                [
                    Write(POSITIONS, "P", 1, {"revision": 2}),
                    new(FILLS, {"_id": "F"}),
                    Write(OUTBOX, "O", None, {"channel": "x"}),
                    Write(ORDERS, "A", 7, order("A", 8)),
                ]
            )

        assert caught.value.conflicts == ((ORDERS, "A"),)
        assert await store.load(POSITIONS) == [position("P", "key")]
        assert await store.load(FILLS) == []
        assert await store.load(OUTBOX) == []

    async def test_all_conflicts_are_named(self, store: Store) -> None:
        await store.commit([new(ORDERS, order("A")), new(ORDERS, order("B"))])

        with pytest.raises(RevisionConflict) as caught:
            await store.commit(
                [
                    Write(ORDERS, "A", 5, order("A", 6)),
                    new(FILLS, {"_id": "F"}),
                    new(ORDERS, order("B")),
                    Write(POSITIONS, "P", 1, position("P", "key", revision=2)),
                ]
            )

        assert set(caught.value.conflicts) == {(ORDERS, "A"), (ORDERS, "B"), (POSITIONS, "P")}

    async def test_two_writes_to_one_document_in_a_commit_are_a_mistake(self, store: Store) -> None:
        with pytest.raises(ValueError):
            await store.commit([new(ORDERS, order("A")), Write(ORDERS, "A", 1, order("A", 2))])

        assert await store.load(ORDERS) == []

    async def test_one_id_in_two_collections_is_two_documents(self, store: Store) -> None:
        await store.commit([new(FILLS, {"_id": "A"}), new(OUTBOX, {"_id": "A"})])

        assert len(await store.load(FILLS)) == len(await store.load(OUTBOX)) == 1

    @pytest.mark.parametrize("document", [{"revision": 1}, {"revision": 0}, {"note": "none"}, {"revision": "2"}])
    async def test_a_change_that_does_not_raise_the_revision_is_a_mistake(
        self, store: Store, document: dict[str, Any]
    ) -> None:
        await store.commit([new(ORDERS, order("A"))])

        with pytest.raises(ValueError):
            await store.commit([Write(ORDERS, "A", 1, document)])

        assert await store.load(ORDERS) == [order("A")]

    async def test_a_document_under_another_id_than_its_own_is_a_mistake(self, store: Store) -> None:
        with pytest.raises(ValueError):
            await store.commit([Write(ORDERS, "A", 0, order("B"))])

    async def test_a_commit_of_nothing_does_nothing(self, store: Store) -> None:
        await store.commit([])

    async def test_of_two_simultaneous_commits_on_one_document_exactly_one_wins(
        self, store: Store, other: Store
    ) -> None:
        await store.commit([new(ORDERS, order("A"))])
        for revision in range(1, 11):
            outcomes = await asyncio.gather(
                store.commit([Write(ORDERS, "A", revision, order("A", revision + 1, by="store"))]),
                other.commit([Write(ORDERS, "A", revision, order("A", revision + 1, by="other"))]),
                return_exceptions=True,
            )

            won = [name for name, outcome in zip(("store", "other"), outcomes, strict=True) if outcome is None]
            lost = [outcome for outcome in outcomes if outcome is not None]
            assert len(won) == 1
            assert isinstance(lost[0], RevisionConflict)
            assert (await only(store, ORDERS, "A"))["by"] == won[0]

    async def test_of_two_simultaneous_inserts_by_commit_exactly_one_wins(self, store: Store, other: Store) -> None:
        for number in range(10):
            outcomes = await asyncio.gather(
                store.commit([new(ORDERS, order(f"{number}"))]),
                other.commit([new(ORDERS, order(f"{number}"))]),
                return_exceptions=True,
            )
            assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", "RevisionConflict"]

    async def test_read_modify_write_from_two_sides_loses_no_update(self, store: Store, other: Store) -> None:
        await store.commit([new(POSITIONS, {**position("P", "key"), "quantity": Decimal(0)})])

        async def add_ten_times(by: Store) -> None:
            done = 0
            while done < 10:
                found = await only(by, POSITIONS, "P")
                revision = found["revision"]
                fields = {"revision": revision + 1, "quantity": found["quantity"] + 1}
                try:
                    await by.commit([Write(POSITIONS, "P", revision, fields)])
                except RevisionConflict:
                    continue
                done += 1

        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(add_ten_times(store), add_ten_times(other))

        found = await only(store, POSITIONS, "P")
        assert (found["quantity"], found["revision"]) == (Decimal(20), 21)

    async def test_many_documents_go_into_one_commit(self, store: Store) -> None:
        await store.commit([new(FILLS, {"_id": f"{number}", "account_id": "a"}) for number in range(2_000)])

        assert len(await store.load(FILLS, {"account_id": "a"})) == 2_000

    async def test_a_cancelled_commit_took_place_whole_or_not_at_all(self, store: Store) -> None:
        for number in range(20):
            writes = [new(FILLS, {"_id": f"{number}-{part}", "account_id": f"{number}"}) for part in range(5)]
            task = asyncio.create_task(store.commit(writes))
            for _ in range(number % 4):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        await store.commit([new(FILLS, {"_id": "last"})])

        for number in range(20):
            assert len(await store.load(FILLS, {"account_id": f"{number}"})) in (0, 5)

    # ------------------------------------------------------------------ what must be unique

    @pytest.mark.parametrize("collection", [ORDERS, CONFIRMATIONS])
    async def test_a_signals_leg_is_there_once(self, store: Store, collection: str) -> None:
        first = {"_id": "A", "revision": 1, "signal_id": "S", "leg_index": 0}
        await store.commit([new(collection, first)])

        with pytest.raises(RevisionConflict) as caught:
            await store.commit([new(FILLS, {"_id": "F"}), new(collection, {**first, "_id": "B"})])

        assert caught.value.conflicts == ((collection, "B"),)
        assert await store.load(collection) == [first]
        assert await store.load(FILLS) == []

    @pytest.mark.parametrize("collection", [ORDERS, CONFIRMATIONS])
    async def test_a_change_cannot_take_anothers_leg_either(self, store: Store, collection: str) -> None:
        first = {"_id": "A", "revision": 1, "signal_id": "S", "leg_index": 0}
        await store.commit([new(collection, first), new(collection, {**first, "_id": "B", "leg_index": 1})])

        with pytest.raises(RevisionConflict) as caught:
            await store.commit([Write(collection, "B", 1, {"revision": 2, "leg_index": 0})])

        assert caught.value.conflicts == ((collection, "B"),)

    async def test_another_leg_and_another_signal_are_no_conflict(self, store: Store) -> None:
        first = {"_id": "A", "revision": 1, "signal_id": "S", "leg_index": 0}
        others = [{**first, "_id": "B", "leg_index": 1}, {**first, "_id": "C", "signal_id": "T"}]

        await store.commit([new(ORDERS, document) for document in [first, *others]])

        assert len(await store.load(ORDERS)) == 3

    @pytest.mark.parametrize("status", ["OPEN", "CLOSING", "whatever"])
    async def test_there_is_one_position_per_key_that_is_not_closed(self, store: Store, status: str) -> None:
        await store.commit([new(POSITIONS, position("P", "key", status))])

        with pytest.raises(RevisionConflict) as caught:
            await store.commit([new(POSITIONS, position("Q", "key"))])
        await store.commit([new(POSITIONS, position("R", "other key"))])

        assert caught.value.conflicts == ((POSITIONS, "Q"),)
        assert sorted(ids(await store.load(POSITIONS))) == ["P", "R"]

    async def test_a_closed_position_makes_room_and_there_may_be_many(self, store: Store) -> None:
        for number in range(3):
            await store.commit([new(POSITIONS, position(f"P{number}", "key"))])
            await store.commit([Write(POSITIONS, f"P{number}", 1, {"revision": 2, "status": "CLOSED"})])

        assert len(await store.load(POSITIONS, {"position_key": "key", "status": "CLOSED"})) == 3

    async def test_a_flip_closes_one_position_and_opens_the_next_in_one_commit(self, store: Store) -> None:
        await store.commit([new(POSITIONS, position("P", "key"))])

        await store.commit(
            [
                Write(POSITIONS, "P", 1, {"revision": 2, "status": "CLOSED"}),
                new(POSITIONS, position("Q", "key")),
            ]
        )

        assert ids(await store.load(POSITIONS, {"status": Not("CLOSED")})) == ["Q"]

    async def test_a_closed_position_is_not_reopened_beside_an_open_one(self, store: Store) -> None:
        await store.commit([new(POSITIONS, position("P", "key", "CLOSED")), new(POSITIONS, position("Q", "key"))])

        with pytest.raises(RevisionConflict) as caught:
            await store.commit([Write(POSITIONS, "P", 1, {"revision": 2, "status": "OPEN"})])

        assert caught.value.conflicts == ((POSITIONS, "P"),)
