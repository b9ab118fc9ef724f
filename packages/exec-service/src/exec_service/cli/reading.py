"""Opening the store to look at it: which one it is, and that looking creates nothing and takes no lease."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from exec_service.cli.program import Failed

if TYPE_CHECKING:
    from exec_service.settings import Settings
    from exec_service.stores import Document, Store

#: A host as a MongoDB URI has it: a name or an address, with or without a port; a socket's path is escaped.
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._%-]+)(:\d{1,5})?")


def chosen_settings(embedded: bool) -> Settings:
    """The settings of the store and the bus that a command is to use.

    Those of MONGODB_URI where it is set, whatever the source, and `embedded` was not asked for; else the embedded ones.

    :raises ConfigurationError: a setting is wrong.
    """
    from exec_service.settings import load_settings

    settings = load_settings(embedded=True)
    if embedded or settings.mongodb_uri is None:
        return settings
    return settings.model_copy(update={"embedded": False})


def place(settings: Settings) -> dict[str, Any]:
    """Where the store is, without a secret: `data_dir` of the embedded one, else `database`; the other is None."""
    if settings.embedded or settings.mongodb_uri is None:
        return {"data_dir": str(settings.exec_data_dir.resolve()), "database": None}
    hosts = database_hosts(settings.mongodb_uri.get_secret_value())
    return {"data_dir": None, "database": {"name": settings.mongodb_database, "hosts": hosts}}


def database_hosts(uri: str) -> list[str]:
    """The hosts that a MongoDB URI names; none where it cannot be told for sure which part of it is the password."""
    rest = uri.partition("://")[2]
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    if "@" in rest[len(authority) :]:
        return []  # a password with a slash in it, unescaped: what looks like a host may be half of it
    hosts = authority.rpartition("@")[2].split(",")
    return [unquote(host) for host in hosts if _HOST.fullmatch(host)]


@asynccontextmanager
async def existing_store(settings: Settings) -> AsyncIterator[Store]:
    """The store that a service has made. :raises Failed: there is none."""
    from exec_service.bootstrap import make_store, store_exists
    from exec_service.cli.warned import warnings_without_secrets
    from exec_service.redaction import Redactor

    if not store_exists(settings):
        raise Failed(
            f"There is no store in {settings.exec_data_dir.resolve()} yet: start `exec-service run --embedded`, "
            "or set EXEC_DATA_DIR to the directory that the service uses, or MONGODB_URI to its database."
        )
    redactor = Redactor()
    redactor.add_settings(settings)
    with warnings_without_secrets(redactor):
        async with make_store(settings, prepare=False) as store:
            yield store


async def orders_of(store: Store, signal_id: str, leg: int | None = None) -> list[Document]:
    """The signal's orders, by leg. :raises Failed: there are none."""
    from exec_service.stores import ORDERS

    found = await store.load(ORDERS, {"signal_id": signal_id})
    if not found:
        raise Failed(f"There is no order with the signal_id {signal_id}.")
    if leg is None:
        return sorted(found, key=leg_of)
    chosen = [document for document in found if leg_of(document) == leg]
    if not chosen:
        legs = ", ".join(str(leg_of(document)) for document in sorted(found, key=leg_of))
        raise Failed(f"{signal_id} has no leg {leg}; there are: {legs}.")
    return chosen


def leg_of(document: Document) -> int:
    """The order's leg."""
    return int(document["leg_index"])
