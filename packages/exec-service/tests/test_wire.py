"""The message: what is accepted, what is refused and with which words, and that nothing else can happen."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from exec_core.instruments import AssetClass, Right
from exec_core.orders import OrderStatus, OrderType, Role, TimeInForce
from exec_core.sides import Side
from exec_service import journal, wire
from exec_service.records import Accepted, Invalid, OrderRecord, Parsed, Unreadable
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 3, 12, 52, 0, tzinfo=UTC)
ACCOUNTS = {"IBKR Main Account": "acc_abc123"}
MESSAGE = {
    "signal_id": "sig_1732450800_5678",
    "order_type": "MARKET",
    "symbol": "SPY",
    "side": "BUY",
    "quantity": 100,
    "account_id": "acc_abc123",
    "strategy_name": "SPX 1-Day Options",
    "stop_loss": 230.00,
    "take_profit": 240.00,
}
DIALECT = {
    "order_id": "sig_1732450800_5678_ORD",
    "signal_id": "sig_1732450800_5678",
    "mathematricks_signal_id": "65a1b2c3d4e5f60718293a4b",
    "strategy_id": "SPX 1-Day Options",
    "account": "IBKR Main Account",
    "timestamp": "2026-01-03 12:51:53.123456",
    "instrument": "SPY",
    "instrument_type": "STOCK",
    "direction": "LONG",
    "action": "BUY",
    "signal_type": "ENTRY",
    "order_type": "MARKET",
    "price": 0,
    "quantity": 100.0,
    "stop_loss": 230.0,
    "take_profit": 240.0,
    "expiry": None,
    "cerebro_decision": {"reason": "ok", "score": 0.5},
    "environment": "staging",
}
OPTION = {"instrument_type": "OPTION", "symbol": "SPX", "expiry": "2025-12-19", "strike": 5900, "right": "CALL"}
LEG = {"expiry": "20251219", "strike": 5900, "right": "C", "action": "BUY", "quantity": 1}
MISSING = object()


def parse(data: bytes, environment: str | None = None) -> Parsed:
    return wire.parse(
        data,
        message_id="m-1",
        published_at=NOW,
        received_at=NOW,
        sequence=7,
        attributes={},
        environment=environment,
        accounts=ACCOUNTS,
    )


def with_fields(**changes: Any) -> bytes:
    message = {**MESSAGE, **changes}
    return json.dumps({name: value for name, value in message.items() if value is not MISSING}).encode()


def accepted(**changes: Any) -> OrderRecord:
    parsed = parse(with_fields(**changes))
    assert isinstance(parsed, Accepted), parsed
    return parsed.record


def invalid(**changes: Any) -> Invalid:
    parsed = parse(with_fields(**changes))
    assert isinstance(parsed, Invalid), parsed
    return parsed


def test_the_specifications_message_becomes_a_pending_order() -> None:
    record = accepted()
    request = record.order.request
    assert record.order.status is OrderStatus.PENDING
    assert record.sequence == 7
    assert (request.signal_id, request.account_id, request.strategy_name) == (
        "sig_1732450800_5678",
        "acc_abc123",
        "SPX 1-Day Options",
    )
    assert (request.instrument.symbol, request.instrument.asset_class) == ("SPY", AssetClass.STOCK)
    assert (request.side, request.order_type, request.quantity) == (Side.BUY, OrderType.MARKET, Decimal(100))
    assert (request.stop_loss, request.take_profit) == (Decimal(230), Decimal(240))
    assert (request.leg_index, request.total_legs, request.role) == (0, 1, Role.ENTRY)
    assert (record.source.message_id, record.source.published_at, record.source.received_at) == ("m-1", NOW, NOW)


def test_the_other_dialect_says_the_same() -> None:
    parsed = parse(json.dumps(DIALECT).encode())
    assert isinstance(parsed, Accepted), parsed
    assert parsed.record.order.request == accepted().order.request
    source = parsed.record.source
    assert source.content == accepted().source.content
    assert source.source_order_id == "sig_1732450800_5678_ORD"
    assert source.mathematricks_signal_id == "65a1b2c3d4e5f60718293a4b"
    assert source.created_at == datetime(2026, 1, 3, 12, 51, 53, 123456, tzinfo=UTC)
    assert (source.signal_type, source.environment) == ("ENTRY", "staging")
    assert source.extra["cerebro_decision"] == {"reason": "ok", "score": Decimal("0.5")}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"SPY", "not JSON"),
        (b'{"signal_id": "a"', "not JSON"),
        (b'{"signal_id": "a", "quantity": NaN}', "NaN"),
        (b'{"signal_id": "a", "quantity": -Infinity}', "-Infinity"),
        (b'{"signal_id": "a", "quantity": 1e9999999999999999999}', "out of all bounds"),
        (b'{"signal_id": "a", "quantity": ' + b"9" * 5000 + b"}", "5000 characters"),
        (b'{"signal_id": "a", "signal_id": "b"}', '"signal_id" twice'),
        (b'{"signal_id": "a", "leg": {"x": 1, "x": 1}}', '"x" twice'),
        (b'\xff\xfe{"signal_id": "a"}', "not UTF-8"),
        (b"[1, 2]", "got a list"),
        (b'"text"', 'got the string "text"'),
        (b"null", "got null"),
        (b"12", "got 12"),
        (b"[" * 60_000, "nested deeper"),
        (b'{"signal_id": "a", "x": ' + b"[" * 40 + b"]" * 40 + b"}", "nested deeper"),
        (b'{"signal_id": "a", "x": "' + b"y" * 1_000_000 + b'"}', "1000027 bytes long: at most 65536"),
        (with_fields(signal_id=MISSING), "signal_id is missing"),
        (with_fields(signal_id=None), "signal_id is missing"),
        (with_fields(signal_id=""), "signal_id is empty"),
        (with_fields(signal_id="   "), "signal_id is empty"),
        (with_fields(signal_id=12), "signal_id must be text, got 12"),
        (with_fields(signal_id=["a"]), "signal_id must be text, got a list"),
        (with_fields(signal_id="a#SL"), "must not contain #"),
        (with_fields(signal_id="x" * 129), "at most 128 characters long, got 129"),
        (with_fields(signal_id="a\nb"), r"a\nb"),
        (with_fields(signal_id="a\ud800"), r"a\ud800"),
    ],
)
def test_what_cannot_be_an_order_is_unreadable_and_says_why(data: bytes, said: str) -> None:
    parsed = parse(data)
    assert isinstance(parsed, Unreadable), parsed
    assert said in parsed.reason
    assert "\n" not in parsed.reason
    assert len(parsed.reason) < 300


def test_the_longest_signal_id_and_the_longest_message_are_taken() -> None:
    assert accepted(signal_id="x" * 128).order.request.signal_id == "x" * 128
    data = with_fields(note="")
    padded = with_fields(note="y" * (64 * 1024 - len(data)))
    assert len(padded) == 64 * 1024
    assert isinstance(parse(padded), Accepted)
    assert isinstance(parse(padded + b" "), Unreadable)


BAD_FIELDS = [
    ("account_id", MISSING, "account_id is missing: give the account's id"),
    ("account_id", None, "account_id is missing"),
    ("account_id", "", "account_id is missing"),
    ("account_id", 12, "account_id must be text, got 12"),
    ("account_id", "x" * 129, "account_id must be at most 128 characters long, got 129"),
    ("strategy_name", MISSING, "strategy_name is missing"),
    ("strategy_name", "", "strategy_name is missing"),
    ("strategy_name", {"a": 1}, "strategy_name must be text, got an object"),
    ("symbol", MISSING, "symbol is missing"),
    ("symbol", "", "symbol is missing"),
    ("symbol", " ", "symbol is missing"),
    ("symbol", ["SPY"], "symbol must be text, got a list"),
    ("symbol", "S" * 10_240, "symbol must be at most 64 characters long, got 10240"),
    ("symbol", "SP\tY", r'symbol must be printable characters, got the string "SP\tY"'),
    ("side", MISSING, "side is missing: give BUY or SELL"),
    ("side", "", "side is missing"),
    ("side", "HOLD", 'side must be one of BUY, SELL, got the string "HOLD"'),
    ("side", 1, "side must be one of BUY, SELL, got 1"),
    ("side", True, "side must be one of BUY, SELL, got true"),
    ("quantity", MISSING, "quantity is missing"),
    ("quantity", None, "quantity is missing"),
    ("quantity", 0, "quantity must be above zero, got 0"),
    ("quantity", -0.0, "quantity must be above zero, got -0.0"),
    ("quantity", -65, "quantity must be above zero, got -65"),
    ("quantity", "65.0", 'quantity must be a JSON number, got the string "65.0"'),
    ("quantity", "", "quantity must be a JSON number, got an empty string"),
    ("quantity", True, "quantity must be a JSON number, got true"),
    ("quantity", [1], "quantity must be a JSON number, got a list"),
    ("quantity", 1e30, "quantity must be at most 1e12, got 1E+30"),
    ("quantity", 10**30, "quantity must be at most 1e12, got 1000"),
    ("quantity", 1e-30, "quantity must not be closer to zero than 1e-18, got 1E-30"),
    ("cash_quantity", 100, "quantity and cash_quantity contradict each other"),
    ("cash_quantity", 0, "cash_quantity must be above zero, got 0"),
    ("order_type", MISSING, "order_type is missing: give one of MARKET, LIMIT, STOP, STOP_LIMIT"),
    ("order_type", "", "order_type is missing"),
    ("order_type", "ICEBERG", 'must be one of MARKET, LIMIT, STOP, STOP_LIMIT, got the string "ICEBERG"'),
    ("order_type", 3, "order_type must be one of MARKET, LIMIT, STOP, STOP_LIMIT, got 3"),
    ("order_type", "LIMIT", "limit_price is missing: a LIMIT order needs it"),
    ("order_type", "STOP", "stop_price is missing: a STOP order needs it"),
    ("limit_price", 10, "limit_price contradicts order_type MARKET"),
    ("stop_price", 10, "stop_price contradicts order_type MARKET"),
    ("limit_price", "10", 'limit_price must be a JSON number, got the string "10"'),
    ("price", -1, "price must be zero or above, got -1"),
    ("price", "235", "price must be a JSON number"),
    ("time_in_force", "GTD", "time_in_force must be one of DAY, GTC, IOC"),
    ("timeout_seconds", -1, "timeout_seconds must be zero or above, got -1"),
    ("timeout_seconds", "60", "timeout_seconds must be a JSON number"),
    ("stop_loss", -230, "stop_loss must be zero or above, got -230"),
    ("take_profit", "240", "take_profit must be a JSON number"),
    ("instrument_type", "BOND", "instrument_type must be one of STOCK, ETF, OPTION, FUTURE, FOREX, CRYPTO"),
    ("instrument_type", 5, "instrument_type must be one of STOCK"),
    ("multiplier", 0, "multiplier must be above zero, got 0"),
    ("expiry", 20251219, "expiry must be text, got 20251219"),
    ("expiry", "20251319", "expiry is not a date of the calendar"),
    ("expiry", "19.12.2025", "expiry must look like YYYYMMDD or YYYY-MM-DD"),
    ("expiry", "20251219", "instrument_type STOCK (the default) contradicts expiry"),
    ("right", "X", "right must be one of C, P, CALL, PUT"),
    ("exchange", 5, "exchange must be text, got 5"),
    ("legs", "two", 'legs must be a list of legs, got the string "two"'),
    ("legs", [LEG], "legs need instrument_type OPTION or FUTURE, got STOCK"),
    ("leg_index", -1, "leg_index must be a whole number from 0"),
    ("leg_index", 1.5, "leg_index must be a whole number from 0"),
    ("leg_index", "1", 'leg_index must be a JSON number, got the string "1"'),
    ("total_legs", 0, "total_legs must be a whole number from 1"),
    ("total_legs", True, "total_legs must be a JSON number, got true"),
    (
        "created_at",
        "yesterday",
        'created_at must be a time in ISO 8601 like 2026-01-03T12:51:53Z, got the string "yest',
    ),
    ("created_at", "", "created_at must be a time in ISO 8601"),
    ("created_at", "2026-01-03", "created_at must be a time in ISO 8601"),
    ("created_at", 1732450800, "created_at must be a time in ISO 8601 like 2026-01-03T12:51:53Z, got 1732450800"),
    ("created_at", "0001-01-01T00:00:00+14:00", "created_at must be a time in ISO 8601"),
    ("timestamp", "soon", "timestamp must be a time in ISO 8601"),
    ("signal_type", "cancel", "run `exec-service cancel`"),
    ("signal_type", 5, "signal_type must be text, got 5"),
    ("action", "HOLD", "action must be one of BUY, SELL, ENTRY, EXIT"),
    ("direction", "UP", "direction must be one of LONG, SHORT"),
]


@pytest.mark.parametrize(("name", "value", "said"), BAD_FIELDS)
def test_a_bad_field_is_named_with_what_was_wrong(name: str, value: Any, said: str) -> None:
    refused = invalid(**{name: value})
    assert said in refused.reason
    assert "; " not in refused.reason, "one mistake, one statement"
    assert refused.key.signal_id == MESSAGE["signal_id"]


def test_all_mistakes_are_named_at_once() -> None:
    refused = invalid(side="HOLD", quantity="65.0", symbol=MISSING, order_type="STOP_LIMIT", account_id=None)
    for name in ("side", "quantity", "symbol", "limit_price", "stop_price", "account_id"):
        assert f"{name} " in refused.reason
    assert refused.fields["strategy_name"] == "SPX 1-Day Options"
    assert refused.fields["order_type"] == "STOP_LIMIT"
    assert refused.fields.keys().isdisjoint({"side", "quantity", "symbol", "account_id"})


def test_an_invalid_message_keeps_what_could_be_read_under_the_documents_names() -> None:
    refused = parse(json.dumps({**DIALECT, "quantity": "65.0"}).encode())
    assert isinstance(refused, Invalid)
    assert refused.fields["symbol"] == "SPY"
    assert refused.fields["account_id"] == "acc_abc123"
    assert refused.fields["side"] == "BUY"
    assert type(refused.fields["side"]) is str
    assert refused.source.source_order_id == "sig_1732450800_5678_ORD"


def test_an_echoed_value_is_short_and_cannot_forge_a_line() -> None:
    refused = invalid(side="x\n2026-01-01 00:00:00 | [EXECUTION] | Order filled\x1b[31m" + "y" * 5000)
    assert "\n" not in refused.reason
    assert "\x1b" not in refused.reason
    assert len(refused.reason) < 200


@pytest.mark.parametrize("word", ["buy", "Buy", " BUY "])
def test_words_are_case_insensitive(word: str) -> None:
    assert accepted(side=word, order_type="market", time_in_force="ioc").order.request.side is Side.BUY


@pytest.mark.parametrize(
    ("changes", "side"),
    [
        ({"side": MISSING, "action": "SELL"}, Side.SELL),
        ({"side": MISSING, "action": "SELL", "direction": "LONG", "signal_type": "EXIT"}, Side.SELL),
        ({"side": MISSING, "action": "SELL", "direction": "LONG", "signal_type": None}, Side.SELL),
        ({"side": MISSING, "action": "ENTRY", "direction": "LONG"}, Side.BUY),
        ({"side": MISSING, "action": "EXIT", "direction": "SHORT"}, Side.BUY),
        ({"side": MISSING, "action": "ENTRY", "direction": "SHORT"}, Side.SELL),
        ({"side": MISSING, "action": "exit", "direction": "long"}, Side.SELL),
        ({"side": "BUY", "action": "BUY"}, Side.BUY),
        ({"side": "BUY", "direction": "LONG"}, Side.BUY),
        ({"side": "SELL", "direction": "LONG", "signal_type": "EXIT"}, Side.SELL),
    ],
)
def test_the_side_is_the_action(changes: dict[str, Any], side: Side) -> None:
    assert accepted(**changes).order.request.side is side


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"action": "SELL"}, "side BUY and action SELL contradict"),
        ({"action": "ENTRY", "direction": "SHORT"}, "side BUY contradicts direction SHORT"),
        ({"direction": "SHORT"}, "unless it is an exit"),
        ({"direction": "LONG", "signal_type": "EXIT"}, "with signal_type EXIT"),
        ({"side": MISSING, "action": "ENTRY"}, "direction is missing"),
        ({"side": MISSING, "direction": "LONG"}, "side is missing"),
        ({"instrument": "QQQ"}, "contradict each other"),
        ({"strategy_id": "Forex"}, "contradict each other"),
        ({"account": "acc_other"}, "contradict each other"),
    ],
)
def test_two_spellings_that_differ_are_refused(changes: dict[str, Any], said: str) -> None:
    assert said in invalid(**changes).reason


def test_two_spellings_that_agree_are_one() -> None:
    record = accepted(instrument="SPY", strategy_id="SPX 1-Day Options", account="IBKR Main Account", action="BUY")
    assert record.source.content == accepted().source.content


@pytest.mark.parametrize(
    ("account", "account_id"),
    [("IBKR Main Account", "acc_abc123"), ("acc_abc123", "acc_abc123"), ("Nobody", "Nobody")],
)
def test_an_account_may_be_given_by_name(account: str, account_id: str) -> None:
    assert accepted(account_id=MISSING, account=account).order.request.account_id == account_id


def test_an_id_is_an_id_even_where_it_is_another_accounts_name() -> None:
    assert accepted(account_id="IBKR Main Account").order.request.account_id == "IBKR Main Account"


@pytest.mark.parametrize(
    ("changes", "limit", "stop", "reference"),
    [
        ({"order_type": "LIMIT", "limit_price": 235.5}, "235.5", None, None),
        ({"order_type": "LIMIT", "price": 235.5}, "235.5", None, "235.5"),
        ({"order_type": "LIMIT", "limit_price": 0, "price": 235.5}, "235.5", None, "235.5"),
        ({"order_type": "LIMIT", "limit_price": 235, "price": 236, "stop_price": 0}, "235", None, "236"),
        ({"order_type": "STOP", "stop_price": 230, "limit_price": 0}, None, "230", None),
        ({"order_type": "STOP_LIMIT", "stop_price": 230, "limit_price": 229}, "229", "230", None),
        ({"order_type": "MARKET", "price": 235.5, "limit_price": None, "stop_price": 0}, None, None, "235.5"),
        ({"order_type": "MARKET", "price": 0}, None, None, None),
    ],
)
def test_prices_as_the_order_type_needs_them(
    changes: dict[str, Any], limit: str | None, stop: str | None, reference: str | None
) -> None:
    request = accepted(**changes).order.request
    found = (request.limit_price, request.stop_price, request.reference_price)
    assert found == tuple(None if price is None else Decimal(price) for price in (limit, stop, reference))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"order_type": "LIMIT", "limit_price": 235, "stop_price": 230}, "stop_price contradicts order_type LIMIT"),
        ({"order_type": "STOP", "limit_price": 235, "stop_price": 230}, "limit_price contradicts order_type STOP"),
        ({"order_type": "STOP", "price": 235}, "stop_price is missing"),
        ({"order_type": "STOP_LIMIT", "price": 235, "stop_price": 1}, "limit_price is missing"),
        ({"order_type": "LIMIT", "price": "235"}, "price must be a JSON number"),
        ({"order_type": "LIMIT", "limit_price": -235}, "limit_price must be zero or above"),
    ],
)
def test_prices_that_do_not_fit_the_order_type_are_refused(changes: dict[str, Any], said: str) -> None:
    refused = invalid(**changes)
    assert said in refused.reason
    assert "; " not in refused.reason


def test_zero_and_null_exits_are_none() -> None:
    request = accepted(stop_loss=0, take_profit=None).order.request
    assert (request.stop_loss, request.take_profit) == (None, None)


def test_a_crypto_market_buy_keeps_quantity_and_price() -> None:
    request = accepted(symbol="BTC", instrument_type="CRYPTO", quantity=0.5, price=64_000).order.request
    assert (request.quantity, request.cash_quantity, request.reference_price) == (
        Decimal("0.5"),
        None,
        Decimal(64_000),
    )


def test_an_amount_of_money_instead_of_a_quantity() -> None:
    request = accepted(quantity=MISSING, cash_quantity=500, instrument_type="CRYPTO").order.request
    assert (request.quantity, request.cash_quantity) == (None, Decimal(500))


def test_a_quantity_is_exact() -> None:
    assert accepted(quantity=0.1).order.request.quantity == Decimal("0.1")


@pytest.mark.parametrize(("timeout", "kept"), [(MISSING, None), (None, None), (0, Decimal(0)), (2.5, Decimal("2.5"))])
def test_no_time_out_and_the_default_time_out_differ(timeout: Any, kept: Decimal | None) -> None:
    assert accepted(timeout_seconds=timeout).source.timeout_seconds == kept


@pytest.mark.parametrize(
    ("signal_type", "role"),
    [
        ("ENTRY", Role.ENTRY),
        ("EXIT", Role.EXIT),
        ("scale_out", Role.EXIT),
        ("SCALE_IN", Role.ENTRY),
        ("", Role.ENTRY),
        (None, Role.ENTRY),
        ("REBALANCE", Role.ENTRY),
    ],
)
def test_the_signal_type_informs_and_changes_nothing(signal_type: str | None, role: Role) -> None:
    record = accepted(signal_type=signal_type)
    assert record.order.request.role is role
    assert record.order.request.side is Side.BUY
    assert record.source.content == accepted().source.content


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-03T12:00:00Z", datetime(2026, 1, 3, 12, tzinfo=UTC)),
        ("2026-01-03 12:51:53.123456", datetime(2026, 1, 3, 12, 51, 53, 123456, tzinfo=UTC)),
        ("2026-01-03T17:30:00+05:30", datetime(2026, 1, 3, 12, tzinfo=UTC)),
        ("2026-01-03T11:52:00", NOW - timedelta(hours=1)),
        ("2026-01-03T12:53:00Z", NOW + timedelta(seconds=60)),
    ],
)
def test_a_creation_time_is_utc_and_its_age_is_for_others_to_judge(text: str, moment: datetime) -> None:
    source = accepted(created_at=text).source
    assert source.created_at == moment
    assert source.created_at is not None
    assert source.created_at.utcoffset() == timedelta(0)


def test_created_at_goes_before_timestamp() -> None:
    source = accepted(created_at="2026-01-03T12:00:00Z", timestamp="2026-01-03T11:00:00Z").source
    assert source.created_at == datetime(2026, 1, 3, 12, tzinfo=UTC)
    assert source.extra["timestamp"] == "2026-01-03T11:00:00Z"


def test_the_future_is_refused_with_its_offset() -> None:
    assert "created_at is 90 s in the future" in invalid(created_at="2026-01-03T12:53:30Z").reason
    assert "local time" not in invalid(created_at="2026-01-03T12:53:30Z").reason


def test_local_time_without_its_offset_is_recognised() -> None:
    reason = invalid(timestamp="2026-01-03 18:21:58").reason
    assert "timestamp is 5 h 30 min in the future" in reason
    assert "local time (UTC+05:30)" in reason
    assert "local time" not in invalid(timestamp="2026-01-03 18:05:00").reason


@pytest.mark.parametrize(
    ("ours", "theirs", "taken"),
    [
        (None, "production", True),
        (None, 5, True),
        ("staging", "Staging", True),
        ("staging", MISSING, True),
        ("staging", "production", False),
        ("staging", 5, False),
    ],
)
def test_the_environment_is_read_only_by_a_service_that_has_one(ours: str | None, theirs: Any, taken: bool) -> None:
    parsed = parse(with_fields(environment=theirs), environment=ours)
    assert isinstance(parsed, Accepted if taken else Invalid)
    if isinstance(parsed, Invalid):
        assert "environment" in parsed.reason


def test_an_option_by_its_contract() -> None:
    instrument = accepted(**OPTION, multiplier=100, exchange="smart", currency="usd").order.request.instrument
    assert (instrument.asset_class, instrument.expiry, instrument.strike, instrument.right) == (
        AssetClass.OPTION,
        "20251219",
        Decimal(5900),
        Right.CALL,
    )
    assert (instrument.exchange, instrument.currency, instrument.multiplier) == ("SMART", "USD", Decimal(100))


def test_an_option_by_the_venues_symbol() -> None:
    instrument = accepted(instrument_type="OPTION", symbol="NIFTY25DEC24000CE", exchange="NFO").order.request.instrument
    assert (instrument.symbol, instrument.exchange, instrument.strike) == ("NIFTY25DEC24000CE", "NFO", None)


@pytest.mark.parametrize("expiry", ["202512", "20251219", "2025-12-19"])
def test_a_future_by_month_or_day(expiry: str) -> None:
    instrument = accepted(instrument_type="FUTURE", symbol="ES", expiry=expiry).order.request.instrument
    assert instrument.expiry == expiry.replace("-", "")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"instrument_type": "OPTION"}, "expiry and strike and right must be given for OPTION"),
        ({**OPTION, "strike": None}, "strike must be given for OPTION"),
        ({**OPTION, "expiry": "202512"}, "expiry must look like YYYYMMDD or YYYY-MM-DD"),
        ({**OPTION, "instrument_type": MISSING}, "STOCK (the default) contradicts expiry and strike and right"),
        ({**OPTION, "instrument_type": "FUTURE"}, "instrument_type FUTURE contradicts strike and right"),
        ({"instrument_type": "FUTURE", "symbol": "ES"}, "expiry must be given for FUTURE"),
    ],
)
def test_a_contract_that_is_not_clear_is_refused(changes: dict[str, Any], said: str) -> None:
    assert said in invalid(**changes).reason


def combination(**changes: Any) -> dict[str, Any]:
    legs = [{**LEG, **changes}, {**LEG, "action": "SELL", "strike": 6000, "right": "PUT", "quantity": 2}]
    return {"instrument_type": "OPTION", "symbol": "SPX", "underlying": "SPX", "legs": legs, "order_type": "LIMIT"}


def test_a_combination_keeps_its_legs_and_its_net_price() -> None:
    request = accepted(**combination(), limit_price=-1.25).order.request
    assert request.limit_price == Decimal("-1.25")
    assert [(leg.side, leg.ratio, leg.instrument.strike, leg.instrument.right) for leg in request.legs] == [
        (Side.BUY, Decimal(1), Decimal(5900), Right.CALL),
        (Side.SELL, Decimal(2), Decimal(6000), Right.PUT),
    ]
    assert {leg.instrument.symbol for leg in request.legs} == {"SPX"}
    assert accepted(**combination(), limit_price=0).order.request.limit_price == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"action": "HOLD"}, "legs[0].action must be one of BUY, SELL"),
        ({"action": None}, "legs[0].action is missing"),
        ({"quantity": 1.5}, "legs[0].quantity must be a whole number"),
        ({"quantity": 0}, "legs[0].quantity must be above zero"),
        ({"strike": None}, "legs[0].strike is missing: a leg of OPTION needs it"),
        ({"expiry": "2025"}, "legs[0].expiry must look like"),
        ({"right": "X"}, "legs[0].right must be one of"),
    ],
)
def test_a_bad_leg_is_named(changes: dict[str, Any], said: str) -> None:
    assert said in invalid(**combination(**changes), limit_price=1).reason


def test_further_fields_of_a_leg_are_kept() -> None:
    record = accepted(**combination(premium=1.5), limit_price=1)
    assert record.source.extra["legs"][0]["premium"] == Decimal("1.5")


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({}, (0, 1)),
        ({"leg_index": None, "total_legs": None}, (0, 1)),
        ({"leg_index": 1, "total_legs": 2}, (1, 2)),
        ({"leg_index": 1.0, "total_legs": 2.0}, (1, 2)),
        ({"leg_index": 3}, (3, 4)),
    ],
)
def test_the_place_in_the_signal(changes: dict[str, Any], place: tuple[int, int]) -> None:
    request = accepted(**changes).order.request
    assert (request.leg_index, request.total_legs) == place


def test_a_leg_beyond_the_last_is_refused_under_its_own_key() -> None:
    refused = invalid(leg_index=2, total_legs=2)
    assert "leg_index must be below total_legs, got 2 of 2" in refused.reason
    assert refused.key.leg_index == 2


def test_a_refused_leg_does_not_take_the_place_of_another() -> None:
    assert invalid(leg_index="1", total_legs=2).key.leg_index == 1
    assert invalid(leg_index=1, quantity=0).key.leg_index == 1


def test_unknown_fields_are_kept_unread_in_a_form_that_every_store_takes() -> None:
    extra = accepted(
        entry_signal_id="sig_1",
        cerebro_decision={"$where": 1, "a.b": [1, {"c": None}], "\0": "x\0"},
        big=2**70,
        tiny=MISSING,
        broken="\ud800",
        flag=True,
    ).source.extra
    assert extra["entry_signal_id"] == "sig_1"
    assert extra["cerebro_decision"] == {"＄where": 1, "a．b": [1, {"c": None}], "\\0": "x\0"}
    assert extra["big"] == str(2**70)
    assert extra["broken"] == "\\ud800"
    assert extra["flag"] is True
    assert "signal_id" not in extra
    assert "symbol" not in extra


def test_a_number_that_no_store_can_hold_is_kept_as_text() -> None:
    data = with_fields(note=MISSING)[:-1] + b', "odd": 1e-99999, "long": 0.' + b"1" * 50 + b"}"
    parsed = parse(data)
    assert isinstance(parsed, Accepted)
    assert parsed.record.source.extra["odd"] == "1E-99999"
    assert parsed.record.source.extra["long"] == "0." + "1" * 50


def test_message_attributes_are_kept() -> None:
    parsed = wire.parse(
        with_fields(),
        message_id="m",
        published_at=None,
        received_at=NOW,
        sequence=1,
        attributes={"origin": "cerebro"},
        environment=None,
        accounts={},
    )
    assert isinstance(parsed, Accepted)
    assert parsed.record.source.extra["message_attributes"] == {"origin": "cerebro"}


TRADED_CHANGES: list[dict[str, Any]] = [
    {"account_id": "acc_2"},
    {"strategy_name": "Forex"},
    {"symbol": "QQQ"},
    {"side": "SELL"},
    {"quantity": 101},
    {"quantity": MISSING, "cash_quantity": 100},
    {"price": 235},
    {"order_type": "LIMIT", "limit_price": 235},
    {"order_type": "STOP", "stop_price": 235},
    {"order_type": "STOP_LIMIT", "stop_price": 235, "limit_price": 235},
    {"time_in_force": "GTC"},
    {"instrument_type": "ETF"},
    {"exchange": "ARCA"},
    {"currency": "EUR"},
    {"multiplier": 10},
    {"product": "MIS"},
    {"stop_loss": 229},
    {"take_profit": None},
    OPTION,
    {**OPTION, "strike": 5901},
    {**OPTION, "right": "P"},
    {**OPTION, "expiry": "20251220"},
    {**combination(), "limit_price": 1},
    {**combination(action="SELL"), "limit_price": 1},
    {**combination(quantity=3), "limit_price": 1},
]


def test_every_traded_field_makes_another_content() -> None:
    contents = [accepted(**changes).source.content for changes in ({}, *TRADED_CHANGES)]
    assert len(set(contents)) == len(contents)


@pytest.mark.parametrize(
    "changes",
    [
        {"quantity": 100.0},
        {"created_at": "2026-01-03T12:00:00Z"},
        {"timestamp": "2026-01-03T12:00:00Z"},
        {"order_id": "other"},
        {"mathematricks_signal_id": "65a1b2c3d4e5f60718293a4b"},
        {"signal_type": "ENTRY"},
        {"cerebro_decision": {"a": 1}},
        {"timeout_seconds": 5},
        {"side": "buy"},
        {"instrument_type": "stock"},
        {"limit_price": 0},
        {"leg_index": 0, "total_legs": 1},
    ],
)
def test_times_ids_and_spellings_make_no_other_content(changes: dict[str, Any]) -> None:
    assert accepted(**changes).source.content == accepted().source.content


def test_a_limit_is_one_content_whichever_field_it_came_in() -> None:
    by_price = accepted(order_type="LIMIT", price=235).source.content
    assert by_price == accepted(order_type="LIMIT", limit_price=235.0).source.content


def test_repeated_invalid_messages_are_told_from_others_by_their_body() -> None:
    first = invalid(quantity=0, note=1)
    assert first.source.content == invalid(quantity=0.0, note=1.0, created_at="2026-01-03T12:00:00Z").source.content
    assert first.source.content != invalid(quantity=0, note=2).source.content
    assert first.source.content != invalid(quantity=0, note=True).source.content
    assert first.source.content != accepted(note=1).source.content


# ---------------------------------------------------------------------- for arbitrary input

NAMES = sorted({*MESSAGE, *DIALECT, *OPTION, "legs", "leg_index", "total_legs", "created_at", "cash_quantity"})
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
plausible = st.sampled_from([0, 1, 1.5, -1, "BUY", "LONG", "LIMIT", "OPTION", "20251219", "", None, True, [LEG]])


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    assert isinstance(parse(data), Accepted | Invalid | Unreadable)


@given(json_values)
def test_no_json_makes_it_fail(value: object) -> None:
    assert isinstance(parse(json.dumps(value).encode()), Accepted | Invalid | Unreadable)


@given(st.dictionaries(st.sampled_from(NAMES), json_values | plausible))
def test_no_message_makes_it_fail_and_what_it_makes_can_be_stored(changes: dict[str, Any]) -> None:
    parsed = parse(json.dumps({**MESSAGE, **changes}).encode())
    assert isinstance(parsed, Accepted | Invalid | Unreadable)
    if isinstance(parsed, Accepted):
        document = journal.order_document(parsed.record)
        assert journal.order_record(document, ()) == parsed.record
    elif isinstance(parsed, Invalid):
        document = journal.invalid_document(parsed, NOW)
        assert parsed.reason.isprintable()
    else:
        assert parsed.reason.isprintable()
        return
    json.dumps(document, default=str).encode("utf-8")


@given(st.permutations(list(MESSAGE.items())), st.sampled_from([100, 100.0]))
def test_the_order_of_fields_makes_no_other_content(items: list[tuple[str, Any]], quantity: float) -> None:
    parsed = parse(json.dumps({**dict(items), "quantity": quantity}).encode())
    assert isinstance(parsed, Accepted)
    assert parsed.record.source.content == accepted().source.content


def test_the_shortest_time_in_force_reaches_the_order() -> None:
    assert accepted(time_in_force="GTC").order.request.time_in_force is TimeInForce.GTC
    assert accepted(time_in_force="").order.request.time_in_force is None
