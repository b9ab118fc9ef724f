"""What TWS says, written: records of `exec_broker_ibkr.messages` -> the fields of a server's message.

The layouts are those that IB's own clients read (``ibapi/decoder.py``) at server version 176; the numbers are IB's
(``ibapi/message.py``, class IN). What is not set is spelled as TWS spells it. The two long messages about orders are in
`showing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import Final

from exec_broker_ibkr.figures import UNSET_FIGURE, plain
from exec_broker_ibkr.messages import (
    NO_REQUEST,
    AccountValueTold,
    CommissionTold,
    CompletedShown,
    DetailsTold,
    ErrorTold,
    ExecutionTold,
    OrderShown,
    PositionTold,
    PriceStep,
    StatusTold,
    Told,
)
from exec_broker_ibkr.simulator.showing import completed_order, contract_fields, open_order

#: The protocol version that these layouts are of.
SERVER_VERSION: Final = 176


def encode(told: Told, request_id: int = NO_REQUEST, time: str | None = None) -> list[str]:
    """Anything about orders. `request_id` and `time` are for an execution, see `execution`."""
    match told:
        case OrderShown():
            return open_order(told)
        case StatusTold():
            return order_status(told)
        case ExecutionTold():
            return execution(told, request_id, time)
        case CommissionTold():
            return commission_report(told)
        case ErrorTold():
            return error(told)
        case CompletedShown():
            return completed_order(told)


def order_status(told: StatusTold, *, parent_id: int = 0, last_price: Decimal | None = None) -> list[str]:
    """``orderStatus``."""
    return [
        "3",
        str(told.order_id),
        told.status,
        plain(told.filled),
        plain(told.remaining),
        plain(told.average_price, "0.0"),
        str(told.perm_id),
        str(parent_id),
        plain(last_price, "0.0"),
        str(told.client_id),
        told.why_held,
        "0.0",  # mktCapPrice
    ]


def spell_time(at: datetime, zone: tzinfo | None = None, *, named: bool = True) -> str:
    """A time as TWS writes it: in UTC ``YYYYMMDD-HH:MM:SS``, in another zone ``YYYYMMDD HH:MM:SS Zone``.

    `named` False leaves the name of the zone out, as TWS did before its version 10.17 (two blanks, then).
    """
    if zone is None or zone is UTC:
        return at.astimezone(UTC).strftime("%Y%m%d-%H:%M:%S")
    there = at.astimezone(zone)
    return there.strftime("%Y%m%d %H:%M:%S ") + str(zone) if named else there.strftime("%Y%m%d  %H:%M:%S")


def execution(told: ExecutionTold, request_id: int = NO_REQUEST, time: str | None = None) -> list[str]:
    """``execDetails``: `request_id` is -1 where it happens now, and the request's where it was asked for.

    `time` is a spelling of the time to use as it is; without it the time is written in UTC.
    """
    contract = told.contract
    return [
        "11",
        str(request_id),
        str(told.order_id),
        *contract_fields(contract),
        told.execution_id,
        spell_time(told.time) if time is None else time,
        told.account,
        contract.exchange,
        told.side,
        plain(told.quantity),
        plain(told.price),
        str(told.perm_id),
        str(told.client_id),
        "0",  # liquidation
        plain(told.cumulative_quantity, "0"),
        plain(told.average_price, "0.0"),
        told.order_ref,
        "",  # evRule
        "",  # evMultiplier
        "",  # modelCode
        "1",  # lastLiquidity
    ]


def commission_report(told: CommissionTold) -> list[str]:
    """``commissionReport``."""
    figures = [plain(told.commission, UNSET_FIGURE), told.currency, UNSET_FIGURE, UNSET_FIGURE]
    return ["59", "1", told.execution_id, *figures, ""]


def error(told: ErrorTold) -> list[str]:
    """``error``."""
    return ["4", "2", str(told.request_id), str(told.code), told.text, told.advanced]


def position(told: PositionTold) -> list[str]:
    """``position``."""
    contract = contract_fields(told.contract)
    return ["61", "3", told.account, *contract, plain(told.quantity), plain(told.average_cost, "0.0")]


def account_summary(told: AccountValueTold, request_id: int) -> list[str]:
    """``accountSummary``: one figure."""
    return ["63", "1", str(request_id), told.account, told.tag, told.value, told.currency]


def account_value(told: AccountValueTold) -> list[str]:
    """``updateAccountValue``: one figure, to who subscribed to the account."""
    return ["6", "2", told.tag, told.value, told.currency, told.account]


def account_update_multi(told: AccountValueTold, request_id: int) -> list[str]:
    """``accountUpdateMulti``: one figure, of one account of several."""
    return ["73", "1", str(request_id), told.account, "", told.tag, told.value, told.currency]


def contract_details(told: DetailsTold, request_id: int) -> list[str]:
    """``contractDetails``: one contract that fits a query."""
    contract = told.contract
    return [
        "10",
        str(request_id),
        contract.symbol,
        contract.sec_type,
        contract.expiry,
        plain(contract.strike, "0.0"),
        contract.right,
        contract.exchange,
        contract.currency,
        contract.local_symbol,
        contract.symbol,  # marketName
        contract.trading_class,
        str(contract.con_id),
        plain(told.min_tick, "0.0"),
        plain(contract.multiplier),
        "ACTIVETIM,LMT,MKT,STP,STPLMT",  # orderTypes
        ",".join(exchange for exchange, _ in told.market_rules) or contract.exchange,  # validExchanges
        str(told.price_magnifier),
        str(told.under_con_id),
        told.long_name.encode("unicode-escape").decode(),  # TWS escapes what is not ASCII, clients undo it
        contract.primary_exchange,
        told.contract_month,
        "",  # industry
        "",  # category
        "",  # subcategory
        "US/Eastern",  # timeZoneId
        "",  # tradingHours
        "",  # liquidHours
        "",  # evRule
        "",  # evMultiplier
        "0",  # secIdList
        "1",  # aggGroup
        contract.symbol if told.under_con_id else "",  # underSymbol
        "",  # underSecType
        ",".join(str(rule) for _, rule in told.market_rules),  # marketRuleIds
        contract.expiry if len(contract.expiry) == len("YYYYMMDD") else "",  # realExpirationDate
        told.stock_type,
        plain(told.min_size, UNSET_FIGURE),
        plain(told.size_increment, UNSET_FIGURE),
        plain(told.size_increment, UNSET_FIGURE),  # suggestedSizeIncrement
    ]


def market_rule(rule_id: int, steps: Sequence[PriceStep]) -> list[str]:
    """``marketRule``."""
    rows = [text for step in steps for text in (plain(step.low_edge), plain(step.increment))]
    return ["93", str(rule_id), str(len(steps)), *rows]


def next_valid_id(order_id: int) -> list[str]:
    """``nextValidId``."""
    return ["9", "1", str(order_id)]


def managed_accounts(accounts: Iterable[str]) -> list[str]:
    """``managedAccounts``."""
    return ["15", "1", ",".join(accounts)]


def current_time(now: datetime) -> list[str]:
    """``currentTime``."""
    return ["49", "1", str(int(now.timestamp()))]


def open_order_end() -> list[str]:
    """``openOrderEnd``."""
    return ["53", "1"]


def exec_details_end(request_id: int) -> list[str]:
    """``execDetailsEnd``."""
    return ["55", "1", str(request_id)]


def completed_orders_end() -> list[str]:
    """``completedOrdersEnd``."""
    return ["102"]


def contract_details_end(request_id: int) -> list[str]:
    """``contractDetailsEnd``."""
    return ["52", "1", str(request_id)]


def position_end() -> list[str]:
    """``positionEnd``."""
    return ["62", "1"]


def account_summary_end(request_id: int) -> list[str]:
    """``accountSummaryEnd``."""
    return ["64", "1", str(request_id)]


def account_download_end(account: str) -> list[str]:
    """``accountDownloadEnd``: the answer to a subscription is complete."""
    return ["54", "1", account]


def account_update_multi_end(request_id: int) -> list[str]:
    """``accountUpdateMultiEnd``."""
    return ["74", "1", str(request_id)]
