"""The Pub/Sub of our own, on which the bus is tried out: it keeps Pub/Sub's promises, and breaks them on command."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from bus_suite import SUBSCRIPTIONS, BusSuite, OpenBus
from exec_service.buses import Bus
from exec_service.buses.pubsub import PubSubBus
from pubsub_server import PubSubServer

PROJECT = "project"


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PubSubServer]:
    async with PubSubServer() as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
        yield server


class TestPubSubBusOnTheServer(BusSuite):
    @pytest.fixture
    def open_bus(self, server: PubSubServer) -> OpenBus:
        @asynccontextmanager
        async def opened(consumer: str = "consumer", *, short: bool = False) -> AsyncIterator[Bus]:
            for name, topic in SUBSCRIPTIONS.items():
                server.add_topic(PROJECT, topic)
                server.add_subscription(PROJECT, name, topic, ack_deadline_seconds=1 if short else 600)
            async with PubSubBus(PROJECT) as bus:
                yield bus

        return opened
