"""Instruments in TWS's words and back."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from exec_broker_ibkr.instruments import contracts
from exec_broker_ibkr.messages import DetailsTold, TwsContract, TwsLeg
from exec_core.errors import OrderRejected, OrderUnsupported
from exec_core.instruments import AssetClass, Instrument, InstrumentDetails, Right
from exec_core.orders import Leg
from exec_core.sides import Side
from ibkr_told import order

STOCK, ETF, OPTION = AssetClass.STOCK, AssetClass.ETF, AssetClass.OPTION
FUTURE, FOREX, CRYPTO = AssetClass.FUTURE, AssetClass.FOREX, AssetClass.CRYPTO
OWN_OPTION = "SPY   271217C00600000"


def an_option(symbol="SPY", **fields):
    values = {"expiry": "20271217", "strike": Decimal(600), "right": Right.CALL} | fields
    return Instrument(symbol, OPTION, **values)


@pytest.mark.parametrize(
    ("instrument", "asked"),
    [
        (Instrument("SPY"), TwsContract("STK", "SPY", exchange="SMART", currency="USD")),
        (Instrument("SPY", ETF), TwsContract("STK", "SPY", exchange="SMART", currency="USD")),
        (Instrument("SPY", exchange="SMART"), TwsContract("STK", "SPY", exchange="SMART", currency="USD")),
        (
            Instrument("CSCO", exchange="NASDAQ"),
            TwsContract("STK", "CSCO", exchange="SMART", currency="USD", primary_exchange="NASDAQ"),
        ),
        (
            Instrument("BMW", exchange="IBIS", currency="EUR"),
            TwsContract("STK", "BMW", exchange="SMART", currency="EUR", primary_exchange="IBIS"),
        ),
        # Elsewhere it need not be dollars: that is for the answers to tell.
        (Instrument("BMW", exchange="IBIS"), TwsContract("STK", "BMW", exchange="SMART", primary_exchange="IBIS")),
        (Instrument("SPY", exchange="IEX"), TwsContract("STK", "SPY", exchange="IEX", currency="USD")),
        (Instrument("BRK B"), TwsContract("STK", "BRK B", exchange="SMART", currency="USD")),
        (Instrument("BRK.B"), TwsContract("STK", "BRK B", exchange="SMART", currency="USD")),
        (Instrument("BRK/B"), TwsContract("STK", "BRK B", exchange="SMART", currency="USD")),
        (Instrument("BBD.B", currency="CAD"), TwsContract("STK", "BBD.B", exchange="SMART", currency="CAD")),
        (
            an_option(),
            TwsContract("OPT", "SPY", 0, "20271217", Decimal(600), "C", exchange="SMART", currency="USD"),
        ),
        (
            an_option("SPXW", underlying="SPX", right=Right.PUT),
            TwsContract(
                *("OPT", "SPX", 0, "20271217", Decimal(600), "P"),
                exchange="SMART",
                currency="USD",
                trading_class="SPXW",
            ),
        ),
        (
            an_option("SPY", underlying="SPY", exchange="CBOE"),
            TwsContract("OPT", "SPY", 0, "20271217", Decimal(600), "C", exchange="CBOE"),
        ),
        (
            an_option("ES", exchange="CME"),
            TwsContract("FOP", "ES", 0, "20271217", Decimal(600), "C", exchange="CME"),
        ),
        (
            Instrument(OWN_OPTION, OPTION, exchange="SMART"),
            TwsContract("OPT", exchange="SMART", local_symbol=OWN_OPTION),
        ),
        (Instrument("ES", FUTURE, expiry="202712"), TwsContract("FUT", "ES", expiry="202712")),
        (
            Instrument("ES", FUTURE, "CME", "USD", "20271217"),
            TwsContract("FUT", "ES", expiry="20271217", exchange="CME", currency="USD"),
        ),
        (
            Instrument("SIL", FUTURE, "COMEX", expiry="202712", underlying="SI"),
            TwsContract("FUT", "SI", expiry="202712", exchange="COMEX", trading_class="SIL"),
        ),
        (Instrument("ESZ7", FUTURE, "CME"), TwsContract("FUT", exchange="CME", local_symbol="ESZ7")),
        (Instrument("EURUSD", FOREX), TwsContract("CASH", "EUR", exchange="IDEALPRO", currency="USD")),
        (Instrument("EUR.USD", FOREX), TwsContract("CASH", "EUR", exchange="IDEALPRO", currency="USD")),
        (Instrument("USD/JPY", FOREX, currency="JPY"), TwsContract("CASH", "USD", exchange="IDEALPRO", currency="JPY")),
        (Instrument("EUR", FOREX, currency="USD"), TwsContract("CASH", "EUR", exchange="IDEALPRO", currency="USD")),
        (Instrument("EURUSD", FOREX, "FXCONV"), TwsContract("CASH", "EUR", exchange="FXCONV", currency="USD")),
        (Instrument("BTC", CRYPTO), TwsContract("CRYPTO", "BTC", exchange="PAXOS", currency="USD")),
        (Instrument("BTC.USD", CRYPTO), TwsContract("CRYPTO", "BTC", exchange="PAXOS", currency="USD")),
        (Instrument("ETHUSD", CRYPTO, currency="USD"), TwsContract("CRYPTO", "ETH", exchange="PAXOS", currency="USD")),
        (Instrument("PYUSD", CRYPTO), TwsContract("CRYPTO", "PYUSD", exchange="PAXOS", currency="USD")),
        (Instrument("BTC", CRYPTO, "ZEROHASH"), TwsContract("CRYPTO", "BTC", exchange="ZEROHASH", currency="USD")),
    ],
)
def test_what_is_asked_for(instrument, asked):
    assert contracts.query(instrument) == asked


@pytest.mark.parametrize(
    ("instrument", "why"),
    [
        (Instrument("SPY", OPTION), "lacks expiry and strike and right"),
        (an_option(strike=None), "lacks strike"),
        (an_option(expiry="202712"), "expiry must be YYYYMMDD"),
        (Instrument("ES", FUTURE), "has no expiry"),
        (Instrument("ES", FUTURE, expiry="2027-12"), "expiry must be YYYYMM or YYYYMMDD"),
        (Instrument("ES", FUTURE, "SMART", expiry="202712"), "is not routed SMART"),
        (Instrument("ES", FUTURE, "GLOBEX", expiry="202712"), "GLOBEX CME by now"),
        (Instrument("ZN", FUTURE, "ECBOT", expiry="202712"), "ECBOT CBOT by now"),
        (Instrument("EUR", FOREX), "a pair of currencies like EURUSD"),
        (Instrument("EUROUSD", FOREX), "a pair of currencies like EURUSD"),
        (Instrument("EURUSD", FOREX, currency="CHF"), "contradicts the pair EURUSD, which is quoted in USD"),
        (Instrument("BTCUSD", CRYPTO, currency="EUR"), "contradicts the symbol"),
    ],
)
def test_what_does_not_say_enough_is_refused(instrument, why):
    with pytest.raises(OrderRejected, match=why):
        contracts.query(instrument)


# --- which of the answers is meant ---


def spy(con_id=1, primary="ARCA", currency="USD", **fields):
    return DetailsTold(
        TwsContract("STK", "SPY", con_id, exchange="SMART", primary_exchange=primary, currency=currency),
        Decimal("0.01"),
        **fields,
    )


def future(con_id=1, expiry="20271217", month="202712", **fields):
    values = {"exchange": "CME", "currency": "USD", "multiplier": Decimal(50), "trading_class": "ES"} | fields
    magnifier = values.pop("magnifier", 1)
    contract = TwsContract("FUT", values.pop("symbol", "ES"), con_id, expiry, **values)
    return DetailsTold(contract, Decimal("0.25"), contract_month=month, price_magnifier=magnifier)


def option(con_id=1, trading_class="SPX", **fields):
    contract = TwsContract(
        *("OPT", "SPX", con_id, "20271217", Decimal(6000), "C", Decimal(100)),
        exchange="SMART",
        currency="USD",
        trading_class=trading_class,
    )
    return DetailsTold(replace(contract, **fields), Decimal("0.05"))


ES = Instrument("ES", FUTURE, expiry="202712")


def test_the_one_that_fits_is_chosen():
    assert contracts.choose(Instrument("SPY"), [spy()]) == spy()
    assert contracts.choose(ES, [future()]) == future()


def test_the_same_contract_twice_is_one():
    assert contracts.choose(Instrument("SPY"), [spy(), spy(long_name="again")]) == spy()


def test_what_is_only_like_it_is_left_out():
    stray = [future(2, month="202803", expiry="20280317"), future(3, symbol="EC"), option(4), future(5, currency="EUR")]
    assert contracts.choose(replace(ES, currency="USD"), [*stray, future()]) == future()
    assert contracts.choose(replace(ES, expiry="20271217"), [future(2, expiry="20271210"), future()]) == future()


def test_a_contract_month_need_not_be_that_of_the_last_trading_day():
    oil = future(expiry="20271119", month="202712")
    assert contracts.choose(ES, [oil]) == oil
    with pytest.raises(OrderRejected, match="knows no contract"):
        contracts.choose(replace(ES, expiry="202711"), [oil])
    assert contracts.choose(replace(ES, expiry="202711"), [replace(oil, contract_month="")])


def test_a_last_trading_day_may_come_with_a_time():
    told = future(expiry="20271217 08:30:00 US/Central")
    assert contracts.choose(replace(ES, expiry="20271217"), [told]) == told


def test_the_venues_own_symbol_is_meant_to_the_letter():
    mine, other = future(1, local_symbol="ESZ7"), future(2, local_symbol="ESZ8")
    assert contracts.choose(Instrument("ESZ7", FUTURE, "CME"), [other, mine]) == mine


@pytest.mark.parametrize(
    ("instrument", "words"),
    [
        (Instrument("SPYY"), "knows no contract like that: STK SPYY USD SMART. Check symbol"),
        (Instrument("SPY", exchange="NYSE"), "listed at NYSE"),
        (an_option("SPXW"), "symbol SPXW, underlying SPX"),
        (ES, "FUT ES 202712. Check symbol, expiry and exchange"),
        (Instrument("USDEUR", FOREX), "order of the two currencies"),
        (Instrument("DOGE", CRYPTO), "PAXOS or ZEROHASH"),
    ],
)
def test_what_is_unknown_is_said_with_what_to_check(instrument, words):
    with pytest.raises(OrderRejected, match=words):
        contracts.choose(instrument, [])


@pytest.mark.parametrize(
    ("instrument", "found", "words"),
    [
        (
            Instrument("SPX", OPTION, expiry="20271217", strike=Decimal(6000), right=Right.CALL),
            [option(1), option(2, "SPXW")],
            ["2 contracts", "class SPX ", "class SPXW", "the class as symbol, with the underlying"],
        ),
        (
            Instrument("SPY", exchange="LSE"),
            [spy(1, "LSE", "GBP"), spy(2, "LSE", "USD")],
            ["SPY LSE GBP; SPY LSE USD", "Give currency"],
        ),
        (
            Instrument("SPY"),
            [spy(1), spy(2, "PINK")],
            ["ARCA", "PINK", "Give exchange"],
        ),
        (
            ES,
            [future(1), future(2, multiplier=Decimal(5))],
            ["multiplier 50", "multiplier 5", "Give multiplier"],
        ),
        (
            Instrument("VIX", FUTURE, expiry="202712"),
            [future(1, symbol="VIX"), future(2, "20271224", symbol="VIX")],
            ["20271217", "20271224", "Give expiry as YYYYMMDD"],
        ),
        (Instrument("SPY"), [spy(1), spy(2)], ["IBKR's own symbol"]),
    ],
)
def test_what_is_ambiguous_is_listed_with_what_to_give(instrument, found, words):
    with pytest.raises(OrderRejected) as caught:
        contracts.choose(instrument, found)
    for word in words:
        assert word in str(caught.value)


def test_at_most_ten_candidates_are_listed():
    with pytest.raises(OrderRejected, match=r"13 contracts.*; and 3 more") as caught:
        contracts.choose(Instrument("SPY"), [spy(number, f"EX{number}") for number in range(1, 14)])
    assert str(caught.value).count("SPY EX") == 10


def test_a_multiplier_tells_contracts_apart_and_must_be_theirs():
    big, small = future(1), future(2, multiplier=Decimal(5))
    assert contracts.choose(replace(ES, multiplier=Decimal(5)), [big, small]) == small
    with pytest.raises(OrderRejected, match="multiplier 20 is not that of FUT ES 202712 at IBKR: 5, 50"):
        contracts.choose(replace(ES, multiplier=Decimal(20)), [big, small])
    with pytest.raises(OrderRejected, match="multiplier 2 is not that"):
        contracts.choose(replace(Instrument("SPY"), multiplier=Decimal(2)), [spy()])
    assert contracts.choose(replace(Instrument("SPY"), multiplier=Decimal(1)), [spy()])
    corn = future(multiplier=Decimal(5000), magnifier=100)
    for multiplier in (50, 5000):
        assert contracts.choose(replace(ES, multiplier=Decimal(multiplier)), [corn]) == corn


# --- what TWS says of it ---


@pytest.mark.parametrize(
    ("told", "details"),
    [
        (spy(), InstrumentDetails(None, Decimal("0.01"), None, "USD")),
        (spy(size_increment=Decimal("0.0001")), InstrumentDetails(None, Decimal("0.01"), Decimal("0.0001"), "USD")),
        (spy(min_size=Decimal(1)), InstrumentDetails(None, Decimal("0.01"), Decimal(1), "USD")),
        (future(), InstrumentDetails(Decimal(50), Decimal("0.25"), None, "USD")),
        (future(multiplier=Decimal(5000), magnifier=100), InstrumentDetails(Decimal(50), Decimal("0.25"), None, "USD")),
        (replace(spy(), min_tick=None), InstrumentDetails(currency="USD")),
        (replace(spy(), min_tick=Decimal(0), size_increment=Decimal(0)), InstrumentDetails(currency="USD")),
    ],
)
def test_details(told, details):
    assert contracts.details(told) == details


# --- what a contract is called ---

POSITION_OPTION = replace(option().contract, symbol="SPY", strike=Decimal("600.0"), exchange="", trading_class="SPY")


@pytest.mark.parametrize(
    ("contract", "found", "named"),
    [
        (spy().contract, None, Instrument("SPY", currency="USD")),
        (spy().contract, spy(stock_type="ETF"), Instrument("SPY", ETF, currency="USD")),
        (spy().contract, spy(stock_type="COMMON"), Instrument("SPY", currency="USD")),
        (
            TwsContract("CASH", "EUR", currency="USD", exchange="IDEALPRO"),
            None,
            Instrument("EURUSD", FOREX, None, "USD"),
        ),
        (TwsContract("CRYPTO", "BTC", currency="USD", exchange="PAXOS"), None, Instrument("BTC", CRYPTO, None, "USD")),
        (
            POSITION_OPTION,
            None,
            Instrument("SPY", OPTION, None, "USD", "20271217", Decimal(600), Right.CALL, Decimal(100)),
        ),
        (
            replace(future().contract, exchange="", strike=Decimal(0), right="?"),
            future(),
            Instrument("ES", FUTURE, "CME", "USD", "20271217", multiplier=Decimal(50)),
        ),
        (
            replace(future().contract, sec_type="FOP", strike=Decimal(6000), right="P"),
            None,
            Instrument("ES", OPTION, "CME", "USD", "20271217", Decimal(6000), Right.PUT, Decimal(50)),
        ),
        (TwsContract("BAG", "SPY", exchange="SMART", currency="USD"), None, Instrument("SPY", OPTION, None, "USD")),
        (TwsContract("BOND", "T", local_symbol="T 4 1/8 30"), None, Instrument("T 4 1/8 30 (BOND)")),
        (TwsContract("CFD", "SPY", currency="USD"), None, Instrument("SPY (CFD)", currency="USD")),
        (TwsContract("IND"), None, Instrument("? (IND)")),
    ],
)
def test_what_a_contract_is_called(contract, found, named):
    assert contracts.instrument(contract, found) == named


@pytest.mark.parametrize(
    ("ordered", "held", "found"),
    [
        (Instrument("SPY"), spy().contract, spy()),
        (Instrument("BRK.B"), TwsContract("STK", "BRK B", currency="USD"), None),
        (Instrument("BRK/B"), TwsContract("STK", "BRK B", currency="USD"), None),
        (Instrument("EURUSD", FOREX), TwsContract("CASH", "EUR", currency="USD"), None),
        (Instrument("EUR.USD", FOREX), TwsContract("CASH", "EUR", currency="USD"), None),
        (Instrument("EUR", FOREX, currency="USD"), TwsContract("CASH", "EUR", currency="USD"), None),
        (Instrument("BTC", CRYPTO), TwsContract("CRYPTO", "BTC", currency="USD"), None),
        (Instrument("BTC.USD", CRYPTO), TwsContract("CRYPTO", "BTC", currency="USD"), None),
        (Instrument("BTCUSD", CRYPTO), TwsContract("CRYPTO", "BTC", currency="USD"), None),
        (an_option(), POSITION_OPTION, None),
        (
            Instrument(OWN_OPTION, OPTION, "SMART"),
            replace(POSITION_OPTION, local_symbol=OWN_OPTION),
            None,
        ),
        (
            an_option("SPXW", underlying="SPX"),
            replace(POSITION_OPTION, symbol="SPX", trading_class="SPXW"),
            None,
        ),
        (Instrument("ES", FUTURE, expiry="20271217"), future().contract, future()),
        (ES, future(expiry="20271119").contract, future(expiry="20271119")),
        (
            Instrument("SIL", FUTURE, "COMEX", expiry="202712", underlying="SI"),
            future(symbol="SI", trading_class="SIL", exchange="COMEX").contract,
            future(symbol="SI", trading_class="SIL", exchange="COMEX"),
        ),
        (Instrument("ESZ7", FUTURE, "CME"), future(local_symbol="ESZ7").contract, future(local_symbol="ESZ7")),
    ],
)
def test_what_an_order_traded_is_found_among_the_names_of_what_is_held(ordered, held, found):
    """As the service compares them: equal but for what one side does not say."""

    def identity(instrument):
        kind = STOCK if instrument.asset_class is ETF else instrument.asset_class
        return replace(instrument, asset_class=kind, exchange=None, currency=None).key

    names = (contracts.instrument(held, found), *contracts.aliases(held, found))
    assert len(set(names)) == len(names)
    same = [name for name in names if identity(name) == identity(ordered)]
    assert same
    assert all(name.exchange in (None, ordered.exchange) or ordered.exchange is None for name in same)


def test_a_future_of_which_only_the_day_is_known_gets_no_month():
    assert {name.expiry for name in contracts.aliases(future().contract)} <= {"20271217", None}


# --- combinations ---

LEGS = (
    Leg(an_option(), Side.BUY, Decimal(1)),
    Leg(an_option(strike=Decimal(610)), Side.SELL, Decimal(2)),
)
FOUND = [option(11, symbol="SPY"), option(12, symbol="SPY")]


def request(legs=LEGS):
    return order(instrument=Instrument("SPY", OPTION), legs=legs).request


def test_a_combination():
    assert contracts.combination(request(), FOUND) == TwsContract(
        "BAG",
        "SPY",
        exchange="SMART",
        currency="USD",
        legs=(TwsLeg(11, 1, "BUY", "SMART"), TwsLeg(12, 2, "SELL", "SMART")),
    )


def test_a_combination_of_futures_is_traded_where_they_are():
    found = [future(1), future(2, "20280317", "202803")]
    legs = (Leg(ES, Side.BUY, Decimal(1)), Leg(replace(ES, expiry="202803"), Side.SELL, Decimal(1)))
    made = contracts.combination(request(legs), found)
    assert (made.symbol, made.exchange, {leg.exchange for leg in made.legs}) == ("ES", "CME", {"CME"})


def test_a_combination_of_two_shares_is_called_by_both():
    legs = (Leg(Instrument("SPY"), Side.BUY, Decimal(1)), Leg(Instrument("QQQ"), Side.SELL, Decimal(1)))
    other = replace(spy(2), contract=replace(spy(2).contract, symbol="QQQ"))
    assert contracts.combination(request(legs), [spy(), other]).symbol == "SPY,QQQ"


@pytest.mark.parametrize(
    ("ratios", "found", "why"),
    [
        ((2, 4), FOUND, "all multiples of 2: give them in lowest terms \\(1:2\\), and 2 times"),
        ((1, 1.5), FOUND, r"legs\[1\].quantity must be a whole number"),
        ((1, 1), [FOUND[0], FOUND[0]], "the same contract"),
        ((1, 1), [FOUND[0], option(13, symbol="SPY", currency="EUR")], "several currencies"),
        ((1, 1), [future(1), future(2, exchange="CBOT")], "several exchanges"),
        ((1,), FOUND[:1], "at least two legs"),
    ],
)
def test_what_ib_would_not_take_as_a_combination(ratios, found, why):
    legs = tuple(replace(LEGS[0], ratio=Decimal(str(ratio))) for ratio in ratios)
    with pytest.raises(OrderRejected, match=why):
        contracts.combination(request(legs), found)


def test_a_combination_of_several_underlyings_is_not_done():
    with pytest.raises(OrderUnsupported, match="several underlyings"):
        contracts.combination(request(), [FOUND[0], option(13, symbol="QQQ")])
