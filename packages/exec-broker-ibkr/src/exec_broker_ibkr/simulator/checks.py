"""What TWS checks of an order before it takes it, and with which code and words it refuses. Pure.

The codes and words are those of IB's table of messages (TWS API, "Message Codes"); where public issues show how TWS
words the reason of a 201, that is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, NamedTuple

from exec_core.money import ZERO, exact

from exec_broker_ibkr.messages import PriceStep, TwsContract, TwsOrder
from exec_broker_ibkr.simulator.listing import Listed, Listing
from exec_broker_ibkr.simulator.terms import Terms, first_of, in_base, margin_rate, multiplier, spelled

#: TWS's own contract id of every combination.
BAG_CON_ID: Final = 28812380

_TYPES: Final = frozenset({"MKT", "LMT", "STP", "STP LMT"})
_TIFS: Final = frozenset({"DAY", "GTC", "IOC", "Minutes"})
_COMBO_STEPS: Final = (PriceStep(ZERO, Decimal("0.01")),)
_PRESET_TIF: Final = "Order TIF was set to DAY based on order preset."


class Refused(Exception):
    """TWS refuses it. `is_kept`: the order is in its book all the same, as Inactive, as after every 201."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text

    @property
    def is_kept(self) -> bool:
        """Whether the order gets an id of the account and is shown as Inactive."""
        return self.code == 201


class Warned(NamedTuple):
    """An error message that ends nothing."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What TWS makes of an order: the contract, completed, the order with what it sets itself, what it warns of."""

    contract: TwsContract
    order: TwsOrder
    warnings: tuple[Warned, ...] = ()


@dataclass(frozen=True, slots=True)
class Purse:
    """What an account has: `held` of a contract (less what is on sale already), and what may be used as margin."""

    held: Callable[[int], Decimal]
    available: Callable[[], Decimal]
    price: Callable[[TwsContract], Decimal | None]


def invalid(where: str, cause: str) -> Refused:
    """A request that TWS could not make sense of."""
    return Refused(321, f"Error validating request.-'{where}' : cause - {cause}")


def rejected(reason: str) -> Refused:
    """Refused by IB's servers."""
    return Refused(201, f"Order rejected - reason:{reason}")


READ_ONLY: Final = "The API interface is currently in Read-Only mode."


def check(
    contract: TwsContract,
    order: TwsOrder,
    terms: Terms,
    listing: Listing,
    purse_of: Callable[[str], Purse],
    *,
    is_new: bool = True,
) -> Checked:
    """Everything, in the order in which TWS looks at it. A modification (`is_new` False) needs no money of its own.

    :raises Refused: it does not take it.
    """
    if terms.read_only:
        raise invalid("bY", READ_ONLY)
    account = _account(order.account, terms)
    listed = None if contract.sec_type == "BAG" else _resolve(contract, listing)
    traded = _combination(contract, listing) if listed is None else listed.at(contract.exchange).contract
    _check_shape(order, traded)
    warnings: tuple[Warned, ...] = ()
    if not order.tif:
        order, warnings = replace(order, tif="DAY"), (Warned(10349, _PRESET_TIF),)
    order = replace(order, account=account)
    if listed is not None:
        _check_permission(listed)
    purse = purse_of(account)
    if traded.sec_type == "CRYPTO":
        _check_coin(order)
    _check_quantity(order, traded, listed, terms)
    _check_ticks(order, _COMBO_STEPS if listed is None else listed.steps_at(contract.exchange))
    if is_new:
        _check_money(order, traded, purse)
    return Checked(traded, order, warnings)


def _account(asked: str, terms: Terms) -> str:
    account = asked or first_of(terms.accounts)
    if not account:
        raise Refused(435, "You must specify an account.")
    if account not in terms.accounts:
        raise invalid("bY", f"Invalid account code '{account}'.")
    return account


def _resolve(contract: TwsContract, listing: Listing) -> Listed:
    if not contract.exchange:
        raise invalid("bG", "Missing order exchange")
    if contract.sec_type == "OPT" and not (contract.con_id or contract.local_symbol or contract.expiry):
        raise invalid("bW", "Please enter a valid expiration date")
    found = listing.find(contract)
    if not found:
        raise Refused(200, "No security definition has been found for the request")
    if len(found) > 1:
        name = contract.symbol or contract.local_symbol
        raise Refused(200, f"The contract description specified for {name} is ambiguous.")
    return found[0]


def _combination(contract: TwsContract, listing: Listing) -> TwsContract:
    if len(contract.legs) < 2:
        raise Refused(312, "The combo details are invalid.")
    for number, leg in enumerate(contract.legs, 1):
        known = listing.of_con_id(leg.con_id)
        if known is None or leg.ratio <= 0 or leg.action not in ("BUY", "SELL") or leg.exchange not in known.exchanges:
            raise Refused(313, f"The combo details for leg '{number}' are invalid.")
    return replace(contract, con_id=BAG_CON_ID)


def _check_shape(order: TwsOrder, contract: TwsContract) -> None:
    if order.action not in ("BUY", "SELL"):
        raise invalid("bL", f"Invalid action {order.action!r}")
    if order.order_type not in _TYPES or (contract.sec_type == "CRYPTO" and order.order_type.startswith("STP")):
        raise Refused(387, "Unsupported order type for this exchange and security type.")
    if order.order_type in ("LMT", "STP LMT") and order.limit_price is None:
        raise invalid("bP", "The limit price is missing")
    if order.order_type in ("STP", "STP LMT") and order.stop_price is None:
        raise Refused(403, "Invalid stop price.")
    if order.tif and order.tif not in _TIFS:
        raise invalid("cs", f"Invalid time in force {order.tif!r}")


def _check_permission(listed: Listed) -> None:
    if listed.refusal == 460:
        raise Refused(460, "No trading permissions.")
    if listed.refusal is not None:
        symbol = listed.contract.symbol
        raise Refused(listed.refusal, f"The security {symbol} is not available or allowed for this account.")


def _check_coin(order: TwsOrder) -> None:
    """The rules for coins (`ib_insync#407`, `nautilus#1358`, Lean.IB PR#260)."""
    by_cash = order.cash_quantity is not None and order.cash_quantity > 0
    if by_cash and order.action == "SELL":
        raise Refused(10244, "Cash Quantity cannot be used for this order")
    if by_cash and order.quantity:
        raise Refused(10293, "Cash Quantity and order size cannot both be set for this order")
    if order.order_type == "MKT" and order.action == "BUY" and not by_cash:
        raise Refused(10289, "You must set Cash Quantity for this order.")
    if order.order_type == "MKT" and order.tif != "IOC":
        raise rejected("A crypto MKT order must be IOC.")
    if order.tif not in ("IOC", "Minutes"):
        raise rejected(f"The time-in-force {order.tif} is invalid for this combination of exchange and security type.")


def _check_quantity(order: TwsOrder, contract: TwsContract, listed: Listed | None, terms: Terms) -> None:
    if order.cash_quantity is not None and order.cash_quantity > 0:
        if contract.sec_type in ("FUT", "OPT", "BAG") or (contract.sec_type == "STK" and not terms.fractions):
            raise Refused(10244, "Cash Quantity cannot be used for this order")
        if order.cash_quantity != round(order.cash_quantity, 2):
            raise Refused(10206, "Cash Quantity can have two decimals at most")
        if not order.quantity:
            return
    if not order.quantity or order.quantity < 0:
        raise Refused(434, "The order size cannot be zero.")
    step = Decimal(1) if listed is None else listed.details.size_increment or Decimal(1)
    if order.quantity != int(order.quantity) and contract.sec_type == "STK" and not terms.fractions:
        raise Refused(10243, "Fractional-sized order cannot be placed via API. Please use desktop version to place it.")
    if order.quantity % step:
        raise Refused(10247, "This order doesn't support fractional shares.")


def _check_ticks(order: TwsOrder, steps: Sequence[PriceStep]) -> None:
    # What an order is not priced by, TWS does not look at.
    limit = order.limit_price if order.order_type in ("LMT", "STP LMT") else None
    stop = order.stop_price if order.order_type in ("STP", "STP LMT") else None
    for price in (limit, stop):
        if price is not None and price % _increment(price, steps):
            raise Refused(110, "The price does not conform to the minimum price variation for this contract.")


def _increment(price: Decimal, steps: Sequence[PriceStep]) -> Decimal:
    found = steps[0].increment
    for step in steps:
        if abs(price) >= step.low_edge:
            found = step.increment
    return found


def _check_money(order: TwsOrder, contract: TwsContract, purse: Purse) -> None:
    held = purse.held(contract.con_id)
    quantity = order.quantity or ZERO
    if contract.sec_type == "CRYPTO" and order.action == "SELL" and quantity > held:
        raise rejected("Short sale of cryptocurrency is not allowed.")
    with exact():
        change = quantity if order.action == "BUY" else -quantity
        added = max(abs(held + change) - abs(held), ZERO)
        price = order.limit_price or order.stop_price or purse.price(contract) or ZERO
        value = added * abs(price) * multiplier(contract)
        if order.cash_quantity is not None and not order.quantity:
            value = order.cash_quantity
        needed = in_base(value, contract.currency) * margin_rate(contract)
    available = purse.available() if needed else ZERO
    if needed > available:
        raise rejected(
            "YOUR ORDER IS NOT ACCEPTED. IN ORDER TO OBTAIN THE DESIRED POSITION YOUR EQUITY WITH LOAN VALUE "
            f"[{spelled(available)} USD] MUST EXCEED THE INITIAL MARGIN [{spelled(needed)} USD]"
        )
