"""How TWS spells figures, read and written: plain text for what is exact, and its several ways of saying "unset"."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Final

#: How TWS itself writes a floating figure that is not set; the client libraries call it ``UNSET_DOUBLE``.
UNSET_FIGURE: Final = "1.7976931348623157E308"
#: The same for whole numbers; the libraries' ``UNSET_INTEGER``.
UNSET_INTEGER: Final = 2147483647

# Nothing that is traded comes near; the unset value does, in whatever way its last digits were printed.
_ABSURD: Final = Decimal("1e300")


def figure(value: object) -> Decimal | None:
    """The figure that TWS means, or None where it says that there is none (empty, unset, not a number).

    A float becomes the shortest decimal that stands for it, which is what TWS wrote; whole ones lose their ``.0``.

    :raises ValueError: text that is no figure.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a figure")
    try:
        read = value if isinstance(value, Decimal) else Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a figure") from None
    if not read.is_finite() or abs(read) >= _ABSURD or read == UNSET_INTEGER:
        return None
    return Decimal(int(read)) if read == read.to_integral_value() else read


def non_zero(value: object) -> Decimal | None:
    """The same for a field in which TWS also says "none" by 0: a strike, a multiplier, a tick."""
    return figure(value) or None


def plain(value: Decimal | None, unset: str = "") -> str:
    """A figure as text, digit for digit and without an exponent; `unset` for None."""
    return unset if value is None else format(value, "f")
