"""Entering the Pub/Sub bus: what it refuses to start with, and what it says; connections, credentials, imports."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import google.auth
import grpc
import pytest
from exec_service.buses import BusError, BusUnavailable
from exec_service.buses import pubsub_connection as connection
from exec_service.buses.pubsub import PubSubBus
from exec_service.buses.pubsub_errors import subscription_target, told
from google.api_core import exceptions as api
from google.auth import exceptions as auth
from google.auth.credentials import AnonymousCredentials
from grpc import StatusCode
from pubsub_faults import Fail, Stall
from pubsub_server import PubSubServer

PROJECT, TOPIC, SUB = "project", "orders", "orders-sub"
PATIENCE_SECONDS = 60.0


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PubSubServer]:
    async with PubSubServer() as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
        server.add_topic(PROJECT, TOPIC)
        server.add_topic(PROJECT, "confirmations")
        yield server


def bus(**options: Any) -> PubSubBus:
    return PubSubBus(PROJECT, topics=[TOPIC, "confirmations"], subscriptions={SUB: TOPIC}, **options)


async def soon(awaitable: Awaitable[Any]) -> Any:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await awaitable


async def entered(bus: PubSubBus) -> None:
    async with bus:
        pass


# ---------------------------------------------------------------------- what it looks at


@pytest.mark.parametrize("ack_deadline", [10, 20, 60])
async def test_what_setup_makes_is_accepted_without_a_word(
    server: PubSubServer, caplog: pytest.LogCaptureFixture, ack_deadline: int
) -> None:
    server.add_subscription(PROJECT, SUB, TOPIC, ack_deadline_seconds=ack_deadline)
    await soon(entered(bus()))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ack_deadline_seconds": 61}, rf"{SUB} has an ack deadline of 61 s.*exec-service setup.*--ack-deadline=20"),
        (
            {"dead_letter_policy": {"dead_letter_topic": "projects/project/topics/dead"}},
            f"{SUB} has a dead-letter policy.*exec-service setup.*--clear-dead-letter-policy",
        ),
        ({"topic": "confirmations"}, f"{SUB} belongs to .*/confirmations, not to .*/{TOPIC};"),
        ({"topic": "_deleted-topic_"}, f"topic of the subscription {SUB} was deleted; .*exec-service setup"),
        ({"detached": True}, f"{SUB} was detached .*exec-service setup"),
        ({"push_config": {"push_endpoint": "https://example.com"}}, f"{SUB} pushes .*modify-push-config"),
        ({"bigquery_config": {"table": "p.d.t"}}, f"{SUB} exports"),
    ],
)
async def test_a_subscription_that_would_lose_or_hold_up_orders_is_refused(
    server: PubSubServer, settings: dict[str, Any], words: str
) -> None:
    server.add_subscription(PROJECT, SUB, **{"topic": TOPIC, **settings})

    with pytest.raises(BusError, match=words) as caught:
        await soon(entered(bus()))

    assert type(caught.value) is BusError


async def test_everything_that_is_missing_is_named_at_once(server: PubSubServer) -> None:
    server.forget()
    with pytest.raises(BusError) as caught:
        await soon(entered(bus()))

    assert type(caught.value) is BusError
    for name in (f"topic {TOPIC}", "topic confirmations", f"subscription {SUB}"):
        assert f"the {name} of the project {PROJECT}: it does not exist" in str(caught.value)
    assert str(caught.value).count("run `exec-service setup`") == 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"enable_message_ordering": False}, "does not keep the order of messages"),
        ({"filter": 'attributes.x = "y"'}, "drops every message that its filter does not match"),
        ({"expiration_policy": {"ttl": {"seconds": 86_400}}}, "deleted by Pub/Sub after 1 days without use"),
        ({"message_retention_duration": {"seconds": 600}}, "keeps messages for 0.1"),
    ],
)
async def test_what_is_merely_unwise_is_warned_of(
    server: PubSubServer, caplog: pytest.LogCaptureFixture, settings: dict[str, Any], words: str
) -> None:
    server.add_subscription(PROJECT, SUB, TOPIC, **settings)
    await soon(entered(bus()))

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert words in record.getMessage()
    assert SUB in record.getMessage()


async def test_who_may_not_look_is_told_the_role_and_goes_on(
    server: PubSubServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.add_subscription(PROJECT, SUB, TOPIC)
    server.script("GetTopic", Fail(StatusCode.PERMISSION_DENIED), Fail(StatusCode.PERMISSION_DENIED))
    server.script("GetSubscription", *[Fail(StatusCode.PERMISSION_DENIED)] * 2)

    async with bus() as entered:
        server.published(PROJECT, TOPIC, b"1")
        assert len(await soon(entered.pull(SUB, 1))) == 1

    assert caplog.text.count("roles/pubsub.viewer") == 3


@pytest.mark.parametrize("fault", [Fail(StatusCode.UNAVAILABLE), Stall()])
async def test_a_server_that_is_away_is_unavailable(server: PubSubServer, fault: Any) -> None:
    server.script("GetTopic", fault)
    with pytest.raises(BusUnavailable):
        await soon(entered(bus(timeout_seconds=0.3)))


async def test_a_server_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    async with PubSubServer() as server:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
    with pytest.raises(BusUnavailable, match=f"looking at the topic {TOPIC} of the project {PROJECT}"):
        await soon(entered(bus()))


# ---------------------------------------------------------------------- the connection


@asynccontextmanager
async def wire(host: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A way to `host` that swallows everything once the event is set, without closing anything."""
    dead = asyncio.Event()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if not dead.is_set():
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if dead.is_set():
            writer.close()
            return
        name, _, port = host.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(name, int(port))
        try:
            await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        except ConnectionError:
            pass
        finally:
            far_writer.close()
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}", dead
    finally:
        listening.close()


async def test_a_connection_that_dies_without_a_word_is_noticed_while_a_pull_waits(
    server: PubSubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dict(connection.CHANNEL_OPTIONS)
    assert options["grpc.keepalive_time_ms"] + options["grpc.keepalive_timeout_ms"] <= 40_000
    assert options["grpc.http2.ping_timeout_ms"] <= options["grpc.keepalive_timeout_ms"]
    options |= {name: 300 for name in options if name.startswith("grpc.keepalive_") or "ping_timeout" in name}
    monkeypatch.setattr(connection, "CHANNEL_OPTIONS", tuple(options.items()))
    monkeypatch.setattr(connection.Connection, "pull_timeout_seconds", connection.PULL_TIMEOUT_SECONDS)
    monkeypatch.setattr(connection.Connection, "grace_seconds", connection.GRACE_SECONDS)
    server.add_subscription(PROJECT, SUB, TOPIC)
    async with wire(server.host) as (host, dead):
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host)
        async with bus() as entered:
            pulling = asyncio.create_task(entered.pull(SUB, 1))
            await soon(server.arrived("Pull"))
            dead.set()
            with pytest.raises(BusUnavailable):
                await soon(pulling)


async def test_a_pull_is_told_of_a_dropped_connection_and_the_next_one_connects_again(server: PubSubServer) -> None:
    server.add_subscription(PROJECT, SUB, TOPIC)
    server.script("Pull", Stall())
    async with bus() as entered:
        pulling = asyncio.create_task(entered.pull(SUB, 1))
        await soon(server.arrived("Pull"))
        await server.restart()
        with pytest.raises(BusUnavailable):
            await soon(pulling)
        server.published(PROJECT, TOPIC, b"1")
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                try:
                    assert len(await entered.pull(SUB, 1)) == 1
                    break
                except BusUnavailable:
                    await asyncio.sleep(0.05)


# ---------------------------------------------------------------------- credentials


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (auth.DefaultCredentialsError("none found"), BusError, "no Google Cloud credentials .*gcloud auth"),
        (auth.RefreshError("broken"), BusError, "cannot be used .broken.*gcloud auth"),
        (auth.TransportError("metadata server away"), BusUnavailable, "metadata server away"),
    ],
)
async def test_without_credentials_it_says_how_to_get_some(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[BusError], words: str
) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)

    def none_there(**_: Any) -> None:
        raise error

    monkeypatch.setattr(google.auth, "default", none_there)
    with pytest.raises(BusError, match=words) as caught:
        await soon(entered(bus()))

    assert type(caught.value) is kind


async def test_credentials_that_do_not_come_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    come = threading.Event()

    def hangs(**_: Any) -> tuple[AnonymousCredentials, None]:
        come.wait(PATIENCE_SECONDS)
        return AnonymousCredentials(), None

    monkeypatch.setattr(google.auth, "default", hangs)
    try:
        with pytest.raises(BusUnavailable, match=r"within 0\.1 s"):
            await soon(entered(bus(timeout_seconds=0.1)))
    finally:
        come.set()


async def test_without_an_emulator_the_channel_is_secure_has_the_credentials_and_our_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    credentials = AnonymousCredentials()
    monkeypatch.setattr(google.auth, "default", lambda **_: (credentials, None))
    made: list[tuple[str, dict[str, Any]]] = []
    real = grpc.aio.secure_channel

    def secure_channel(target: str, channel_credentials: Any, **rest: Any) -> Any:
        made.append((target, rest))
        assert isinstance(channel_credentials, grpc.ChannelCredentials)
        return real(target, channel_credentials, **rest)

    monkeypatch.setattr(grpc.aio, "secure_channel", secure_channel)
    opened = await connection.connect(5.0)
    await opened.close()

    assert [target for target, _ in made] == ["pubsub.googleapis.com:443"] * 2
    assert all(tuple(rest["options"]) == connection.CHANNEL_OPTIONS for _, rest in made)
    assert opened.publisher.transport._credentials is credentials
    assert opened.keeps_order
    assert opened.pull_timeout_seconds > 90  # above the longest long poll of Pub/Sub


def test_credentials_that_stop_working_are_told_apart_from_a_network_that_does() -> None:
    failed = "Getting metadata from plugin failed with error: "

    def raised(details: str) -> BusError:
        with pytest.raises(BusError) as caught, told("pulling from", subscription_target(PROJECT, SUB)):
            raise api.ServiceUnavailable(failed + details)
        assert isinstance(caught.value.__cause__, api.ServiceUnavailable)
        return caught.value

    revoked = raised("('invalid_grant: Token has been revoked', {'error': 'invalid_grant'})")
    assert type(revoked) is BusError
    assert "gcloud auth application-default login" in str(revoked)
    assert type(raised("HTTPSConnectionPool(host='oauth2.googleapis.com'): Max retries exceeded")) is BusUnavailable


# ---------------------------------------------------------------------- imports


def test_it_imports_only_googles_generated_clients_and_without_a_warning() -> None:
    program = (
        "import sys, exec_service.buses.pubsub, exec_service.buses.pubsub_setup, exec_service.buses.pubsub_checks\n"
        "print(sorted(name for name in ('google.cloud.pubsub', 'google.cloud.pubsub_v1', 'exec_service.service') "
        "if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=Path(__file__).parent,
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
