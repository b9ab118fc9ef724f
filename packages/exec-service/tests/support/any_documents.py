"""Documents of every shape that a store keeps, for tests that try out many: hypothesis makes them up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from decimal import Decimal
from typing import Any

from hypothesis import strategies as some
from hypothesis.strategies import SearchStrategy

times = some.datetimes(timezones=some.just(UTC))
texts = some.text(some.characters(exclude_categories=["Cs"]))
decimals = some.builds(
    lambda digits, exponent: Decimal(digits).scaleb(exponent),
    some.integers(min_value=-(10**28), max_value=10**28),
    some.integers(min_value=-6000, max_value=6000),
)
_plain = (
    some.none()
    | some.booleans()
    | some.integers(min_value=-(2**63), max_value=2**63 - 1)
    | some.floats(allow_nan=False, allow_infinity=False)
    | decimals
    | times.map(lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000))
    | texts
)


def keys(*odd: str) -> SearchStrategy[str]:
    """The keys of documents, and often these."""
    return texts.filter(lambda key: "\0" not in key) | some.sampled_from(odd)


def values(keys: SearchStrategy[str]) -> SearchStrategy[Any]:
    """What may stand in a document with such keys, at any depth."""

    def inside(inner: SearchStrategy[Any]) -> SearchStrategy[Sequence[Any] | dict[str, Any]]:
        return some.lists(inner, max_size=4) | some.dictionaries(keys, inner, max_size=4)

    return some.recursive(_plain, inside, max_leaves=20)
