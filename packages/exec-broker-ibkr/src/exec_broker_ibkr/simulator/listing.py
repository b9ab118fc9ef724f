"""The contracts that can be traded at the simulated TWS, and how it finds them: a handful per kind, some awkward.

The awkward ones are there on purpose: a stock that is listed twice (`TWIN`), an index whose third Friday has two
options (SPX and SPXW), a future with two sizes under one symbol (SI), one whose contract month is not the month of its
last trading day (CL), a currency pair quoted in three decimals (USD.JPY), a stock quoted in pence (VOD in London), and
stocks for which the account has no permission. Con ids of well-known contracts are IB's; the others are made up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from exec_broker_ibkr.messages import DetailsTold, PriceStep, TwsContract

#: Increments by market rule: pennies; penny options; index options; futures; currencies; coins.
RULES: Final[Mapping[int, tuple[PriceStep, ...]]] = MappingProxyType(
    {
        26: (PriceStep(Decimal(0), Decimal("0.01")),),
        239: (PriceStep(Decimal(0), Decimal("0.01")), PriceStep(Decimal(3), Decimal("0.05"))),
        109: (PriceStep(Decimal(0), Decimal("0.05")), PriceStep(Decimal(3), Decimal("0.1"))),
        67: (PriceStep(Decimal(0), Decimal("0.25")),),
        32: (PriceStep(Decimal(0), Decimal("0.005")),),
        59: (PriceStep(Decimal(0), Decimal("0.00005")),),
        60: (PriceStep(Decimal(0), Decimal("0.005")),),
        # Coins by the quarter above a dollar and by the cent below: the rule that shows whether it is asked for.
        3003: (PriceStep(Decimal(0), Decimal("0.01")), PriceStep(Decimal(1), Decimal("0.25"))),
    }
)

_ONE: Final = Decimal(1)
_SLIVER: Final = Decimal("0.0001")
_SATOSHI: Final = Decimal("0.00000001")


@dataclass(frozen=True, slots=True)
class Listed:
    """One contract; `reference` is its price while nobody sets another. `refusal` is why the account may not trade it.

    A refusal is a code of TWS, 460 (no permission) or 203 (not available for this account).
    """

    details: DetailsTold
    reference: Decimal
    refusal: int | None = None

    @property
    def contract(self) -> TwsContract:
        """The contract, with the exchange that orders usually name."""
        return self.details.contract

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Where it can be traded, the usual place first."""
        return tuple(exchange for exchange, _ in self.details.market_rules)

    def steps_at(self, exchange: str) -> tuple[PriceStep, ...]:
        """The price increments there."""
        rules = dict(self.details.market_rules)
        return RULES[rules.get(exchange, self.details.market_rules[0][1])]

    def at(self, exchange: str) -> DetailsTold:
        """What TWS says of it for one exchange."""
        return replace(self.details, contract=replace(self.contract, exchange=exchange))


class Listing:
    """All that can be traded."""

    def __init__(self, listed: Iterable[Listed]) -> None:
        self._listed = tuple(listed)
        self._by_con_id = {one.contract.con_id: one for one in self._listed}

    def __iter__(self) -> Iterator[Listed]:
        return iter(self._listed)

    def of_con_id(self, con_id: int) -> Listed | None:
        """The contract with that id."""
        return self._by_con_id.get(con_id)

    def find(self, query: TwsContract) -> tuple[Listed, ...]:
        """Every contract that fits what the query says; what it leaves out fits all."""
        if query.con_id:
            found = self._by_con_id.get(query.con_id)
            return (found,) if found is not None and _is_at(found, query.exchange) else ()
        if not (query.symbol or query.local_symbol):
            return ()
        return tuple(one for one in self._listed if _fits(one, query))

    def details(self, query: TwsContract) -> tuple[DetailsTold, ...]:
        """What TWS answers to a query: one row per contract, for each exchange where the query names none."""
        return tuple(
            one.at(exchange)
            for one in self.find(query)
            for exchange in ([query.exchange] if query.exchange else one.exchanges)
        )

    def symbol_named(self, symbol: str) -> Listed | None:
        """The first contract of that symbol or local symbol, for people who set a price."""
        return next((one for one in self._listed if symbol in (one.contract.local_symbol, one.contract.symbol)), None)


def _is_at(one: Listed, exchange: str) -> bool:
    return not exchange or exchange in one.exchanges


def _fits(one: Listed, query: TwsContract) -> bool:
    known = one.contract
    said = (
        (query.sec_type, known.sec_type),
        (query.symbol, known.symbol),
        (query.right[:1], known.right),
        (query.primary_exchange, known.primary_exchange),
        (query.currency, known.currency),
        (query.local_symbol, known.local_symbol),
        (query.trading_class, known.trading_class),
    )
    return (
        all(not asked or asked == answer for asked, answer in said)
        and query.strike in (None, known.strike)
        and query.multiplier in (None, known.multiplier)
        and _is_at(one, query.exchange)
        and _is_expiry(query.expiry, one.details)
    )


def _is_expiry(asked: str, details: DetailsTold) -> bool:
    """Eight digits are the last trading day, six the contract month."""
    if len(asked) == 6:
        return asked == details.contract_month
    return asked in ("", details.contract.expiry)


def _stock(
    con_id: int,
    symbol: str,
    primary: str,
    reference: str,
    *,
    name: str = "",
    kind: str = "COMMON",
    size: Decimal = _SLIVER,
    currency: str = "USD",
    magnifier: int = 1,
    refusal: int | None = None,
) -> Listed:
    contract = TwsContract(
        "STK",
        symbol,
        con_id,
        exchange="SMART",
        primary_exchange=primary,
        currency=currency,
        local_symbol=symbol,
        trading_class="NMS" if primary == "NASDAQ" else symbol,
    )
    details = DetailsTold(
        contract,
        Decimal("0.01"),
        (("SMART", 26), (primary, 26)),
        size,
        size,
        kind,
        name or f"{symbol} INC",
        price_magnifier=magnifier,
    )
    return Listed(details, Decimal(reference), refusal)


def _option(
    con_id: int,
    symbol: str,
    right: str,
    strike: str,
    reference: str,
    *,
    trading_class: str = "",
    rule: int = 26,
    places: Sequence[str] = ("SMART", "CBOE"),
) -> Listed:
    trading_class = trading_class or symbol
    local = f"{trading_class:<6}271217{right}{int(Decimal(strike) * 1000):08d}"
    contract = TwsContract(
        "OPT",
        symbol,
        con_id,
        "20271217",
        Decimal(strike),
        right,
        Decimal(100),
        exchange=places[0],
        currency="USD",
        local_symbol=local,
        trading_class=trading_class,
    )
    rules = tuple((place, rule) for place in places)
    details = DetailsTold(contract, RULES[rule][0].increment, rules, _ONE, _ONE, "", symbol, "202712")
    return Listed(details, Decimal(reference))


def _future(
    con_id: int,
    symbol: str,
    local: str,
    exchange: str,
    expiry: str,
    reference: str,
    *,
    multiplier: str,
    rule: int,
    month: str = "",
    trading_class: str = "",
) -> Listed:
    contract = TwsContract(
        "FUT",
        symbol,
        con_id,
        expiry,
        multiplier=Decimal(multiplier),
        exchange=exchange,
        currency="USD",
        local_symbol=local,
        trading_class=trading_class or symbol,
    )
    details = DetailsTold(
        contract,
        RULES[rule][0].increment,
        ((exchange, rule),),
        _ONE,
        _ONE,
        "",
        f"{symbol} future",
        month or expiry[:6],
    )
    return Listed(details, Decimal(reference))


def _pair(con_id: int, base: str, quote: str, reference: str, rule: int) -> Listed:
    contract = TwsContract(
        "CASH",
        base,
        con_id,
        exchange="IDEALPRO",
        currency=quote,
        local_symbol=f"{base}.{quote}",
        trading_class=f"{base}.{quote}",
    )
    details = DetailsTold(contract, RULES[rule][0].increment, (("IDEALPRO", rule),), _ONE, _ONE, "", f"{base}.{quote}")
    return Listed(details, Decimal(reference))


def _coin(con_id: int, symbol: str, exchange: str, reference: str, rule: int = 26) -> Listed:
    contract = TwsContract(
        "CRYPTO",
        symbol,
        con_id,
        exchange=exchange,
        currency="USD",
        local_symbol=f"{symbol}.USD",
        trading_class=symbol,
    )
    # Near its price the increment is the rule's last one; TWS's minTick is the smallest there is.
    details = DetailsTold(
        contract, RULES[rule][0].increment, ((exchange, rule),), _SATOSHI, _SATOSHI, "", f"{symbol} cryptocurrency"
    )
    return Listed(details, Decimal(reference))


#: What is listed here.
LISTING: Final = Listing(
    (
        _stock(756733, "SPY", "ARCA", "600", name="SPDR S&P 500 ETF TRUST", kind="ETF"),
        _stock(320227571, "QQQ", "NASDAQ", "500", name="INVESCO QQQ TRUST SERIES 1", kind="ETF"),
        _stock(265598, "AAPL", "NASDAQ", "235.15", name="APPLE INC"),
        _stock(272093, "MSFT", "NASDAQ", "480", name="MICROSOFT CORP"),
        _stock(8314, "IBM", "NYSE", "250", name="INTL BUSINESS MACHINES CORP"),
        _stock(72063691, "BRK B", "NYSE", "490", name="BERKSHIRE HATHAWAY INC-CL B"),
        _stock(35359385, "VOD", "NASDAQ", "10", name="VODAFONE GROUP PLC-SP ADR", kind="ADR"),
        _stock(137908894, "VOD", "LSE", "80", name="VODAFONE GROUP PLC", size=_ONE, currency="GBP", magnifier=100),
        _stock(900000001, "TWIN", "NYSE", "20", size=_ONE),
        _stock(900000002, "TWIN", "AMEX", "20", size=_ONE),
        _stock(900000003, "WHOLE", "NYSE", "40", name="NEVER IN PARTS INC", size=_ONE),
        _stock(900000004, "NOPERM", "NYSE", "5", refusal=460),
        _stock(900000005, "NOTHERE", "NYSE", "5", refusal=203),
        _option(700000001, "SPY", "C", "600", "12.34"),
        _option(700000002, "SPY", "P", "600", "11.10"),
        _option(700000003, "SPY", "C", "500", "105.20"),
        _option(700000004, "SPY", "P", "500", "2.35"),
        _option(700000011, "AAPL", "C", "250", "8.15", rule=239),
        _option(700000012, "AAPL", "P", "250", "22.40", rule=239),
        _option(700000021, "SPX", "C", "6000", "80.10", rule=109, places=("CBOE", "SMART")),
        _option(700000022, "SPX", "P", "6000", "75.50", rule=109, places=("CBOE", "SMART")),
        _option(700000023, "SPX", "C", "6000", "80.20", trading_class="SPXW", rule=109, places=("CBOE", "SMART")),
        _option(700000024, "SPX", "P", "6000", "75.60", trading_class="SPXW", rule=109, places=("CBOE", "SMART")),
        _future(649180671, "ES", "ESZ7", "CME", "20271217", "6000", multiplier="50", rule=67),
        _future(649180672, "ES", "ESH8", "CME", "20280317", "6050", multiplier="50", rule=67),
        _future(649180681, "MES", "MESZ7", "CME", "20271217", "6000", multiplier="5", rule=67),
        _future(800000001, "CL", "CLZ7", "NYMEX", "20271119", "70", multiplier="1000", rule=26, month="202712"),
        _future(800000002, "CL", "CLF8", "NYMEX", "20271220", "70.5", multiplier="1000", rule=26, month="202801"),
        _future(800000011, "SI", "SIZ7", "COMEX", "20271229", "30", multiplier="5000", rule=32),
        _future(800000012, "SI", "SILZ7", "COMEX", "20271229", "30", multiplier="1000", rule=32, trading_class="SIL"),
        _pair(12087792, "EUR", "USD", "1.08500", 59),
        _pair(12087797, "GBP", "USD", "1.27000", 59),
        _pair(15016059, "USD", "JPY", "150.000", 60),
        _coin(479624278, "BTC", "PAXOS", "60000", 3003),
        _coin(541686651, "BTC", "ZEROHASH", "60000", 3003),
        _coin(495759171, "ETH", "PAXOS", "3000"),
        _coin(541686653, "ETH", "ZEROHASH", "3000"),
    )
)
