"""What an order costs, as POST /charges/orders computes it: an estimate, for the order and not for its trades.

The rates are those of zerodha.com/charges in their form, rounded to the paisa; they need not be today's.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from exec_broker_zerodha.simulator.refusals import bad_input
from exec_broker_zerodha.simulator.showing import number

_PAISA: Final = Decimal("0.01")
_BROKERAGE_CAP: Final = Decimal(20)
_BROKERAGE: Final = Decimal("0.0003")
_GST: Final = Decimal("0.18")
_SEBI: Final = Decimal("0.000001")
_TURNOVER: Final = {
    "NSE": Decimal("0.0000307"),
    "BSE": Decimal("0.0000375"),
    "NFO": Decimal("0.0000183"),
    "BFO": Decimal("0.0000000"),
    "CDS": Decimal("0.0000035"),
    "MCX": Decimal("0.000021"),
}
_TEXTS: Final = ("exchange", "tradingsymbol", "transaction_type", "variety", "product", "order_type")


def contract_note(order: Any) -> dict[str, Any]:
    """The costs of one order of the request. :raises Refusal: something is missing."""
    if not isinstance(order, dict) or any(not isinstance(order.get(name), str) for name in _TEXTS):
        raise bad_input("Invalid order parameters.")
    try:
        quantity, price = int(order["quantity"]), Decimal(str(order["average_price"]))
    except (KeyError, TypeError, ArithmeticError, ValueError):
        raise bad_input("Invalid `quantity` or `average_price`.") from None
    if order["exchange"] not in _TURNOVER or quantity <= 0 or not price.is_finite():
        raise bad_input("Invalid order parameters.")
    return {
        "transaction_type": order["transaction_type"],
        "tradingsymbol": order["tradingsymbol"],
        "exchange": order["exchange"],
        "variety": order["variety"],
        "product": order["product"],
        "order_type": order["order_type"],
        "quantity": quantity,
        "price": number(price),
        "charges": _charges(order["exchange"], order["product"], order["transaction_type"], quantity * price),
    }


def _charges(exchange: str, product: str, side: str, turnover: Decimal) -> dict[str, Any]:
    is_delivery = product in ("CNC", "MTF")
    brokerage = Decimal(0) if is_delivery else _rounded(min(turnover * _BROKERAGE, _BROKERAGE_CAP))
    tax_rate = Decimal("0.001") if is_delivery else Decimal("0.00025") if side == "SELL" else Decimal(0)
    tax = _rounded(turnover * tax_rate)
    exchange_charge = _rounded(turnover * _TURNOVER[exchange])
    sebi = _rounded(turnover * _SEBI)
    stamp = _rounded(turnover * (Decimal("0.00015") if is_delivery else Decimal("0.00003"))) if side == "BUY" else 0
    gst = _rounded((brokerage + exchange_charge + sebi) * _GST)
    total = brokerage + tax + exchange_charge + sebi + stamp + gst
    return {
        "transaction_tax": number(tax),
        "transaction_tax_type": "ctt" if exchange == "MCX" else "stt",
        "exchange_turnover_charge": number(exchange_charge),
        "sebi_turnover_charge": number(sebi),
        "brokerage": number(brokerage),
        "stamp_duty": number(Decimal(stamp)),
        "gst": {"igst": number(gst), "cgst": 0, "sgst": 0, "total": number(gst)},
        "total": number(total),
    }


def _rounded(value: Decimal) -> Decimal:
    return value.quantize(_PAISA, ROUND_HALF_UP)
