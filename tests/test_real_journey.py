"""One day of a desk on a real MongoDB and Pub/Sub, checked to the field against what the other services see.

The service runs once (see `day`); every test looks at another part of what it left. EXEC_SHOW_DOCUMENTS=FILE writes the
specification's documents and ours to a file, side by side.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pickle
import re
import tempfile
import uuid
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from bson.decimal128 import Decimal128
from day import ACCOUNTS, CONFIRMATION_KEYS, FOREIGN, GARBAGE, GOOD, SPECIFICATION, SPY, Day, live
from emulator import delete_project
from exec_service.outbox_rows import rows_of
from harness import Real
from mongod import drop_database
from raw_documents import as_json, bson_types
from telegram_server import TOKEN, TelegramServer

#: The first test waits for the whole day.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Day:
    """The service, run once from its start to its stop; all workers of pytest-xdist share what it left."""
    alone = not hasattr(request.config, "workerinput")
    base = tmp_path_factory.getbasetemp()
    directory = (base if alone else base.parent) / "day"
    directory.mkdir(exist_ok=True)
    left = directory / "day.pickle"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not left.exists():
            places = (request.getfixturevalue("mongodb_uri"), request.getfixturevalue("pubsub_emulator"))
            left.write_bytes(pickle.dumps(lived(*places, Path(tempfile.mkdtemp(dir=directory)))))
        found = pickle.loads(left.read_bytes())
    assert isinstance(found, Day)
    return found


def lived(mongodb_uri: str, emulator: str, directory: Path) -> Day:
    """The day, on a database and a project of its own, which are gone afterwards."""
    name = uuid.uuid4().hex[:16]
    real = Real(mongodb_uri, f"exec_test_{name}", emulator, f"exec-test-{name}")
    with pytest.MonkeyPatch.context() as patch, TelegramServer() as telegram:
        patch.setenv("PUBSUB_EMULATOR_HOST", emulator)
        try:
            return asyncio.run(live(real, directory, telegram))
        finally:
            drop_database(real.mongodb_uri, real.database)
            delete_project(emulator, real.project)


# ---------------------------------------------------------------------- the order of the specification


def test_everything_agrees_with_everything(day: Day) -> None:
    assert day.wrong == []


def test_the_execution_confirmation_has_every_field_of_the_specification_with_its_type(day: Day) -> None:
    document = day.one("execution_confirmations", signal_id=SPY)
    (placed,) = [row for row in day.book["orders"] if row["signal_id"] == SPY]
    assert document["_id"] == f"exec_{day.client_order_ids[SPY]}" == f"exec_{placed['client_order_id']}"
    assert {name: document[name] for name in SPECIFICATION["execution_confirmations"]} == {
        **SPECIFICATION["execution_confirmations"],
        "_id": document["_id"],
        "order_id": placed["broker_order_id"],
        "broker": "MOCK",
        "submitted_at": document["submitted_at"],
        "filled_at": document["filled_at"],
        "notes": document["notes"],
    }
    types = bson_types(document)
    assert {name: types[name] for name in SPECIFICATION["execution_confirmations"]} == {
        **dict.fromkeys(SPECIFICATION["execution_confirmations"], "string"),
        **dict.fromkeys(("submitted_at", "filled_at"), "date"),
        **dict.fromkeys(("quantity", "filled_quantity", "avg_fill_price", "commission", "total_value"), "double"),
    }
    assert_close(document["filled_at"], day.fill_time(SPY))
    seconds = (document["filled_at"] - document["submitted_at"]).total_seconds()
    assert seconds >= 2
    assert told_seconds(document["notes"].removeprefix("Filled in ")) == pytest.approx(seconds, abs=0.06)


@pytest.mark.parametrize("collection", ["execution_confirmations", "signal_store", "positions"])
def test_numbers_are_doubles_and_times_are_dates_in_every_document_that_others_read(day: Day, collection: str) -> None:
    counts = {"revision", "leg_index", "total_legs", "order_count", "schema_version", "execution_revision", "count"}
    documents = day.documents[collection]
    assert documents
    for document in documents:
        for name, kind in bson_types(document).items():
            if kind in ("int", "decimal"):
                assert name in counts, f"{collection}.{name} is {kind}"
            if name.endswith("_at"):
                assert kind in ("date", "null"), f"{collection}.{name} is {kind}"


def test_the_signal_that_was_there_keeps_what_others_wrote_and_gets_our_fields(day: Day) -> None:
    document = day.one("signal_store", _id=day.ids[SPY])
    assert {name: document[name] for name in FOREIGN} == FOREIGN
    assert {name: document[name] for name in SPECIFICATION["signal_store"]} == {
        **SPECIFICATION["signal_store"],
        "order_id": day.order_id(SPY),
        "filled_at": document["filled_at"],
    }
    types = bson_types(document)
    ours = ("filled_quantity", "avg_fill_price", "filled_at", "reason_code", "reason", "updated_at")
    assert [types[name] for name in ours] == ["double", "double", "date", "null", "null", "date"]
    assert (document["filled_quantity"], document["avg_fill_price"]) == (100.0, 235.15)
    assert_close(document["filled_at"], day.fill_time(SPY))


def test_a_signal_is_found_by_its_own_id_first_and_made_if_there_is_none(day: Day) -> None:
    named = day.one("signal_store", _id=day.ids["by_id"])
    assert named["signal_id"] == "named otherwise by its owner"
    assert (named["execution_status"], named["order_id"]) == ("FILLED", day.order_id("by_id"))
    assert {name: named[name] for name in FOREIGN} == FOREIGN
    made = day.one("signal_store", signal_id="enter")
    assert (made["_id"], made["execution_status"]) == ("enter", "FILLED")
    assert len(day.documents["signal_store"]) == len(GOOD) + 3


def test_the_position_has_every_field_of_the_specification_with_its_type(day: Day) -> None:
    document = day.one("positions", account_id="acc_abc123", symbol="SPY")
    assert document["_id"].startswith("pos_")
    assert {name: document[name] for name in SPECIFICATION["positions"]} == {
        **SPECIFICATION["positions"],
        "_id": document["_id"],
        "opened_at": document["opened_at"],
        "order_ids": [day.order_id(SPY)],
    }
    types = bson_types(document)
    assert {name: types[name] for name in SPECIFICATION["positions"]} == {
        **dict.fromkeys(SPECIFICATION["positions"], "string"),
        **dict.fromkeys(("quantity", "avg_entry_price"), "double"),
        "opened_at": "date",
        "order_ids": "array",
    }
    assert (types["realized_pnl"], types["commission"], types["multiplier"]) == ("double", "double", "double")
    assert (document["realized_pnl"], document["commission"], document["order_count"]) == (0.0, 1.0, 1)
    assert document["closed_at"] is None
    assert_close(document["opened_at"], day.fill_time(SPY))


def test_orders_and_fills_are_exact_and_say_which_schema_they_are_of(day: Day) -> None:
    found = day.one("orders", signal_id=SPY)
    assert found["schema_version"] == 1
    for name in ("quantity", "filled_quantity", "avg_fill_price", "commission", "stop_loss", "take_profit"):
        assert isinstance(found[name], Decimal128), name
    assert str(found["avg_fill_price"]) == "235.15"
    statuses = [entry["status"] for entry in found["history"]]
    assert statuses[:2] == ["SUBMITTING", "SUBMITTED"]
    assert statuses[-1] == "FILLED"
    assert found["revision"] == 1 + len(statuses)
    (execution,) = [row for row in day.book["fills"] if row["signal_id"] == SPY]
    fill = day.one("fills", signal_id=SPY)
    assert fill["_id"] == f"mock|acc_abc123|{execution['execution_id']}"
    assert fill["schema_version"] == 1
    types = bson_types(fill)
    assert [types[name] for name in ("quantity", "price", "commission")] == ["decimal"] * 3
    assert [types[name] for name in ("time", "received_at")] == ["date"] * 2
    assert (fill["client_order_id"], fill["order_id"]) == (found["_id"], found["order_id"])
    assert_close(fill["time"], day.fill_time(SPY))


def test_the_confirmation_has_every_key_its_attributes_and_its_ordering_key(day: Day) -> None:
    (message,) = day.confirmed(SPY)
    body = message.body
    assert set(body) >= CONFIRMATION_KEYS
    assert {name: body[name] for name in SPECIFICATION["confirmation"]} == {
        **SPECIFICATION["confirmation"],
        "order_id": day.order_id(SPY),
        "filled_at": body["filled_at"],
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", body["filled_at"])
    assert_close(datetime.fromisoformat(body["filled_at"]), day.fill_time(SPY))
    rest = {
        "confirmation_id": f"{day.client_order_ids[SPY]}-{body['revision']}",
        "reason_code": None,
        "reason": None,
        "account_id": "acc_abc123",
        "strategy_name": "SPX 1-Day Options",
        "symbol": "SPY",
        "side": "BUY",
        "quantity": 100,
        "remaining_quantity": 0,
        "leg_index": 0,
        "total_legs": 1,
        "client_order_id": day.client_order_ids[SPY],
        "source_order_id": None,
        "broker": "MOCK",
        "role": "ENTRY",
        "event": "FILL",
        "commission_currency": "USD",
        "commission_estimated": False,
        "rejection_reason": None,
    }
    assert {name: body[name] for name in rest} == rest
    assert b'"filled_quantity":100,' in message.data
    assert b'"commission":1.0,' in message.data
    assert message.ordering_key == "acc_abc123"
    names = ("signal_id", "status", "event", "account_id", "confirmation_id")
    assert message.attributes == {name: body[name] for name in names}
    document = day.one("execution_confirmations", signal_id=SPY)
    assert document["revision"] == body["revision"]


def test_every_message_of_the_day_has_every_key_and_comes_in_the_order_of_its_account(day: Day) -> None:
    found = [row for document in day.all("outbox", channel="confirmations") for row in rows_of(document)]
    written = sorted(found, key=lambda row: row["sequence"])
    assert len(day.messages) == len(written)
    for account_id in ACCOUNTS:
        heard = [message for message in day.messages if message.ordering_key == account_id]
        assert [message.attributes["confirmation_id"] for message in heard] == [
            row["attributes"]["confirmation_id"] for row in written if row["ordering_key"] == account_id
        ]
    for message in day.messages:
        assert set(message.body) >= CONFIRMATION_KEYS, message.body["signal_id"]
        assert message.ordering_key == message.body["account_id"] == message.attributes["account_id"]


def test_the_lines_of_the_log_are_the_specifications_in_all_three_places(day: Day) -> None:
    expected = [
        f"Received order: {SPY}",
        f"Placing order: BUY 100 SPY MARKET ({SPY})",
        f"Order submitted: {day.order_id(SPY)} ({SPY})",
        f"Order filled: 100 @ $235.15 ({SPY})",
        f"Published execution confirmation ({SPY})",
    ]
    stamp = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \| \[EXECUTION\] \| ")
    for place, text in day.logs.items():
        lines = [line for line in text.splitlines() if SPY in line]
        assert all(stamp.match(line) for line in lines), place
        bare = [stamp.sub("", line) for line in lines]
        # The conflict and the repetition of later were received too.
        assert [line for line in bare if line in expected] == [*expected, expected[0], expected[0]], place
        assert f"Exits: not placed (stop loss $230.00, take profit $240.00) ({SPY})" in bare, place
    assert "Execution service ready" not in day.logs["signal_processing"]
    assert "Traceback" not in day.logs["console"]


def test_telegram_is_told_to_the_byte(day: Day) -> None:
    notes = day.one("execution_confirmations", signal_id=SPY)["notes"]
    assert day.notification(SPY, "Order Filled") == (
        f"[MOCK] ✅ Order Filled\n\nSignal: {SPY}\nStrategy: SPX 1-Day Options\nOrder: BUY 100 SPY @ $235.15\n"
        f"Total: $23,515.00\nCommission: $1.00\nTime: {notes.removeprefix('Filled in ')}\nExits: not placed"
    )
    assert day.notification("refused", "Order Rejected") == (
        "[MOCK] ❌ Order Rejected\n\nSignal: refused\nStrategy: SPX 1-Day Options\nOrder: BUY 100 SPY\n"
        "Reason: Insufficient margin\nAccount: IBKR Main Account"
    )
    assert day.notification("partly", "Partial Fill") == (
        "[MOCK] ⚠️ Partial Fill\n\nSignal: partly\nOrder: BUY 100 PRT\nFilled: 50/100 @ $235.20\nRemaining: 50"
    )


def test_the_token_is_written_nowhere(day: Day) -> None:
    secret = TOKEN.partition(":")[2].encode()
    files = [path for path in day.directory.rglob("*") if path.is_file()]
    assert any(path.name == "execution_service.log" for path in files)
    for path in files:
        assert secret not in path.read_bytes(), path
    assert secret.decode() not in repr(day.documents)


# ---------------------------------------------------------------------- the other orders


def test_a_rejected_order_says_why_everywhere(day: Day) -> None:
    (message,) = day.confirmed("refused")
    body = message.body
    assert (body["status"], body["reason_code"], body["event"]) == ("REJECTED", "BROKER_REJECTED", "STATUS")
    assert body["reason"] == body["rejection_reason"] == "Insufficient margin"
    assert [body[name] for name in ("filled_quantity", "remaining_quantity")] == [0, 100]
    assert [body[name] for name in ("avg_fill_price", "filled_at", "commission")] == [None] * 3
    document = day.one("execution_confirmations", signal_id="refused")
    assert (document["status"], document["notes"], document["total_value"]) == ("REJECTED", "Insufficient margin", None)
    signal = day.one("signal_store", signal_id="refused")
    assert (signal["execution_status"], signal["reason"]) == ("REJECTED", "Insufficient margin")
    assert "Order rejected: Insufficient margin (refused)" in day.logs["signal_processing"]


def test_a_partial_fill_is_confirmed_with_what_it_is_and_then_the_whole(day: Day) -> None:
    partial, whole = (message.body for message in day.confirmed("partly"))
    names = ("status", "filled_quantity", "remaining_quantity", "avg_fill_price", "commission")
    assert [partial[name] for name in names] == ["PARTIALLY_FILLED", 50, 50, 235.2, 1.0]
    assert [whole[name] for name in names] == ["FILLED", 100, 0, 235.15, 1.0]
    assert partial["revision"] < whole["revision"]
    position = day.one("positions", symbol="PRT")
    assert (position["quantity"], position["avg_entry_price"]) == (100.0, 235.15)
    assert sorted(str(fill["price"]) for fill in day.all("fills", signal_id="partly")) == ["235.10", "235.20"]


def test_an_exit_realizes_its_profit(day: Day) -> None:
    position = day.one("positions", symbol="QQQ")
    names = ("status", "side", "quantity", "avg_entry_price", "realized_pnl", "commission", "order_count")
    assert [position[name] for name in names] == ["OPEN", "LONG", 5.0, 405.0, 225.0, 3.0, 3]
    assert position["order_ids"] == [day.order_id(name) for name in ("enter", "add", "exit")]


def test_a_contracts_multiplier_is_in_the_value_and_in_the_position(day: Day) -> None:
    document = day.one("execution_confirmations", signal_id="option")
    assert (document["multiplier"], document["total_value"]) == (100.0, 2100.0)
    position = day.one("positions", symbol="SPX", strike=5900.0)
    names = ("instrument_type", "expiry", "right", "multiplier", "quantity", "avg_entry_price")
    assert [position[name] for name in names] == ["OPTION", "20991218", "C", 100.0, 2.0, 10.5]


def test_the_legs_of_a_signal_are_orders_of_their_own_and_one_signal(day: Day) -> None:
    bodies = sorted((message.body for message in day.confirmed("combined")), key=lambda body: body["leg_index"])
    assert [(body["leg_index"], body["total_legs"], body["status"]) for body in bodies] == [
        (0, 2, "FILLED"),
        (1, 2, "FILLED"),
    ]
    assert len({body["client_order_id"] for body in bodies}) == 2
    documents = day.all("execution_confirmations", signal_id="combined")
    assert {document["_id"] for document in documents} == {f"exec_{body['client_order_id']}" for body in bodies}
    signal = day.one("signal_store", signal_id="combined")
    assert signal["execution_status"] == "FILLED"
    legs = [(leg["leg_index"], leg["order_id"], leg["execution_status"]) for leg in signal["legs"]]
    assert legs == [(body["leg_index"], body["order_id"], "FILLED") for body in bodies]
    assert {bson_types(leg)["filled_quantity"] for leg in signal["legs"]} == {"double"}
    assert {bson_types(leg)["filled_at"] for leg in signal["legs"]} == {"date"}
    sides = {position["strike"]: position["side"] for position in day.all("positions", symbol="SPX")}
    assert sides == {5900.0: "LONG", 5800.0: "LONG", 6000.0: "SHORT"}


def test_a_bad_order_with_an_id_is_answered_and_one_without_is_kept(day: Day) -> None:
    (message,) = day.confirmed("unusable")
    assert (message.body["status"], message.body["reason_code"]) == ("REJECTED", "INVALID")
    assert "quantity" in message.body["reason"]
    assert message.body["quantity"] is None
    assert not [row for row in day.book["orders"] if row["signal_id"] == "unusable"]
    letters = day.all("dead_letters", reason_code="INVALID")
    assert {letter["body"] for letter in letters} == {GARBAGE[0].decode(), None}
    assert {letter["body_b64"] for letter in letters} == {"//4A", None}
    for letter in day.documents["dead_letters"]:
        assert bson_types(letter)["received_at"] == "date"
        assert letter["message_id"]
        assert letter["attributes"] == {}


def test_a_second_order_under_a_used_id_is_a_conflict_and_changes_nothing_about_the_first(day: Day) -> None:
    letter = day.one("dead_letters", reason_code="CONFLICT")
    assert letter["signal_id"] == SPY
    assert json.loads(letter["body"])["quantity"] == 50
    assert len([row for row in day.book["orders"] if row["signal_id"] == SPY]) == 1
    assert len(day.confirmed(SPY)) == 1
    assert day.logs["signal_processing"].count(f"Duplicate order ignored ({SPY})") == 1
    assert day.notification(SPY, "Conflicting Order").startswith("[MOCK] ⚠️ Conflicting Order\n\n")


def test_what_must_be_unique_has_its_index_and_what_is_not_ours_has_none(day: Day) -> None:
    assert day.indexes["orders"] == day.indexes["execution_confirmations"] == [("signal_id", "leg_index")]
    assert day.indexes["positions"] == [("position_key",)]
    assert day.indexes["signal_store"] == []


def test_the_documents_are_shown_beside_the_specifications(day: Day, tmp_path: Path) -> None:
    stored = {
        "execution_confirmations": day.one("execution_confirmations", signal_id=SPY),
        "signal_store": day.one("signal_store", signal_id=SPY),
        "positions": day.one("positions", symbol="SPY"),
        "confirmation": day.confirmed(SPY)[0].body,
    }
    shown = {
        name: {
            "specification": SPECIFICATION[name],
            "ours": {key: as_json(document[key]) for key in SPECIFICATION[name]},
            "ours_besides": {
                key: as_json(document[key]) for key in sorted(document.keys() - SPECIFICATION[name].keys())
            },
        }
        for name, document in stored.items()
    }
    shown["signal_store"]["ours_besides"]["raw"] = "binary, of others"
    path = Path(os.environ.get("EXEC_SHOW_DOCUMENTS") or tmp_path / "documents.json")
    path.write_text(json.dumps(shown, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, both in json.loads(path.read_text(encoding="utf-8")).items():
        assert both["ours"].keys() == both["specification"].keys(), name


# ---------------------------------------------------------------------- helpers


def assert_close(stored: datetime, at_venue: datetime) -> None:
    """The same time, as far as a BSON date can say it: to the millisecond, the rest cut off."""
    assert timedelta(0) <= at_venue - stored < timedelta(milliseconds=1), (stored, at_venue)


def told_seconds(text: str) -> float:
    """The number in ``2.1 seconds``."""
    found = re.fullmatch(r"([0-9.]+) seconds?", text)
    assert found is not None, text
    return float(found[1])
