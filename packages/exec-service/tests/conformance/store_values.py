"""What every `Store` must pass: documents come back as they were written, and what is found is what was asked for."""

from __future__ import annotations

import asyncio
from datetime import timedelta, timezone
from typing import Any

import pytest
from exec_service.stores import (
    COMMANDS,
    FILLS,
    INDEXES,
    ORDERS,
    OUTBOX,
    SIGNALS,
    Not,
    Store,
    Within,
    Write,
)
from store_samples import NOON, UNSTORABLE, VALUES, StoreFixtures, exactly, ids, new, only, order, tell


class ValueSuite(StoreFixtures):
    """Values, insertion and selection."""

    # ------------------------------------------------------------------ values

    @pytest.mark.parametrize("name", VALUES)
    async def test_a_value_comes_back_equal_and_of_the_same_type(self, store: Store, name: str) -> None:
        await store.commit([Write(ORDERS, "A", 0, order("A", value=VALUES[name]))])
        await store.insert(OUTBOX, [{"_id": "B", "value": [VALUES[name]]}])
        await tell(store, [], "C", lambda _: {"value": {"nested": VALUES[name]}})

        assert exactly((await only(store, ORDERS, "A"))["value"]) == exactly(VALUES[name])
        assert exactly((await only(store, OUTBOX, "B"))["value"]) == exactly([VALUES[name]])
        assert exactly((await only(store, SIGNALS, "C"))["value"]) == exactly({"nested": VALUES[name]})

    async def test_a_value_stays_exact_when_another_field_is_changed(self, store: Store) -> None:
        await store.commit([Write(ORDERS, "A", 0, order("A", values=list(VALUES.values())))])

        await store.commit([Write(ORDERS, "A", 1, {"revision": 2})])

        assert exactly((await only(store, ORDERS, "A"))["values"]) == exactly(list(VALUES.values()))

    async def test_a_time_is_kept_to_the_millisecond_and_comes_back_in_utc(self, store: Store) -> None:
        kolkata = timezone(timedelta(hours=5, minutes=30))
        await store.commit([new(OUTBOX, {"_id": "A", "at": NOON.replace(microsecond=123999).astimezone(kolkata)})])

        found = (await only(store, OUTBOX, "A"))["at"]

        assert found == NOON
        assert found.utcoffset() == timedelta(0)

    @pytest.mark.parametrize("name", UNSTORABLE)
    async def test_what_a_document_cannot_hold_is_refused_before_anything_is_written(
        self, store: Store, name: str
    ) -> None:
        bad = {"_id": "B", "value": {"deep": [UNSTORABLE[name]]}}

        with pytest.raises(ValueError):
            await store.commit([new(OUTBOX, {"_id": "A"}), new(OUTBOX, bad)])
        with pytest.raises(ValueError):
            await store.insert(OUTBOX, [{"_id": "A"}, bad])
        with pytest.raises(ValueError):
            await tell(store, [], "S", lambda _: {"value": UNSTORABLE[name]})

        assert await store.load(OUTBOX) == []
        assert await store.load(SIGNALS) == []

    async def test_a_document_that_is_nested_without_end_is_refused(self, store: Store) -> None:
        deep: list[Any] = []
        for _ in range(5_000):
            deep = [deep]

        with pytest.raises(ValueError):
            await store.commit([new(OUTBOX, {"_id": "A", "value": deep})])

    async def test_a_tuple_and_an_enumeration_of_text_come_back_plain(self, store: Store) -> None:
        from exec_core.orders import OrderStatus

        await store.commit([new(OUTBOX, {"_id": "A", "value": (OrderStatus.FILLED, 1)})])

        assert exactly((await only(store, OUTBOX, "A"))["value"]) == exactly([OrderStatus.FILLED.value, 1])

    # ------------------------------------------------------------------ insert

    async def test_insert_writes_what_is_new_and_names_what_is_not(self, store: Store) -> None:
        await store.insert(ORDERS, [order("A", note="first")])

        repeats = await store.insert(ORDERS, [order("B"), order("A", note="second"), order("C")])

        assert repeats == {"A"}
        assert sorted(ids(await store.load(ORDERS))) == ["A", "B", "C"]
        assert (await only(store, ORDERS, "A"))["note"] == "first"

    async def test_insert_names_what_a_unique_combination_keeps_out(self, store: Store) -> None:
        await store.insert(ORDERS, [order("A", signal_id="S")])

        assert await store.insert(ORDERS, [order("B", signal_id="S"), order("C")]) == {"B"}
        assert sorted(ids(await store.load(ORDERS))) == ["A", "C"]

    async def test_of_two_that_exclude_each_other_in_one_insert_the_second_is_the_repeat(self, store: Store) -> None:
        assert await store.insert(ORDERS, [order("A", signal_id="S"), order("B", signal_id="S")]) == {"B"}
        assert ids(await store.load(ORDERS)) == ["A"]

    async def test_of_one_document_inserted_from_two_sides_one_side_is_told_that_it_repeats(
        self, store: Store, other: Store
    ) -> None:
        for number in range(10):
            mine, theirs = await asyncio.gather(
                store.insert(ORDERS, [order(f"{number}")]), other.insert(ORDERS, [order(f"{number}")])
            )
            assert sorted([mine, theirs], key=len) == [set(), {f"{number}"}]

    async def test_an_inserted_document_can_be_changed_under_its_revision(self, store: Store) -> None:
        await store.insert(ORDERS, [order("A", 1, status="PENDING")])

        await store.commit([Write(ORDERS, "A", 1, {"revision": 2, "status": "SUBMITTING"})])

        assert ids(await store.load(ORDERS, {"status": "SUBMITTING"})) == ["A"]

    async def test_inserting_nothing_does_nothing(self, store: Store) -> None:
        assert await store.insert(ORDERS, []) == set()

    async def test_insert_does_not_touch_the_callers_documents(self, store: Store) -> None:
        document = order("A")
        await store.insert(ORDERS, [document])

        assert document == order("A")

    # ------------------------------------------------------------------ load

    async def test_load_selects_by_equality_list_negation_and_absence(self, store: Store) -> None:
        await store.insert(
            ORDERS,
            [
                order("A", status="PENDING", account_id="a", attention=None),
                order("B", status="FILLED", account_id="a"),
                order("C", status="FILLED", account_id="b", attention="look"),
                order("D", account_id="a"),
            ],
        )

        async def found(**where: Any) -> str:
            documents = await store.load(ORDERS, where)
            assert await store.count(ORDERS, where) == len(documents)
            return "".join(sorted(ids(documents)))

        assert await store.count(ORDERS) == 4
        assert await found() == "ABCD"
        assert await found(status="FILLED") == "BC"
        assert await found(status="FILLED", account_id="a") == "B"
        assert await found(status=["PENDING", "FILLED"]) == "ABC"
        assert await found(status=["PENDING", "FILLED"], account_id=["a"]) == "AB"
        assert await found(status=[]) == ""
        assert await found(status=None) == "D"
        assert await found(status=["PENDING", None]) == "AD"
        assert await found(status=Not("FILLED")) == "AD"
        assert await found(status=Not(None)) == "ABC"
        assert await found(status=Not(["FILLED", "PENDING"])) == "D"
        assert await found(status=Not("FILLED"), account_id=Not("b")) == "AD"
        assert await found(attention=None) == "ABD"
        assert await found(attention=Not(None)) == "C"
        assert await found(_id="B") == "B"
        assert await found(_id=["A", "D", "X"]) == "AD"
        assert await found(_id=Not("A")) == "BCD"
        assert await found(status="X' OR 1=1 --") == ""

    async def test_load_selects_by_times_and_numbers(self, store: Store) -> None:
        second = timedelta(seconds=1)
        await store.insert(FILLS, [{"_id": f"{number}", "received_at": NOON + number * second} for number in range(3)])
        await store.insert(ORDERS, [order(f"{number}", sequence=number) for number in range(3)])

        assert ids(await store.load(FILLS, {"received_at": NOON + second})) == ["1"]
        assert ids(await store.load(ORDERS, {"sequence": 2})) == ["2"]
        assert sorted(ids(await store.load(ORDERS, {"sequence": [0, 2, 7]}))) == ["0", "2"]

    async def test_load_selects_by_bounds(self, store: Store) -> None:
        second = timedelta(seconds=1)
        times = {"A": NOON, "B": NOON + second, "C": NOON + 2 * second, "D": None}
        await store.insert(OUTBOX, [{"_id": key, "delivered_at": at} for key, at in times.items()] + [{"_id": "E"}])
        await store.insert(ORDERS, [order(f"{number}", sequence=number) for number in (-5, 9, 10, 100)])
        await store.insert(ORDERS, [order("none", sequence=None), order("absent")])

        async def delivered(within: Within) -> list[str]:
            found = ids(await store.load(OUTBOX, {"delivered_at": within}, order_by="delivered_at"))
            assert await store.count(OUTBOX, {"delivered_at": within}) == len(found)
            return found

        async def numbered(*bounds: int | None) -> list[str]:
            return ids(await store.load(ORDERS, {"sequence": Within(*bounds)}, order_by="sequence"))

        assert await delivered(Within(below=NOON + second)) == ["A"]
        assert await delivered(Within(at_least=NOON + second)) == ["B", "C"]
        assert await delivered(Within(NOON + second, NOON + 2 * second)) == ["B"]
        assert await delivered(Within(NOON + second, NOON + second)) == []
        assert await delivered(Within()) == ["A", "B", "C"]
        assert await numbered(None, 10) == ["-5", "9"]
        assert await numbered(10) == ["10", "100"]
        assert await numbered(0, 100) == ["9", "10"]
        assert sorted(ids(await store.load(ORDERS, {"sequence": Not(Within(0, 100))}))) == [
            "-5", "100", "absent", "none",
        ]  # fmt: skip
        assert ids(await store.load(ORDERS, {"sequence": Within(0, 100), "_id": "9"})) == ["9"]

    async def test_count_takes_very_long_lists_and_no_documents_to_count(self, store: Store) -> None:
        assert await store.count(FILLS) == 0
        await store.insert(FILLS, [{"_id": f"{number}", "client_order_id": f"o{number}"} for number in range(50)])

        assert await store.count(FILLS, {"client_order_id": [f"o{number}" for number in range(25, 40_000)]}) == 25

    async def test_load_orders_and_limits(self, store: Store) -> None:
        second = timedelta(seconds=1)
        await store.insert(
            FILLS,
            [{"_id": f"{number}", "account_id": "a", "received_at": NOON + number * second} for number in (10, 9, 100)],
        )
        await store.insert(ORDERS, [order(f"{number}", sequence=number) for number in (10, 9, 100)])

        assert ids(await store.load(ORDERS, order_by="sequence")) == ["9", "10", "100"]
        assert ids(await store.load(ORDERS, order_by="sequence", descending=True)) == ["100", "10", "9"]
        assert ids(await store.load(ORDERS, order_by="sequence", limit=1)) == ["9"]
        assert ids(await store.load(FILLS, order_by="received_at", descending=True, limit=2)) == ["100", "10"]
        assert ids(await store.load(FILLS, {"account_id": "a"}, order_by="_id")) == ["10", "100", "9"]
        assert len(await store.load(ORDERS, limit=2)) == 2
        assert await store.load(ORDERS, limit=0) == []

    async def test_absent_values_come_first_in_order(self, store: Store) -> None:
        await store.insert(ORDERS, [order("A", sequence=1), order("B"), order("C", sequence=-5)])

        assert ids(await store.load(ORDERS, order_by="sequence")) == ["B", "C", "A"]

    async def test_load_takes_very_long_lists(self, store: Store) -> None:
        await store.insert(FILLS, [{"_id": f"{number}", "client_order_id": f"o{number}"} for number in range(50)])
        many = [f"o{number}" for number in range(25, 40_000)]

        assert len(await store.load(FILLS, {"client_order_id": many})) == 25
        assert len(await store.load(FILLS, {"client_order_id": Not(many)})) == 25
        assert len(await store.load(FILLS, {"client_order_id": many, "_id": [str(i) for i in range(30_000)]})) == 25
        assert len(await store.load(FILLS, {"client_order_id": many}, order_by="_id", limit=3)) == 3

    @pytest.mark.parametrize(("collection", "field"), [(name, field) for name in INDEXES for field in INDEXES[name]])
    async def test_every_index_can_be_selected_and_ordered_by(self, store: Store, collection: str, field: str) -> None:
        await store.insert(
            collection, [{"_id": "A", "leg_index": 0, field: "x"}, {"_id": "B", "leg_index": 0, field: "y"}]
        )

        assert ids(await store.load(collection, {field: "y"}, order_by=field)) == ["B"]
        assert ids(await store.load(collection, order_by=field, descending=True)) == ["B", "A"]

    async def test_what_is_selected_by_follows_every_way_of_writing(self, store: Store) -> None:
        await store.insert(COMMANDS, [{"_id": "A", "state": "NEW"}])
        await store.commit([Write(COMMANDS, "A", None, {"state": "DONE"})])
        await tell(store, [], "S", lambda _: {"note": 1})

        assert await store.load(COMMANDS, {"state": "NEW"}) == []
        assert ids(await store.load(COMMANDS, {"state": "DONE"})) == ["A"]
        assert ids(await store.load(SIGNALS, {"signal_id": "S"})) == ["S"]

    async def test_a_field_that_is_not_indexed_or_a_collection_that_is_not_there_is_a_mistake(
        self, store: Store
    ) -> None:
        with pytest.raises(ValueError):
            await store.load(ORDERS, {"note": 1})
        with pytest.raises(ValueError):
            await store.load(ORDERS, order_by="note")
        with pytest.raises(ValueError):
            await store.load("no such collection")
        with pytest.raises(ValueError):
            await store.count("no such collection")
        with pytest.raises(ValueError):
            await store.count(ORDERS, {"note": 1})
        with pytest.raises(ValueError):
            await store.commit([Write("no such collection", "A", None, {})])
        with pytest.raises(ValueError):
            await store.load(ORDERS, limit=-1)

    async def test_a_loaded_document_is_the_callers_to_change(self, store: Store) -> None:
        await store.insert(ORDERS, [order("A", nested={"a": [1]})])
        (await only(store, ORDERS, "A"))["nested"]["a"].append(2)

        assert (await only(store, ORDERS, "A"))["nested"] == {"a": [1]}
