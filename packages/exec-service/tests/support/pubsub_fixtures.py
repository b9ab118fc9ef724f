"""Our own Pub/Sub server and a bus on it; test modules take these fixtures in with `pytest_plugins`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from exec_service.buses import Bus
from exec_service.buses.pubsub import PubSubBus
from exec_service.buses.pubsub_connection import GRACE_SECONDS, PULL_TIMEOUT_SECONDS, Connection
from pubsub_server import PubSubServer
from pubsub_trying import PROJECT, SUB, TOPIC


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PubSubServer]:
    """Our own server, with a topic and a subscription."""
    async with PubSubServer() as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
        server.add_topic(PROJECT, TOPIC)
        server.add_subscription(PROJECT, SUB, TOPIC, ack_deadline_seconds=600)
        yield server


@pytest.fixture
def long_pulls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pulls as they are towards Google: towards an emulator they are short, and end by themselves."""
    monkeypatch.setattr(Connection, "pull_timeout_seconds", PULL_TIMEOUT_SECONDS)
    monkeypatch.setattr(Connection, "grace_seconds", GRACE_SECONDS)


@pytest.fixture
async def bus(server: PubSubServer) -> AsyncIterator[Bus]:
    """A bus on it."""
    async with PubSubBus(PROJECT) as bus:
        yield bus
