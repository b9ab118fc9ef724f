"""Sockets that the MongoDB driver leaves to the garbage collector.

A client that is closed while its server is away cancels its monitor, and that may be connecting just then: the driver
does not close such a socket. Tests that take the server away let go of it themselves; else the warning would come
in the middle of whichever test runs when the collector does.
"""

from __future__ import annotations

import gc
import warnings


def let_go() -> None:
    """Collect them, without the warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="unclosed <socket", category=ResourceWarning)
        gc.collect()
