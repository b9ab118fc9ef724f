"""What a contract of TWS's is called in the order's words, and what TWS says of it. Pure.

Positions and open orders are told of contracts, and compared with instruments that orders named; so names here are
those that an order would have used, and what orders leave open stays open.
"""

from __future__ import annotations

from decimal import Decimal
from types import MappingProxyType
from typing import Final

from exec_core.instruments import AssetClass, Instrument, InstrumentDetails, Right

from exec_broker_ibkr.messages import DetailsTold, TwsContract

SMART: Final = "SMART"
_CLASSES: Final = MappingProxyType(
    {
        "STK": AssetClass.STOCK,
        "OPT": AssetClass.OPTION,
        "FOP": AssetClass.OPTION,
        "FUT": AssetClass.FUTURE,
        "CASH": AssetClass.FOREX,
        "CRYPTO": AssetClass.CRYPTO,
        "BAG": AssetClass.OPTION,
    }
)


def details(found: DetailsTold) -> InstrumentDetails:
    """What TWS says of the contract. The multiplier is what a price counts for: some are quoted in cents."""
    multiplier = found.contract.multiplier
    if found.price_magnifier > 1:
        multiplier = (multiplier or Decimal(1)) / found.price_magnifier
    increment = found.size_increment or found.min_size
    return InstrumentDetails(
        multiplier or None, found.min_tick or None, increment or None, found.contract.currency or None
    )


def details_of_contract(contract: TwsContract) -> InstrumentDetails:
    """The same of a contract about which nothing more was asked."""
    return InstrumentDetails(multiplier=contract.multiplier or None, currency=contract.currency or None)


def instrument(contract: TwsContract, found: DetailsTold | None = None) -> Instrument:
    """The contract in the order's words. What orders leave open stays open: a share's exchange, a pair's.

    A kind that orders cannot name (a bond, a warrant) gets its kind into its symbol, so that it is taken for nothing
    else.
    """
    asset_class = _CLASSES.get(contract.sec_type)
    currency = contract.currency or None
    if asset_class is None:
        return Instrument(f"{contract.local_symbol or contract.symbol or '?'} ({contract.sec_type})", currency=currency)
    symbol = contract.symbol or contract.local_symbol or "?"
    if contract.sec_type == "STK" and found is not None and found.stock_type == "ETF":
        asset_class = AssetClass.ETF
    if contract.sec_type == "CASH":
        symbol = f"{symbol}{contract.currency}"
    if contract.sec_type not in ("OPT", "FOP", "FUT"):
        return Instrument(symbol, asset_class, currency=currency)
    is_option = asset_class is AssetClass.OPTION
    exchange = contract.exchange or (found.contract.exchange if found is not None else "")
    return Instrument(
        symbol,
        asset_class,
        exchange if exchange and contract.sec_type != "OPT" and exchange != SMART else None,
        currency,
        expiry_day(contract) or None,
        contract.strike if is_option else None,
        Right(contract.right) if is_option and contract.right in ("C", "P") else None,
        contract.multiplier or None,
    )


def aliases(contract: TwsContract, found: DetailsTold | None = None) -> tuple[Instrument, ...]:
    """The other names under which an order may have traded the contract."""
    plain = instrument(contract, found)
    known = found.contract if found is not None else contract
    names: list[Instrument] = []
    match contract.sec_type:
        case "STK" if " " in contract.symbol:
            names = [_named(plain, contract.symbol.replace(" ", mark)) for mark in "./"]
        case "CASH":
            names = [_named(plain, f"{contract.symbol}{mark}{contract.currency}") for mark in "./-"]
            names.append(_named(plain, contract.symbol))
        case "CRYPTO":
            names = [_named(plain, f"{contract.symbol}{mark}{contract.currency}") for mark in ("", *"./-")]
        case "OPT" | "FOP" | "FUT":
            month = found.contract_month if found is not None else ""
            expiries = [plain.expiry, *([month] if contract.sec_type == "FUT" and month else [])]
            symbols = [plain.symbol, *([known.trading_class] if known.trading_class else [])]
            names = [_named(plain, symbol, expiry) for symbol in symbols for expiry in expiries]
            if known.local_symbol:
                own = Instrument(known.local_symbol, plain.asset_class, plain.exchange, plain.currency)
                names.append(own)
    return tuple(name for name in dict.fromkeys(names) if name != plain)


def is_named(wanted: Instrument, contract: TwsContract) -> bool:
    """Whether an order for `wanted` trades the contract, as far as its own fields say."""
    if wanted.asset_class is not instrument(contract).asset_class:
        return False
    if wanted.symbol == contract.local_symbol:
        return True
    day = expiry_day(contract)
    return (
        wanted.symbol in (contract.symbol, contract.trading_class)
        and (wanted.expiry is None or day.startswith(wanted.expiry))
        and (wanted.strike is None or wanted.strike == contract.strike)
        and (wanted.right is None or wanted.right.value == contract.right)
    )


def _named(like: Instrument, symbol: str, expiry: str | None = None) -> Instrument:
    return Instrument(
        symbol,
        like.asset_class,
        like.exchange,
        like.currency,
        expiry or like.expiry,
        like.strike,
        like.right,
        like.multiplier,
    )


def expiry_day(contract: TwsContract) -> str:
    """The day alone: TWS may add a time and a zone."""
    return contract.expiry.split(" ")[0].split("-")[0] if contract.expiry else ""
