"""The pages about messages, documents and configuration name every field, collection, variable and default."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from exec_broker_mock.settings import MockBrokerSettings
from exec_core import (
    AccountId,
    BrokerOrderId,
    ClientOrderId,
    Commission,
    ExecutionId,
    Fill,
    Instrument,
    Notification,
    Order,
    OrderRequest,
    OrderStatus,
    OrderType,
    Side,
    SignalId,
)
from exec_core.positions import Position, PositionKey, PositionSide
from exec_service import commands, documents, findings, journal, notices, signals, texts
from exec_service.accounts import LIMITS, Account
from exec_service.dispatch import DISPATCH_SLOTS
from exec_service.logs import BACKUPS, MAX_BYTES
from exec_service.notifiers.telegram_settings import TelegramSettings
from exec_service.reconciliation import Finding, Kind, look_of
from exec_service.records import OrderRecord, Source
from exec_service.settings import COMMAND_LINE_ONLY, Settings
from exec_service.stores import INDEXES
from exec_service.units import HeldPosition

DOCS = Path(__file__).parents[1] / "docs"
MESSAGES, DOCUMENTS, CONFIGURATION, OPERATIONS = (
    (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for name in ("messages", "documents", "configuration", "operations")
)
NOW = datetime(2024, 11, 24, 10, 30, 12, tzinfo=UTC)
REQUEST = OrderRequest(
    SignalId("sig_1"), AccountId("acc_1"), "Demo", Instrument("SPY"), Side.BUY, OrderType.MARKET, Decimal(100)
)
FILL = Fill(ExecutionId("e1"), Side.BUY, Decimal(100), Decimal("235.15"), NOW, Commission(Decimal(1), "USD"))
ORDER = Order(
    ClientOrderId("A" * 20),
    REQUEST,
    Decimal(100),
    status=OrderStatus.FILLED,
    broker_order_ids=(BrokerOrderId("mock-1"),),
    fills={FILL.execution_id: FILL},
)
RECORD = OrderRecord(ORDER, Source("content", NOW), 1, "mock")
POSITION = Position(
    "pos_1",
    PositionKey("Demo", AccountId("acc_1"), "STOCK|SPY"),
    Instrument("SPY"),
    Decimal(1),
    NOW,
    NOW,
    PositionSide.LONG,
    Decimal(1),
)
FINDING = Finding(Kind.EXTERNAL_ORDER, "b-1", "The broker works an order")
#: What every document of ours has; explained once.
COMMON = {"_id", "schema_version"}


def section(text: str, title: str) -> str:
    """What stands under a heading of the second level."""
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def code_words(text: str) -> set[str]:
    """Every word that is set as code."""
    return {word for part in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"\w+", part)}


def shown(value: object) -> str:
    """A default in the words of an environment variable."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_every_collection_has_its_section():
    rows = set(re.findall(r"^\| `(\w+)` \|", DOCUMENTS, re.MULTILINE))
    sections = set(re.findall(r"^## `(\w+)`$", DOCUMENTS, re.MULTILINE))
    assert rows == sections == set(INDEXES)


@pytest.mark.parametrize(
    ("collection", "document"),
    [
        ("orders", journal.order_document(RECORD)),
        ("fills", journal.fill_document(ORDER, FILL, broker="mock", shares=(), received_at=NOW)),
        ("positions", journal.position_document(HeldPosition(POSITION, 0))),
        ("findings", findings.steps("acc_1", look_of([FINDING], ()), (), NOW)[0].document),
        ("commands", commands.command_document("c", "cancel", "o", "acc_1", {}, "me", NOW).keys() - {"revision"}),
    ],
)
def test_every_field_of_a_document_is_named(collection: str, document: dict[str, object]):
    assert set(document) - COMMON - code_words(section(DOCUMENTS, f"`{collection}`")) == set()


def test_every_field_of_a_confirmation_stands_in_the_example():
    text = section(MESSAGES, "The confirmation")
    example = json.loads(re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[0])
    assert set(example) == set(documents.confirmation(RECORD, documents.FILL, NOW))
    attributes = documents.confirmation_attributes(documents.confirmation(RECORD, documents.FILL, NOW))
    assert f"Attributes: {', '.join(f'`{name}`' for name in attributes)}." in text


def test_the_confirmations_document_differs_from_the_confirmation_as_it_is_said():
    document = set(documents.execution_confirmation_document(RECORD, NOW))
    message = set(documents.confirmation(RECORD, documents.FILL, NOW))
    assert message - document == {"event", "timestamp"}
    text = section(DOCUMENTS, "`execution_confirmations`")
    assert document - message - {"_id"} <= code_words(text)


def test_every_field_that_a_signal_gets_is_named():
    fields = signals.merge_signal(None, signals.signal_update(RECORD, NOW))
    assert fields is not None
    assert set(fields) - {"signal_id"} - code_words(section(DOCUMENTS, "`signal_store`")) == set()


@pytest.mark.parametrize("name", sorted(set(Settings.model_fields) - COMMAND_LINE_ONLY))
def test_every_variable_is_described_with_its_default(name: str):
    row = re.search(rf"^\| `{name.upper()}` \| ([^|]*) \|", CONFIGURATION, re.MULTILINE)
    assert row is not None
    field = Settings.model_fields[name]
    if field.default_factory is None and field.default is not None:
        assert row[1] == f"`{shown(field.default)}`"
    else:
        assert "`" not in row[1] or name == "accounts"


def test_no_variable_is_described_that_is_not_there():
    described = set(re.findall(r"^\| `([A-Z_]+)` \|", CONFIGURATION, re.MULTILINE))
    assert described == {name.upper() for name in set(Settings.model_fields) - COMMAND_LINE_ONLY} | {
        "CONSOLE_NOTIFIER_ENABLED",
        *(f"TELEGRAM_{name.upper()}" for name in TelegramSettings.model_fields),
    }


def test_every_variable_of_the_mock_is_named():
    named = set(re.findall(r"`MOCK_BROKER_(\w+)`", CONFIGURATION))
    assert named == {name.upper() for name in MockBrokerSettings.model_fields}


def test_every_key_of_an_account_and_every_limit_is_named():
    words = code_words(section(CONFIGURATION, "Accounts"))
    assert set(LIMITS) <= words
    assert set(Account.model_fields) - {"id"} <= words


@pytest.mark.parametrize(
    "line",
    [
        texts.received("sig_1732450800_5678"),
        texts.asking_the_broker(),
        texts.duplicate(),
        texts.published(),
        texts.rejected("<reason>"),
        texts.cancelled("<reason>"),
        texts.expired("<reason>"),
        texts.timed_out(texts.timeout_reason(60)),
        texts.filled(ORDER).replace("USD ", "$"),
        texts.submitted(ORDER),
        texts.placing(ORDER),
    ],
)
def test_every_line_of_the_log_is_shown_as_it_is_written(line: str):
    assert line in OPERATIONS


def titles() -> set[str]:
    """The titles of all notifications, as the code makes them."""
    source = Path(notices.__file__).read_text(encoding="utf-8")
    return set(re.findall(r'"([^\w\s"][^"\w]* [A-Z][A-Za-z ]+)"', source))


def test_every_notification_is_listed():
    made: Notification = notices.order_filled(RECORD)
    assert made.title in titles()
    listed = set(re.findall(r"^\| ([^|`]+) \|", section(OPERATIONS, "Notifications"), re.MULTILINE))
    assert {title for title in listed if not title.isascii()} == titles()


def test_figures_are_those_of_the_code():
    assert f"At most {DISPATCH_SLOTS} orders of an account" in OPERATIONS
    assert f"rotated at {MAX_BYTES // 1_000_000} MB, {({10: 'ten'})[BACKUPS]} old ones" in OPERATIONS
