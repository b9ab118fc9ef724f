"""Which client library is there: found, imported only when a connection is opened, and kept quiet.

ib_insync and ib_async are alternatives: both bring a package called ``eventkit`` and overwrite each other's files, so
an environment with both is refused instead of being left to fail in the middle of a day.

Of the library only the codec is used (its ``Client``, which spells requests, and its ``Decoder``), never ``IB`` and its
bookkeeping of orders: that takes every code it does not know for a cancelled order (`ib_async#191`, `ib_async#217`).
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

from exec_core.errors import ConfigurationError

LIBRARIES: Final = ("ib_insync", "ib_async")


@dataclass(frozen=True, slots=True)
class Sdk:
    """A client library, imported: its objects (``Contract``, ``Order``, ...) are in `module`."""

    name: str
    module: ModuleType
    client: Any
    decoder: Any


def installed_library() -> str:
    """The name of the one library that is installed.

    :raises ConfigurationError: there is none, or there are both.
    """
    found = [name for name in LIBRARIES if find_spec(name) is not None]
    if not found:
        raise ConfigurationError("The broker ibkr needs a client library: install ib_insync or ib_async.")
    if len(found) > 1:
        raise ConfigurationError(
            "Both ib_insync and ib_async are installed. They overwrite each other's files (the package eventkit): "
            "make a new environment with one of them."
        )
    return found[0]


async def load() -> Sdk:
    """Import the library that is installed.

    It must happen inside a coroutine: ib_insync's ``eventkit`` asks for the current event loop while it is imported,
    and there is none in a thread, nor after an ``asyncio.run``, nor, without being set, under a loop factory.

    :raises ConfigurationError: there is none, or both are installed, or it is broken.
    """
    name = installed_library()
    loop = asyncio.get_running_loop()
    asyncio.set_event_loop(loop)
    # Most of the time goes into numpy, which does not mind being imported in a thread: the loop stays free.
    pool = ThreadPoolExecutor(1, thread_name_prefix="import-numpy")
    try:
        await loop.run_in_executor(pool, _try_numpy)
    finally:
        pool.shutdown(wait=False)
    try:
        with warnings.catch_warnings():
            # From Python 3.12 on eventkit's way to ask for the loop is deprecated; that is the library's affair.
            warnings.simplefilter("ignore", DeprecationWarning)
            module = import_module(name)
            client = import_module(f"{name}.client").Client
            decoder = import_module(f"{name}.decoder").Decoder
    except (ImportError, RuntimeError, AttributeError) as error:
        raise ConfigurationError(
            f"The client library {name} is installed but cannot be imported ({error}); install it anew."
        ) from error
    hush(name)
    return Sdk(name, module, client, decoder)


def hush(name: str) -> None:
    """Keep the library's loggers quiet below WARNING, unless somebody has set their level.

    At DEBUG and INFO they write whole messages, with account numbers and orders in them, into whatever log the service
    has; what is worth saying about a line is said by `line`, in our words.
    """
    for owner in (name, "eventkit"):
        library = logging.getLogger(owner)
        if library.level == logging.NOTSET:
            library.setLevel(logging.WARNING)


def _try_numpy() -> None:
    if find_spec("numpy") is not None:
        import_module("numpy")
