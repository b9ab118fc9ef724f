"""On which terms the simulated TWS trades: its accounts, their money and permissions, what it costs. All may change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from types import MappingProxyType
from typing import Final

from exec_core.money import ZERO, exact

from exec_broker_ibkr.messages import TwsContract

BASE_CURRENCY: Final = "USD"

#: What part of its value a position must be covered by.
_MARGINS: Final[Mapping[str, Decimal]] = MappingProxyType(
    {"STK": Decimal("0.25"), "FUT": Decimal("0.1"), "CASH": Decimal("0.03")}
)
#: What a unit of a currency is worth in the base currency.
_WORTH: Final[Mapping[str, Decimal]] = MappingProxyType(
    {"GBP": Decimal("1.27"), "JPY": Decimal("0.00667"), "EUR": Decimal("1.085")}
)
_CENT: Final = Decimal("0.01")
_COST_DIGITS: Final = Decimal("0.0001")


@dataclass(slots=True)
class Terms:
    """What a person sets up. `cash` is what every account began with, in USD.

    `fractions`: the accounts may trade fractional shares, and by cash. `read_only`: TWS's setting "Read-Only API".
    """

    accounts: tuple[str, ...] = ("DU1234567",)
    cash: Decimal = Decimal(1_000_000)
    fractions: bool = True
    read_only: bool = False


def multiplier(contract: TwsContract) -> Decimal:
    """How many units one contract stands for; 1 where TWS says nothing."""
    return contract.multiplier or Decimal(1)


def in_base(amount: Decimal, currency: str) -> Decimal:
    """An amount of money in the base currency."""
    return amount * _WORTH.get(currency, Decimal(1))


def margin_rate(contract: TwsContract) -> Decimal:
    """What part of its value must be covered: all of it, unless it is traded on margin."""
    return _MARGINS.get(contract.sec_type, Decimal(1))


def commission(contract: TwsContract, quantity: Decimal, price: Decimal) -> tuple[Decimal, str]:
    """What an execution costs, and in which currency: roughly IB's fixed prices."""
    with exact():
        match contract.sec_type:
            case "STK":
                amount, currency = max(Decimal(1), Decimal("0.005") * quantity), contract.currency
            case "OPT":
                amount, currency = max(Decimal(1), Decimal("0.65") * quantity), contract.currency
            case "FUT":
                amount, currency = Decimal("2.25") * quantity, contract.currency
            case "CRYPTO":
                amount, currency = max(Decimal("1.75"), Decimal("0.0018") * quantity * price), contract.currency
            case _:
                # A pair is billed in the base currency of the account, whatever it is quoted in.
                amount, currency = Decimal(2), BASE_CURRENCY
        return amount.quantize(_COST_DIGITS, ROUND_HALF_EVEN).normalize() + ZERO, currency


def spelled(amount: Decimal) -> str:
    """An amount of money as TWS writes it: to the cent."""
    return format(amount.quantize(_CENT, ROUND_HALF_EVEN), "f")


def first_of(accounts: Iterable[str]) -> str:
    """The only account, or nothing where there are several."""
    known = tuple(accounts)
    return known[0] if len(known) == 1 else ""
