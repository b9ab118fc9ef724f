"""Orders, executions and positions of any kind, as the journal may meet them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from exec_core.fills import Commission, Fill
from exec_core.identifiers import AccountId, BrokerOrderId, ExecutionId, SignalId
from exec_core.instruments import AssetClass, Instrument, InstrumentDetails, Right
from exec_core.modifications import TERMS, ToldTerm
from exec_core.orders import (
    CancelRequest,
    Evidence,
    HistoryEntry,
    Leg,
    Order,
    OrderEnd,
    OrderRequest,
    OrderStatus,
    OrderType,
    ReasonCode,
    Role,
    TimeInForce,
)
from exec_core.positions import Position, PositionKey, PositionSide
from exec_core.sides import Side
from exec_service.records import OrderRecord, Source
from hypothesis import strategies as st

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 3, 12, 52, 0, 123456, tzinfo=UTC)

text = st.text(max_size=12)
names = st.text(min_size=1, max_size=12)
times = st.integers(0, 10**15 * 4).map(lambda number: EPOCH + timedelta(microseconds=number))
numbers = st.decimals(-(10**12), 10**12, allow_nan=False, allow_infinity=False, places=6)
positive = st.decimals(Decimal("0.000001"), 10**12, allow_nan=False, allow_infinity=False, places=6)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


instruments = st.builds(
    Instrument,
    symbol=names,
    asset_class=st.sampled_from(AssetClass),
    exchange=maybe(text),
    currency=maybe(text),
    expiry=maybe(text),
    strike=maybe(positive),
    right=maybe(st.sampled_from(Right)),
    multiplier=maybe(positive),
    underlying=maybe(text),
)
legs = st.builds(Leg, instruments, st.sampled_from(Side), positive)


@st.composite
def requests(draw: st.DrawFn) -> OrderRequest:
    order_type = draw(st.sampled_from(OrderType))
    in_cash = draw(st.booleans())
    return OrderRequest(
        signal_id=SignalId(draw(names)),
        account_id=AccountId(draw(names)),
        strategy_name=draw(text),
        instrument=draw(instruments),
        side=draw(st.sampled_from(Side)),
        order_type=order_type,
        quantity=None if in_cash else draw(positive),
        cash_quantity=draw(positive) if in_cash else None,
        limit_price=draw(numbers) if order_type.has_limit else None,
        stop_price=draw(numbers) if order_type.has_stop else None,
        reference_price=draw(maybe(numbers)),
        time_in_force=draw(maybe(st.sampled_from(TimeInForce))),
        legs=tuple(draw(st.lists(legs, max_size=2))),
        leg_index=draw(st.integers(0, 5)),
        total_legs=draw(st.integers(1, 6)),
        product=draw(maybe(text)),
        variety=draw(maybe(text)),
        stop_loss=draw(maybe(positive)),
        take_profit=draw(maybe(positive)),
        role=draw(st.sampled_from(Role)),
    )


commissions = st.builds(Commission, numbers, names, st.booleans())
execution_ids = st.text("0123456789abcdef.", min_size=1, max_size=20).map(ExecutionId)
fills = st.builds(
    Fill,
    execution_id=execution_ids,
    side=st.sampled_from(Side),
    quantity=positive,
    price=numbers,
    time=times,
    commission=maybe(commissions),
    correction=st.integers(0, 3),
    leg=maybe(st.integers(0, 3)),
)
ends = st.builds(
    OrderEnd,
    st.sampled_from(OrderStatus),
    maybe(st.sampled_from(ReasonCode)),
    maybe(text),
    st.sampled_from(Evidence),
    times,
)
histories = st.lists(
    st.builds(
        HistoryEntry,
        times,
        text,
        text,
        st.sampled_from(Evidence),
        st.sampled_from(OrderStatus),
        st.integers(1, 99),
        maybe(text),
    ),
    max_size=3,
)
told_terms = st.lists(
    st.builds(ToldTerm, st.sampled_from(TERMS), numbers, maybe(names.map(BrokerOrderId)), maybe(times)), max_size=3
)
details = st.builds(InstrumentDetails, maybe(positive), maybe(positive), maybe(positive), maybe(text))


@st.composite
def orders(draw: st.DrawFn) -> Order:
    request = draw(requests())
    executions = draw(st.lists(fills, max_size=3, unique_by=lambda fill: fill.execution_id))
    return Order(
        client_order_id=request.key.client_order_id(),
        request=request,
        quantity=draw(maybe(positive)),
        status=draw(st.sampled_from(OrderStatus)),
        revision=draw(st.integers(1, 10**6)),
        broker_order_ids=tuple(map(BrokerOrderId, draw(st.lists(names, max_size=3)))),
        fills=MappingProxyType({fill.execution_id: fill for fill in executions}),
        late_commissions=MappingProxyType(draw(st.dictionaries(execution_ids, commissions, max_size=2))),
        details=draw(maybe(details)),
        attempts=draw(st.integers(0, 9)),
        sent_at=draw(maybe(times)),
        acknowledged_at=draw(maybe(times)),
        working_since=draw(maybe(times)),
        reported_filled_quantity=draw(maybe(positive)),
        told_terms=tuple(draw(told_terms)),
        cancel=draw(maybe(st.builds(CancelRequest, st.sampled_from(ReasonCode), text, times))),
        end=draw(maybe(ends)),
        attention=draw(maybe(text)),
        history=tuple(draw(histories)),
    )


# What does not fit into 64 bits comes as text from a message.
integers = st.integers(-(2**63), 2**63 - 1)
extras = st.dictionaries(text, st.none() | st.booleans() | integers | numbers | text | st.lists(text), max_size=3)
sources = st.builds(
    Source,
    content=names,
    received_at=times,
    message_id=maybe(text),
    published_at=maybe(times),
    created_at=maybe(times),
    timeout_seconds=maybe(positive),
    source_order_id=maybe(text),
    mathematricks_signal_id=maybe(text),
    signal_type=maybe(text),
    environment=maybe(text),
    extra=extras,
)
records = st.builds(OrderRecord, orders(), sources, st.integers(0, 2**62), maybe(names))


@st.composite
def positions(draw: st.DrawFn) -> Position:
    instrument = draw(instruments)
    key = PositionKey(draw(names), AccountId(draw(names)), draw(text), draw(maybe(names)))
    exact = [draw(numbers) for _ in range(7)]
    return Position(
        draw(names),
        key,
        instrument,
        draw(positive),
        draw(times),
        draw(times),
        draw(st.sampled_from(PositionSide)),
        *exact[:6],
        closed_at=draw(maybe(times)),
        residual_quantity=exact[6],
    )


def request_of(**changes: Any) -> OrderRequest:
    values: dict[str, Any] = {
        "signal_id": SignalId("sig_1"),
        "account_id": AccountId("acc_1"),
        "strategy_name": "SPX 1-Day Options",
        "instrument": Instrument("SPY"),
        "side": Side.BUY,
        "order_type": OrderType.MARKET,
        "quantity": Decimal(100),
    }
    return OrderRequest(**{**values, **changes})


def record_of(**changes: Any) -> OrderRecord:
    return OrderRecord(replace(Order.new(request_of()), **changes), Source("digest", NOW), 7, "mock")


def fill_of(execution_id: str = "e1", **changes: Any) -> Fill:
    values: dict[str, Any] = {"side": Side.BUY, "quantity": Decimal(50), "price": Decimal("235.20"), "time": NOW}
    return Fill(execution_id=ExecutionId(execution_id), **{**values, **changes})


def position_of(quantity: str = "100", **changes: Any) -> Position:
    key = PositionKey("SPX 1-Day Options", AccountId("acc_1"), "STOCK|SPY", None)
    position = Position(
        "pos_1", key, Instrument("SPY"), Decimal(1), NOW, NOW, PositionSide.LONG, Decimal(quantity), Decimal("23515")
    )
    return replace(position, average_entry_price=Decimal("235.15"), **changes)
