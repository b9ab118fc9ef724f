"""Instruments in TWS's words: what to ask TWS for, and which of its answers is meant.

Pure. TWS names a contract by many fields, of which orders say few; the others follow from rules of IB's: stocks are
routed SMART, currencies are on IDEALPRO, crypto currencies on PAXOS, and the classes of a share are written with a
space. What does not name exactly one contract is refused with the candidates; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from exec_core.errors import OrderRejected
from exec_core.instruments import AssetClass, Instrument

from exec_broker_ibkr.codes import NO_DEFINITION
from exec_broker_ibkr.instruments.combinations import combination
from exec_broker_ibkr.instruments.naming import (
    SMART,
    aliases,
    details,
    details_of_contract,
    expiry_day,
    instrument,
    is_named,
)
from exec_broker_ibkr.messages import DetailsTold, TwsContract

__all__ = [
    "NO_DEFINITION",
    "aliases",
    "choose",
    "combination",
    "details",
    "details_of_contract",
    "instrument",
    "is_named",
    "query",
]

IDEALPRO: Final = "IDEALPRO"
PAXOS: Final = "PAXOS"
DOLLAR: Final = "USD"
#: Where shares are listed in dollars; another listing exchange may mean another currency.
_US_LISTINGS: Final = frozenset({"NASDAQ", "NYSE", "ARCA", "AMEX", "BATS", "PINK"})
#: Places to trade where nothing is listed: an order for one goes there directly.
_ROUTES: Final = frozenset(
    {"ISLAND", "IEX", "EDGEA", "DRCTEDGE", "BYX", "BEX", "NYSENAT", "PSX", "CHX", "MEMX", "PEARL", "LTSE", "OVERNIGHT"}
)
#: Exchanges whose options are on futures.
_FUTURES_EXCHANGES: Final = frozenset({"CME", "CBOT", "NYMEX", "COMEX"})
#: Names that IB has given up.
_RENAMED: Final = MappingProxyType({"GLOBEX": "CME", "ECBOT": "CBOT"})
_PAIR: Final = re.compile(r"([A-Z]{3})[./-]?([A-Z]{3})")
_COIN: Final = re.compile(r"([A-Z0-9]{2,}?)[./-](USD)|([A-Z0-9]{3,})(USD)")
_SHARE_CLASS: Final = re.compile(r"([A-Z]+)[./]([A-Z]{1,2})")
_DAY: Final = re.compile(r"\d{8}")
_MONTH_OR_DAY: Final = re.compile(r"\d{6}(\d{2})?")
MOST_CANDIDATES: Final = 10


# What to ask for


def query(instrument: Instrument) -> TwsContract:
    """What to ask TWS for.

    :raises OrderRejected: the instrument does not say enough, or contradicts itself.
    """
    match instrument.asset_class:
        case AssetClass.STOCK | AssetClass.ETF:
            return _share(instrument)
        case AssetClass.OPTION:
            return _option(instrument)
        case AssetClass.FUTURE:
            return _future(instrument)
        case AssetClass.FOREX:
            return _pair(instrument)
        case AssetClass.CRYPTO:
            return _coin(instrument)


def _share(instrument: Instrument) -> TwsContract:
    exchange = _exchange(instrument)
    is_listing = exchange not in ("", SMART) and exchange not in _ROUTES
    is_american = not is_listing or exchange in _US_LISTINGS
    currency = instrument.currency or (DOLLAR if is_american else "")
    symbol = instrument.symbol
    shares = _SHARE_CLASS.fullmatch(symbol)
    if shares and is_american and currency == DOLLAR:
        symbol = f"{shares[1]} {shares[2]}"
    return TwsContract(
        "STK",
        symbol,
        exchange=exchange if exchange in _ROUTES else SMART,
        primary_exchange=exchange if is_listing else "",
        currency=currency,
    )


def _option(instrument: Instrument) -> TwsContract:
    exchange = _exchange(instrument)
    sec_type = "FOP" if exchange in _FUTURES_EXCHANGES else "OPT"
    if _is_own_symbol(instrument):
        return TwsContract(
            sec_type, exchange=exchange, currency=instrument.currency or "", local_symbol=instrument.symbol
        )
    if instrument.expiry is None or instrument.strike is None or instrument.right is None:
        raise _rejected(
            f"an OPTION needs expiry (YYYYMMDD), strike and right, or IBKR's own symbol (21 characters, like "
            f"'SPY   271217C00600000') with exchange: {instrument.symbol} lacks {_lacking(instrument)}"
        )
    if not _DAY.fullmatch(instrument.expiry):
        raise _rejected(f"expiry must be YYYYMMDD for an OPTION, got {instrument.expiry}")
    symbol, trading_class = _underlying(instrument)
    return TwsContract(
        sec_type,
        symbol,
        expiry=instrument.expiry,
        strike=instrument.strike,
        right=instrument.right.value,
        exchange=exchange or SMART,
        currency=instrument.currency or (DOLLAR if exchange in ("", SMART) else ""),
        trading_class=trading_class,
    )


def _future(instrument: Instrument) -> TwsContract:
    exchange = _exchange(instrument)
    currency = instrument.currency or ""
    if exchange == SMART:
        raise _rejected("a FUTURE is not routed SMART: name its exchange (CME, CBOT, NYMEX, ...), or none")
    if _is_own_symbol(instrument):
        return TwsContract("FUT", exchange=exchange, currency=currency, local_symbol=instrument.symbol)
    if instrument.expiry is None:
        raise _rejected(
            f"a FUTURE needs expiry (YYYYMM, its contract month, or YYYYMMDD, its last trading day), or IBKR's own "
            f"symbol (like ESZ7) with exchange: {instrument.symbol} has no expiry"
        )
    if not _MONTH_OR_DAY.fullmatch(instrument.expiry):
        raise _rejected(f"expiry must be YYYYMM or YYYYMMDD for a FUTURE, got {instrument.expiry}")
    symbol, trading_class = _underlying(instrument)
    return TwsContract(
        "FUT", symbol, expiry=instrument.expiry, exchange=exchange, currency=currency, trading_class=trading_class
    )


def _pair(instrument: Instrument) -> TwsContract:
    found = _PAIR.fullmatch(instrument.symbol)
    base, quote = found.groups() if found else (instrument.symbol, instrument.currency)
    if quote is None or not re.fullmatch("[A-Z]{3}", base):
        raise _rejected(f"a FOREX symbol is a pair of currencies like EURUSD or EUR.USD, got {instrument.symbol}")
    if instrument.currency not in (None, quote):
        raise _rejected(
            f"currency {instrument.currency} contradicts the pair {instrument.symbol}, which is quoted in {quote}"
        )
    exchange = _exchange(instrument)
    return TwsContract("CASH", base, exchange=exchange if exchange not in ("", SMART) else IDEALPRO, currency=quote)


def _coin(instrument: Instrument) -> TwsContract:
    found = _COIN.fullmatch(instrument.symbol)
    coin, quote = (found[1] or found[3], DOLLAR) if found else (instrument.symbol, None)
    if quote is not None and instrument.currency not in (None, quote):
        raise _rejected(f"currency {instrument.currency} contradicts the symbol {instrument.symbol}")
    exchange = _exchange(instrument)
    return TwsContract(
        "CRYPTO",
        coin,
        exchange=exchange if exchange not in ("", SMART) else PAXOS,
        currency=instrument.currency or DOLLAR,
    )


def _exchange(instrument: Instrument) -> str:
    exchange = instrument.exchange or ""
    if exchange in _RENAMED:
        raise _rejected(f"IBKR calls the exchange {exchange} {_RENAMED[exchange]} by now")
    return exchange


def _is_own_symbol(instrument: Instrument) -> bool:
    return instrument.exchange is not None and (instrument.expiry, instrument.strike, instrument.right) == (None,) * 3


def _lacking(instrument: Instrument) -> str:
    return " and ".join(name for name in ("expiry", "strike", "right") if getattr(instrument, name) is None)


def _underlying(instrument: Instrument) -> tuple[str, str]:
    """The underlying's symbol, and the trading class that a symbol beside it names (SPXW beside SPX)."""
    if instrument.underlying is None or instrument.underlying == instrument.symbol:
        return instrument.symbol, ""
    return instrument.underlying, instrument.symbol


# Which of the answers is meant


def choose(instrument: Instrument, found: Sequence[DetailsTold]) -> DetailsTold:
    """The one contract that is meant.

    :raises OrderRejected: none fits, or several do; then they are listed, and what to give to tell them apart.
    """
    asked = query(instrument)
    unique = {(told.contract.con_id or id(told)): told for told in reversed(found)}
    fitting = [told for told in reversed(unique.values()) if _fits(asked, told)]
    if not fitting:
        raise _rejected(f"IBKR knows no contract like that: {_asked_for(asked)}. {_advice(asked)}")
    if instrument.multiplier is not None:
        same = [told for told in fitting if instrument.multiplier in _multipliers(told)]
        if not same:
            known = ", ".join(sorted({f"{min(_multipliers(told)):f}" for told in fitting}))
            raise _rejected(f"multiplier {instrument.multiplier:f} is not that of {_asked_for(asked)} at IBKR: {known}")
        fitting = same
    if len(fitting) > 1:
        raise _rejected(_ambiguous(asked, fitting))
    return fitting[0]


def _fits(asked: TwsContract, told: DetailsTold) -> bool:
    """Whether an answer is what was asked for: TWS also sends what is only like it."""
    contract = told.contract
    if contract.sec_type != asked.sec_type:
        return False
    if asked.local_symbol:
        return contract.local_symbol == asked.local_symbol
    if contract.symbol != asked.symbol or (asked.currency and contract.currency != asked.currency):
        return False
    if asked.trading_class and contract.trading_class != asked.trading_class:
        return False
    if asked.strike is not None and contract.strike != asked.strike:
        return False
    if asked.right and contract.right != asked.right:
        return False
    if not asked.expiry:
        return True
    day = expiry_day(contract)
    if len(asked.expiry) == 6:
        return (told.contract_month or day[:6]) == asked.expiry
    return day == asked.expiry


def _multipliers(told: DetailsTold) -> set[Decimal]:
    """What an order may call the contract's multiplier: TWS's figure, or what a price really counts for."""
    own = told.contract.multiplier or Decimal(1)
    return {own, own / (told.price_magnifier or 1)}


def _asked_for(asked: TwsContract) -> str:
    parts = (
        *(asked.sec_type, asked.symbol, asked.local_symbol and f"'{asked.local_symbol}'", asked.trading_class),
        *(asked.expiry, f"{asked.strike:f}" if asked.strike is not None else "", asked.right),
        *(asked.currency, asked.exchange, asked.primary_exchange and f"listed at {asked.primary_exchange}"),
    )
    return " ".join(part for part in parts if part)


def _advice(asked: TwsContract) -> str:
    match asked.sec_type:
        case "STK":
            return "Check symbol, exchange (where it is listed) and currency, and that instrument_type is STOCK or ETF"
        case "OPT" | "FOP":
            return (
                "Check expiry, strike and right; where the options have a class of their own, give it as symbol, with "
                "the underlying (symbol SPXW, underlying SPX)"
            )
        case "FUT":
            return "Check symbol, expiry and exchange (SI is on COMEX, CL on NYMEX, ZN on CBOT)"
        case "CASH":
            return "Check the order of the two currencies (EURUSD, not USDEUR)"
        case _:
            return "Check the symbol, and the exchange (PAXOS or ZEROHASH, as your account has it)"


def _ambiguous(asked: TwsContract, fitting: Sequence[DetailsTold]) -> str:
    shown = "; ".join(_candidate(told) for told in fitting[:MOST_CANDIDATES])
    rest = len(fitting) - MOST_CANDIDATES
    more = f"; and {rest} more" if rest > 0 else ""
    return f"{len(fitting)} contracts at IBKR fit {_asked_for(asked)}: {shown}{more}. {_distinction(fitting)}"


def _candidate(told: DetailsTold) -> str:
    contract = told.contract
    where = contract.primary_exchange or contract.exchange
    multiplier = f"multiplier {contract.multiplier:f}" if contract.multiplier else ""
    trading_class = f"class {contract.trading_class}" if contract.trading_class else ""
    parts = (contract.local_symbol or contract.symbol, expiry_day(contract), where, contract.currency)
    return " ".join(part for part in (*parts, trading_class, multiplier) if part)


def _distinction(fitting: Sequence[DetailsTold]) -> str:
    """Which field to give so that one is left."""
    contracts = [told.contract for told in fitting]
    ways = (
        ("currency", {contract.currency for contract in contracts}),
        ("exchange", {contract.primary_exchange or contract.exchange for contract in contracts}),
        ("expiry as YYYYMMDD", {expiry_day(contract) for contract in contracts}),
        ("the class as symbol, with the underlying", {contract.trading_class for contract in contracts}),
        ("multiplier", {contract.multiplier for contract in contracts}),
    )
    useful = [name for name, values in ways if len(values) > 1]
    ways_out = " or ".join(useful) or "IBKR's own symbol, with its exchange"
    return f"Give {ways_out}"


def _rejected(text: str) -> OrderRejected:
    return OrderRejected(text, broker="ibkr")
