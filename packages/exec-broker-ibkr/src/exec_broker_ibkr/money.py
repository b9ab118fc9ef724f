"""Positions and figures of the account in the core's words. Pure.

TWS has several ways to say that a figure is not there: nothing, an absurdly large number, -1. None of them is 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Final

from exec_core.broker import AccountSummary, BrokerPosition
from exec_core.errors import ConnectionFailed
from exec_core.money import exact

from exec_broker_ibkr import figures
from exec_broker_ibkr.instruments import naming
from exec_broker_ibkr.messages import AccountValueTold, DetailsTold, PositionTold

_FIELDS: Final = MappingProxyType(
    {
        "NetLiquidation": "equity",
        "TotalCashValue": "cash",
        "BuyingPower": "buying_power",
        "InitMarginReq": "initial_margin",
        "MaintMarginReq": "maintenance_margin",
    }
)
#: The figures to ask TWS for.
TAGS: Final = tuple(_FIELDS)
#: Stands in the place of a currency where TWS means the account's own.
_BASE: Final = frozenset({"", "BASE"})
_NOT_THERE: Final = Decimal(-1)
#: Kinds whose average cost counts a whole contract.
_CONTRACTS: Final = frozenset({"OPT", "FOP", "FUT"})


def position(told: PositionTold, found: DetailsTold | None = None) -> BrokerPosition:
    """What is held of one contract; the average price is per unit, as orders are priced (commission included)."""
    return BrokerPosition(
        naming.instrument(told.contract, found),
        told.quantity,
        _average_price(told, found),
        also_known_as=naming.aliases(told.contract, found),
    )


def _average_price(told: PositionTold, found: DetailsTold | None) -> Decimal | None:
    if told.average_cost is None or not told.quantity:
        return None
    if told.contract.sec_type not in _CONTRACTS:
        return told.average_cost
    known = naming.details(found) if found is not None else naming.details_of_contract(told.contract)
    multiplier = naming.instrument(told.contract).multiplier_or_default(known)
    if found is not None and known.multiplier is not None:
        multiplier = known.multiplier
    with exact():
        return told.average_cost / multiplier


def summary(account: str, values: Iterable[AccountValueTold], as_of: datetime) -> AccountSummary:
    """The account's money, in the currency in which TWS states its worth.

    :raises ConnectionFailed: TWS told nothing of this account.
    """
    mine = [value for value in values if value.account == account and value.tag in _FIELDS]
    currency = _currency(mine)
    if currency is None:
        raise ConnectionFailed(f"TWS told no figures of account {account}", broker="ibkr")
    amounts = {_FIELDS[value.tag]: _amount(value.value) for value in mine if value.currency in (currency, *_BASE)}
    return AccountSummary(currency, as_of, **amounts)


def _currency(values: Iterable[AccountValueTold]) -> str | None:
    """The base currency: that of the account's worth, else of whatever figure names one."""
    ranked = sorted(values, key=lambda value: TAGS.index(value.tag))
    return next((value.currency for value in ranked if value.currency not in _BASE), None)


def _amount(text: str) -> Decimal | None:
    try:
        amount = figures.figure(text.strip())
    except (ValueError, InvalidOperation):
        return None
    return None if amount == _NOT_THERE else amount
