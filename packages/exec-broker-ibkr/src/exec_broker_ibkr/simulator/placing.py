"""The order message of a client, read: its some hundred fields -> `requests.PlaceOrder`.

The layout is that of ``ibapi``'s ``EClient.placeOrder``. What no record of ours carries and what would change the
order's meaning (conditions, an algorithm, scaling, a what-if) is refused with a sentence, never left out silently.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from exec_broker_ibkr.messages import TwsLeg, TwsOrder
from exec_broker_ibkr.simulator import requests
from exec_broker_ibkr.simulator.fields import Fields

_BEFORE_CASH = (
    "adjustedOrderType",
    "triggerPrice",
    "lmtPriceOffset",
    "adjustedStopPrice",
    "adjustedStopLimitPrice",
    "adjustedTrailingAmount",
    "adjustableTrailingUnit",
    "extOperator",
    "softDollarTier.name",
    "softDollarTier.val",
)
_AFTER_CASH = (
    "mifid2DecisionMaker",
    "mifid2DecisionAlgo",
    "mifid2ExecutionTrader",
    "mifid2ExecutionAlgo",
    "dontUseAutoPriceForHedge",
    "isOmsContainer",
    "discretionaryUpToLimitPrice",
    "usePriceMgmtAlgo",
)
#: The fields that later versions put at the end, each with the server version from which on it is there.
_LATE = (
    (158, "duration"),
    (160, "postToAts"),
    (162, "autoCancelParent"),
    (166, "advancedErrorOverride"),
    (169, "manualOrderTime"),
)
#: Types with fields of their own in this message.
_PEGGED = frozenset({"PEG BENCH", "PEGBENCH", "PEG BEST", "PEGBEST", "PEG MID", "PEGMID"})


def place(fields: Fields) -> requests.PlaceOrder:
    """One order message; `fields` stands behind the message's number.

    :raises ValueError: it is malformed, or wants what the simulator does not simulate.
    """
    order_id = fields.about()
    contract = fields.contract()
    fields.skip("secIdType", "secId")
    action = fields.text()
    quantity = fields.figure()
    order_type = fields.text()
    _refuse(order_type in _PEGGED, f"the order type {order_type}")
    order = TwsOrder(
        action=action,
        order_type=order_type,
        limit_price=fields.figure(),
        stop_price=fields.figure(),
        tif=fields.text(),
        oca_group=fields.text(),
        account=fields.text(),
        order_ref=_reference(fields),
        transmit=fields.flag(),
        parent_id=fields.integer(),
    )
    fields.skip("blockOrder", "sweepToFill", "displaySize", "triggerMethod")
    order = replace(order, outside_rth=fields.flag())
    fields.skip("hidden")
    if contract.sec_type == "BAG":
        contract = replace(contract, legs=_legs(fields))
        order = replace(order, routing=_pairs(fields))
    order = replace(order, oca_type=_middle(fields))
    _special(fields)
    fields.skip(*_BEFORE_CASH)
    cash = fields.figure()
    fields.skip(*_AFTER_CASH)
    fields.skip(*(name for version, name in _LATE if fields.server_version >= version))
    if fields.server_version >= 170 and contract.exchange == "IBKRATS":
        fields.skip("minTradeQty")
    # An order by cash says 0 for its quantity.
    by_cash = cash is not None and quantity == Decimal(0)
    return requests.PlaceOrder(
        order_id, contract, replace(order, quantity=None if by_cash else quantity, cash_quantity=cash)
    )


def _reference(fields: Fields) -> str:
    fields.skip("openClose", "origin")
    return fields.text()


def _legs(fields: Fields) -> tuple[TwsLeg, ...]:
    legs = []
    for _ in range(fields.count()):
        legs.append(TwsLeg(fields.integer(), fields.integer(), fields.text(), fields.text()))
        fields.skip("openClose", "shortSaleSlot", "designatedLocation", "exemptCode")
    _refuse(fields.count() > 0, "prices of single legs")
    return tuple(legs)


def _pairs(fields: Fields) -> tuple[tuple[str, str], ...]:
    return tuple((fields.text(), fields.text()) for _ in range(fields.count()))


def _middle(fields: Fields) -> int:
    """From behind the legs to the delta neutral order; what is wanted of it is the type of the OCA group."""
    fields.skip("(deprecated sharesAllocation)", "discretionaryAmt")
    _refuse(fields.text() != "", "a time from which on the order is good")
    _refuse(fields.text() != "", "a time until which the order is good")
    fields.skip("faGroup", "faMethod", "faPercentage")
    if fields.server_version < 177:
        fields.skip("faProfile")
    fields.skip("modelCode", "shortSaleSlot", "designatedLocation", "exemptCode")
    oca_type = fields.integer()
    fields.skip("rule80A", "settlingFirm")
    _refuse(fields.flag(), "all or none")
    _refuse(fields.figure() is not None, "a least quantity")
    fields.skip("percentOffset", "eTradeOnly", "firmQuoteOnly", "nbboPriceCap", "auctionStrategy")
    fields.skip("startingPrice", "stockRefPrice", "delta", "stockRangeLower", "stockRangeUpper")
    fields.skip("overridePercentageConstraints", "volatility", "volatilityType")
    return oca_type


def _special(fields: Fields) -> None:
    """The parts that are there only for special kinds of orders, none of which is simulated."""
    _refuse(fields.text() != "", "a delta neutral order")
    fields.skip("deltaNeutralAuxPrice", "continuousUpdate", "referencePriceType")
    _refuse(fields.figure() is not None, "a trailing stop")
    _refuse(fields.figure() is not None, "a trailing stop by percentage")
    fields.skip("scaleInitLevelSize", "scaleSubsLevelSize")
    _refuse((fields.figure() or 0) > 0, "a scale order")
    fields.skip("scaleTable", "activeStartTime", "activeStopTime")
    _refuse(fields.text() != "", "a hedge")
    fields.skip("optOutSmartRouting", "clearingAccount", "clearingIntent", "notHeld")
    _refuse(fields.flag(), "a delta neutral contract")
    _refuse(fields.text() != "", "an algorithm")
    fields.skip("algoId")
    _refuse(fields.flag(), "a what-if order")
    fields.skip("orderMiscOptions", "solicited", "randomizeSize", "randomizePrice")
    _refuse(fields.count() > 0, "conditions")


def _refuse(wanted: bool, what: str) -> None:
    if wanted:
        raise ValueError(f"the order wants {what}, which is not simulated")
