"""From an order to what TWS is sent: its contract found, its prices checked against the steps that hold there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from exec_core.instruments import InstrumentDetails
from exec_core.orders import Order

from exec_broker_ibkr.instruments import contracts
from exec_broker_ibkr.instruments.catalogue import Catalogue
from exec_broker_ibkr.instruments.prices import priced
from exec_broker_ibkr.messages import DetailsTold, PriceStep, TwsContract, TwsOrder
from exec_broker_ibkr.orders import tws_order
from exec_broker_ibkr.settings import IbkrSettings


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is ready to be sent. `details` of a combination: what all of its legs have in common."""

    contract: TwsContract
    order: TwsOrder
    details: InstrumentDetails


async def prepare(order: Order, catalogue: Catalogue, account: str, settings: IbkrSettings) -> Prepared:
    """Ask TWS what has to be asked; nothing of the order is sent by this.

    :raises OrderRejected: no such contract, or a price between two steps. :raises OrderUnsupported: the adapter does
        not do that. :raises ConnectionFailed, NoAnswer: TWS could not be asked.
    """
    request = order.request
    raw = tws_order(request, order.client_order_id, account, settings)
    if request.legs:
        legs: list[DetailsTold] = [await catalogue.find(leg.instrument) for leg in request.legs]
        return Prepared(contracts.combination(request, legs), raw, _in_common([contracts.details(one) for one in legs]))
    found = await catalogue.find(request.instrument)
    steps = await catalogue.steps(found) if raw.limit_price is not None or raw.stop_price is not None else ()
    ready = replace(
        raw,
        limit_price=_on_step(raw.limit_price, steps, settings),
        stop_price=_on_step(raw.stop_price, steps, settings),
    )
    return Prepared(found.contract, ready, contracts.details(found))


def _in_common(legs: Sequence[InstrumentDetails]) -> InstrumentDetails:
    """A leg's position bears its currency, and is the one that an order for the leg alone would change."""
    currencies, multipliers = {leg.currency for leg in legs}, {leg.multiplier for leg in legs}
    return InstrumentDetails(
        multiplier=multipliers.pop() if len(multipliers) == 1 else None,
        currency=currencies.pop() if len(currencies) == 1 else None,
    )


def _on_step(price: Decimal | None, steps: Sequence[PriceStep], settings: IbkrSettings) -> Decimal | None:
    return None if price is None else priced(price, steps, round_=settings.round_prices)
