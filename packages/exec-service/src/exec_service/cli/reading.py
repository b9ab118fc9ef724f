"""Opening the store to look at it: looking creates nothing, and takes no lease."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from exec_service.cli.program import Failed

if TYPE_CHECKING:
    from exec_service.settings import Settings
    from exec_service.stores import Document, Store


def embedded_settings() -> Settings:
    """The settings of the embedded store and bus, the only ones in this release."""
    from exec_service.settings import load_settings

    return load_settings(embedded=True)


@asynccontextmanager
async def existing_store(settings: Settings) -> AsyncIterator[Store]:
    """The store that a service has made. :raises Failed: there is none."""
    from exec_service.bootstrap import make_store, store_exists

    if not store_exists(settings):
        raise Failed(
            f"There is no store in {settings.exec_data_dir.resolve()} yet: start `exec-service run --embedded`, "
            "or set EXEC_DATA_DIR to the directory that the service uses."
        )
    async with make_store(settings) as store:
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
