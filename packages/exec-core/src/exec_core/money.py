"""Exact arithmetic for quantities, prices and money."""

from __future__ import annotations

import decimal
from contextlib import AbstractContextManager
from decimal import Decimal

ZERO = Decimal(0)

#: What a BSON Decimal128 can hold: nothing that we compute may need more.
CONTEXT = decimal.Context(prec=34, rounding=decimal.ROUND_HALF_EVEN)


def exact() -> AbstractContextManager[decimal.Context]:
    """Compute inside with 34 digits instead of the interpreter's 28."""
    return decimal.localcontext(CONTEXT)
