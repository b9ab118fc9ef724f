"""A combination as one contract of TWS's, made of its legs' contracts. Pure.

TWS cannot be asked for a combination (error 321); its legs are asked for one by one. It wants ratios in lowest terms,
and calls the whole by its underlying.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from exec_core.errors import OrderRejected, OrderUnsupported
from exec_core.orders import OrderRequest

from exec_broker_ibkr.instruments.naming import SMART
from exec_broker_ibkr.messages import DetailsTold, TwsContract, TwsLeg

#: Kinds of legs that are routed SMART as a combination.
_SMART_LEGS = frozenset({"STK", "OPT"})


def combination(request: OrderRequest, legs: Sequence[DetailsTold]) -> TwsContract:
    """The combination of `request`, whose legs are these contracts, in its order.

    :raises OrderRejected: TWS would not take it like that. :raises OrderUnsupported: legs of several underlyings'
        futures, which TWS calls by names of their own.
    """
    ratios = [_ratio(number, leg.ratio) for number, leg in enumerate(request.legs)]
    contracts = [told.contract for told in legs]
    if len(contracts) < 2:
        raise _rejected("a combination has at least two legs")
    if len({contract.con_id for contract in contracts}) < len(contracts):
        raise _rejected("two legs of the combination are the same contract: give it once, with its whole ratio")
    common = math.gcd(*ratios)
    if common > 1:
        lowest = ":".join(str(ratio // common) for ratio in ratios)
        raise _rejected(
            f"the legs' quantities are all multiples of {common}: give them in lowest terms ({lowest}), and {common} "
            f"times the order's quantity"
        )
    currencies = {contract.currency for contract in contracts}
    if len(currencies) > 1:
        raise _rejected(f"the legs are in several currencies ({', '.join(sorted(currencies))})")
    exchange = _exchange(contracts)
    return TwsContract(
        "BAG",
        _symbol(contracts),
        exchange=exchange,
        currency=contracts[0].currency,
        legs=tuple(
            TwsLeg(contract.con_id, ratio, leg.side.value, exchange)
            for contract, ratio, leg in zip(contracts, ratios, request.legs, strict=True)
        ),
    )


def has_only_shares(contract: TwsContract, legs: Sequence[DetailsTold]) -> bool:
    """Whether it is a combination of shares: TWS fills these leg by leg, and wants to be told that this is known."""
    return contract.sec_type == "BAG" and all(leg.contract.sec_type == "STK" for leg in legs)


def _ratio(number: int, ratio: object) -> int:
    whole = int(ratio)  # type: ignore[call-overload]
    if whole != ratio or whole < 1:
        raise _rejected(f"legs[{number}].quantity must be a whole number above zero, got {ratio}")
    return int(whole)


def _exchange(contracts: Sequence[TwsContract]) -> str:
    if all(contract.sec_type in _SMART_LEGS for contract in contracts):
        return SMART
    exchanges = {contract.exchange for contract in contracts}
    if len(exchanges) > 1:
        raise _rejected(f"the legs are traded on several exchanges ({', '.join(sorted(exchanges))}), not as one order")
    return contracts[0].exchange


def _symbol(contracts: Sequence[TwsContract]) -> str:
    symbols = list(dict.fromkeys(contract.symbol for contract in contracts))
    if len(symbols) == 1:
        return symbols[0]
    if all(contract.sec_type == "STK" for contract in contracts):
        return ",".join(symbols)  # as IB's documentation has it ("IBKR,MCD")
    raise OrderUnsupported(
        f"a combination of several underlyings ({', '.join(symbols)}) is not supported", broker="ibkr"
    )


def _rejected(text: str) -> OrderRejected:
    return OrderRejected(text, broker="ibkr")
