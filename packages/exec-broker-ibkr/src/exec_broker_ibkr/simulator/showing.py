"""The two long messages about orders, written: ``openOrder`` and ``completedOrder``, field for field at version 176.

The layouts are those of ``ibapi``'s ``orderdecoder.py``. As on the real wire, a price that an order has none of is 0.0
here, an instrument that is no option has the right ``?`` (`ib_insync#509`), and a completed order says neither its
order id nor its client.
"""

from __future__ import annotations

from collections.abc import Iterable

from exec_broker_ibkr.figures import UNSET_FIGURE, UNSET_INTEGER, plain
from exec_broker_ibkr.messages import CompletedShown, OrderShown, TwsContract

_UNSET_COUNT = str(UNSET_INTEGER)
_NO = "0"


def contract_fields(contract: TwsContract) -> list[str]:
    """The eleven fields of a contract, as TWS writes them in front of orders, executions and positions."""
    return [
        str(contract.con_id),
        contract.symbol,
        contract.sec_type,
        contract.expiry,
        plain(contract.strike, "0.0"),
        contract.right or "?",
        plain(contract.multiplier),
        contract.exchange,
        contract.currency,
        contract.local_symbol,
        contract.trading_class,
    ]


def open_order(told: OrderShown) -> list[str]:
    """``openOrder``."""
    return [
        "5",
        str(told.order_id),
        *contract_fields(told.contract),
        told.action,
        plain(told.total_quantity, "0"),
        told.order_type,
        plain(told.limit_price, "0.0"),
        plain(told.stop_price, "0.0"),
        told.tif,
        "",  # ocaGroup
        told.account,
        "",  # openClose
        "0",  # origin
        told.order_ref,
        str(told.client_id),
        str(told.perm_id),
        _NO,  # outsideRth
        _NO,  # hidden
        "0",  # discretionaryAmt
        "",  # goodAfterTime
        "",  # sharesAllocation, deprecated
        *_allocation(),
        "",  # goodTillDate
        *_conditions_of_sale(),
        "0",  # auctionStrategy
        *_stock_range(),
        _UNSET_COUNT,  # displaySize
        _NO,  # blockOrder
        _NO,  # sweepToFill
        _NO,  # allOrNone
        "",  # minQty
        "3",  # ocaType
        _NO,  # eTradeOnly
        _NO,  # firmQuoteOnly
        "",  # nbboPriceCap
        str(told.parent_id),
        "0",  # triggerMethod
        *_volatility(),
        "",  # continuousUpdate
        "",  # referencePriceType
        "",  # trailStopPrice
        "",  # trailingPercent
        "",  # basisPoints
        "",  # basisPointsType
        *_combination(told.contract),
        *_scale_and_hedge(),
        _NO,  # optOutSmartRouting
        *_clearing(),
        "",  # algoStrategy
        _NO,  # solicited
        _NO,  # whatIf
        told.status,
        *(UNSET_FIGURE for _ in range(9)),  # margins: initial, maintenance, equity with loan; before, change, after
        "",  # commission
        "",  # minCommission
        "",  # maxCommission
        "",  # commissionCurrency
        told.warning,
        _NO,  # randomizeSize
        _NO,  # randomizePrice
        "0",  # conditions
        "",  # adjustedOrderType
        UNSET_FIGURE,  # triggerPrice
        UNSET_FIGURE,  # trailStopPrice
        UNSET_FIGURE,  # lmtPriceOffset
        UNSET_FIGURE,  # adjustedStopPrice
        UNSET_FIGURE,  # adjustedStopLimitPrice
        UNSET_FIGURE,  # adjustedTrailingAmount
        "0",  # adjustableTrailingUnit
        "",  # softDollarTier.name
        "",  # softDollarTier.val
        "",  # softDollarTier.displayName
        plain(told.cash_quantity, UNSET_FIGURE),
        _NO,  # dontUseAutoPriceForHedge
        _NO,  # isOmsContainer
        _NO,  # discretionaryUpToLimitPrice
        _NO,  # usePriceMgmtAlgo
        "",  # duration
        "",  # postToAts
        _NO,  # autoCancelParent
        *_competition(),
    ]


def completed_order(told: CompletedShown) -> list[str]:
    """``completedOrder``."""
    return [
        "101",
        *contract_fields(told.contract),
        told.action,
        plain(told.total_quantity, "0"),
        told.order_type,
        plain(told.limit_price, "0.0"),
        plain(told.stop_price, "0.0"),
        told.tif,
        "",  # ocaGroup
        told.account,
        "",  # openClose
        "0",  # origin
        told.order_ref,
        str(told.perm_id),
        _NO,  # outsideRth
        _NO,  # hidden
        "0",  # discretionaryAmt
        "",  # goodAfterTime
        *_allocation(),
        "",  # goodTillDate
        *_conditions_of_sale(),
        *_stock_range(),
        _UNSET_COUNT,  # displaySize
        _NO,  # sweepToFill
        _NO,  # allOrNone
        "",  # minQty
        "3",  # ocaType
        "0",  # triggerMethod
        *_volatility(),
        "",  # continuousUpdate
        "",  # referencePriceType
        "",  # trailStopPrice
        "",  # trailingPercent
        *_combination(told.contract),
        *_scale_and_hedge(),
        *_clearing(),
        "",  # algoStrategy
        _NO,  # solicited
        told.status,
        _NO,  # randomizeSize
        _NO,  # randomizePrice
        "0",  # conditions
        UNSET_FIGURE,  # trailStopPrice
        UNSET_FIGURE,  # lmtPriceOffset
        plain(told.cash_quantity, UNSET_FIGURE),
        _NO,  # dontUseAutoPriceForHedge
        _NO,  # isOmsContainer
        "",  # autoCancelDate
        plain(told.filled, UNSET_FIGURE),
        "",  # refFuturesConId
        _NO,  # autoCancelParent
        "",  # shareholder
        _NO,  # imbalanceOnly
        _NO,  # routeMarketableToBbo
        "0",  # parentPermId
        told.completed_time,
        told.completed_status,
        *_competition(),
    ]


# The runs of fields that both messages have, and that say nothing of orders as they are placed here.


def _allocation() -> Iterable[str]:
    return [""] * 5  # faGroup, faMethod, faPercentage, faProfile, modelCode


def _conditions_of_sale() -> Iterable[str]:
    # rule80A, percentOffset, settlingFirm, shortSaleSlot, designatedLocation, exemptCode
    return ["", "", "", "0", "", "-1"]


def _stock_range() -> Iterable[str]:
    return [""] * 5  # startingPrice, stockRefPrice, delta, stockRangeLower, stockRangeUpper


def _volatility() -> Iterable[str]:
    return ["", "", "", ""]  # volatility, volatilityType, deltaNeutralOrderType, deltaNeutralAuxPrice


def _combination(contract: TwsContract) -> Iterable[str]:
    description = ",".join(f"{leg.con_id}|{leg.ratio if leg.action == 'BUY' else -leg.ratio}" for leg in contract.legs)
    legs = [
        text
        for leg in contract.legs
        # after the exchange: openClose, shortSaleSlot, designatedLocation, exemptCode
        for text in (str(leg.con_id), str(leg.ratio), leg.action, leg.exchange, "0", "0", "", "-1")
    ]
    # behind them: prices of single legs, smart routing parameters
    return [description, str(len(contract.legs)), *legs, "0", "0"]


def _scale_and_hedge() -> Iterable[str]:
    return ["", "", "", ""]  # scaleInitLevelSize, scaleSubsLevelSize, scalePriceIncrement, hedgeType


def _clearing() -> Iterable[str]:
    return ["", "", _NO, _NO]  # clearingAccount, clearingIntent, notHeld, deltaNeutralContract


def _competition() -> Iterable[str]:
    # minTradeQty, minCompeteSize, competeAgainstBestOffset, midOffsetAtWhole, midOffsetAtHalf
    return ["", "", "", "", ""]
