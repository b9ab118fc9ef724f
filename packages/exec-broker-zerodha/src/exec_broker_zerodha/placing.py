"""From an order to what is sent: the instrument found, the product chosen, everything checked that Kite would refuse.

`OrderRejected` is said of what the venue does not take, `OrderUnsupported` of what this adapter does not do; both
before anything is sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from exec_core.clock import Clock
from exec_core.errors import BrokerError, OrderRejected, OrderUnsupported
from exec_core.instruments import InstrumentDetails
from exec_core.orders import Order, OrderRequest, TimeInForce
from exec_core.reports import ReportStatus

from exec_broker_zerodha import instruments, words
from exec_broker_zerodha.book import Sent
from exec_broker_zerodha.dump import Catalogue
from exec_broker_zerodha.instruments import Listed
from exec_broker_zerodha.settings import ZerodhaSettings
from exec_broker_zerodha.times import indian_day
from exec_broker_zerodha.words import KiteOrder

#: Longer tags are refused, others than these characters are not promised to come back (forum discussion 52970).
_TAG: Final = re.compile(r"[A-Za-z0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Prepared:
    """An order that can be sent."""

    order: KiteOrder
    details: InstrumentDetails
    status: ReportStatus
    """What it is once Kite has it: held for its trigger or for the next session, or working."""

    @property
    def sent(self) -> Sent:
        """What a row of Kite's must show to be this order."""
        order = self.order
        quantity = Decimal(order.quantity)
        return Sent(order.exchange, order.tradingsymbol, order.transaction_type, order.product, quantity)


async def prepare(order: Order, catalogue: Catalogue, settings: ZerodhaSettings, clock: Clock) -> Prepared:
    """What is sent for the order.

    :raises OrderRejected, OrderUnsupported: it cannot be sent. :raises NotSent: the list of instruments cannot be had.
    """
    request = order.request
    if not _TAG.fullmatch(order.client_order_id):
        raise OrderUnsupported("Kite's tag takes up to 20 letters and digits")
    variety = _variety(request)
    listed = await catalogue.find(request.instrument)
    prices = (("limit_price", request.limit_price), ("stop_price", request.stop_price))
    quantity = request.quantity
    if quantity is None:
        raise OrderUnsupported("cash_quantity is not supported; give a quantity")
    instruments.check(listed, quantity, prices, indian_day(clock()))
    product = product_of(request, listed, settings)
    validity = words.VALIDITIES[request.time_in_force or TimeInForce.DAY]
    if validity == "IOC" and not words.has_ioc(listed.exchange):
        raise OrderRejected(f"{listed.exchange} takes no IOC orders from Kite's interface")
    if validity == "IOC" and variety == words.AFTER_MARKET:
        raise OrderRejected("an order for the next session (variety amo) cannot be IOC")
    terms = words.priced(
        request.order_type,
        request.side,
        request.limit_price,
        request.stop_price,
        stop_market=words.has_stop_market(listed.exchange, listed.asset_class),
        offset=settings.stop_offset,
        tick=listed.tick_size or Decimal("0.05"),
    )
    kite = KiteOrder(
        variety,
        listed.exchange,
        listed.tradingsymbol,
        words.SIDES[request.side],
        int(quantity),
        product,
        validity,
        order.client_order_id,
        terms,
        settings.market_protection,
    )
    is_held = variety == words.AFTER_MARKET or request.order_type.has_stop
    return Prepared(kite, listed.details, ReportStatus.HELD if is_held else ReportStatus.WORKING)


def _variety(request: OrderRequest) -> str:
    variety = (request.variety or words.REGULAR).lower()
    if variety not in words.VARIETIES:
        raise OrderUnsupported(f"variety {variety} is not supported; supported: {', '.join(words.VARIETIES)}")
    return variety


def product_of(request: OrderRequest, listed: Listed, settings: ZerodhaSettings) -> str:
    """The order's own product, else the one that is configured for its kind.

    :raises OrderRejected: Kite has none of that name, or not on that exchange.
    """
    product = (request.product or settings.products[request.instrument.asset_class]).upper()
    if product not in words.PRODUCTS:
        raise OrderRejected(f"product {product} is not one of Kite's: {', '.join(sorted(words.PRODUCTS))}")
    if not words.fits(product, listed.exchange):
        kinds = "shares" if product in words.DELIVERY else "derivatives"
        raise OrderRejected(f"product {product} is for {kinds}, and {listed.exchange}:{listed.tradingsymbol} is none")
    return product


async def sent_of(order: Order, catalogue: Catalogue) -> Sent | None:
    """What a row must show to be an order that an earlier session sent, as far as that can be told now; else None.

    A product that the order does not name was chosen by settings, which may have been others then.
    """
    request = order.request
    if request.quantity is None:
        return None
    try:
        listed = await catalogue.find(request.instrument)
    except BrokerError:
        return None
    product = None if request.product is None else request.product.upper()
    return Sent(listed.exchange, listed.tradingsymbol, words.SIDES[request.side], product, request.quantity)
