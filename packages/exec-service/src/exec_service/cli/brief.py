"""For commands that end in a moment: Python looks for cycles among its objects seldom meanwhile.

By itself it looks after every few hundred new objects, and importing the libraries makes a hundred thousand that all
stay: the search costs as much as a fifth of the whole command, and finds nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: Every so many new objects it is looked for cycles all the same: a long list needs no more memory than before.
NEW_OBJECTS: Final = 200_000


@contextmanager
def brief() -> Iterator[None]:
    """Look for cycles seldom for as long as this is entered; also a decorator, the one next to the function."""
    before = gc.get_threshold()
    gc.set_threshold(NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
