"""How long to wait before trying again."""

from __future__ import annotations

from collections.abc import Iterator


def exponential(first: float, longest: float) -> Iterator[float]:
    """Seconds that double from `first` up to `longest`, without end."""
    wait = first
    while True:
        yield min(wait, longest)
        wait = min(wait * 2, longest)
