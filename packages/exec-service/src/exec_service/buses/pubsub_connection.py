"""The connection to Pub/Sub: credentials, channels, and Google's async generated clients on them.

``PUBSUB_EMULATOR_HOST`` is honoured as Google's own clients do: an insecure channel, no credentials.

Real Pub/Sub keeps the order of an ordering key only among messages that are published in one region. The global
endpoint used here leads to the nearest region; an execution service that runs in one place, as it should, therefore
publishes to one. Subscribers may be anywhere.
"""

from __future__ import annotations

import asyncio
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import google.auth
import grpc  # type: ignore[import-untyped]
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.pubsub_v1 import PublisherAsyncClient, SubscriberAsyncClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcAsyncIOTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from exec_service.buses import BusError, BusUnavailable
from exec_service.buses.pubsub_errors import LOGIN

EMULATOR_VARIABLE: Final = "PUBSUB_EMULATOR_HOST"
ENDPOINT: Final = "pubsub.googleapis.com"

#: A connection that died without a word is noticed within 30 + 10 s, also while nothing but a pull waits on it (30 s is
#: what Google's own clients use; a server may punish who asks more often). After an outage of any length it is tried
#: again every 5 s at the latest (gRPC's own maximum is two minutes).
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # of gRPC's other pings, during which it sends no keepalive (60 s else)
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_metadata_size", 4 * 1024 * 1024),
)


#: Above the longest time for which Pub/Sub holds a pull that finds nothing (90 s), so that it is the server that ends
#: it: a pull that we end may just have been given messages, and those come back only after their ack deadline.
PULL_TIMEOUT_SECONDS: Final = 100.0
#: The emulator goes on with a pull whose client has cancelled it or died, and gives it messages, which come back only
#: after their ack deadline. But it ends a pull by itself one second before its time-out: so each lasts half a second.
EMULATOR_PULL_TIMEOUT_SECONDS: Final = 1.5
#: Before a pull is cancelled: how long an answer that is already on its way may take.
GRACE_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Connection:
    """Both clients; `place` says where they talk to. Opened by `connect`, lasts until `close`."""

    publisher: PublisherAsyncClient
    subscriber: SubscriberAsyncClient
    place: str
    is_emulator: bool

    @property
    def pull_timeout_seconds(self) -> float:
        """How long to wait for the answer to a pull."""
        return EMULATOR_PULL_TIMEOUT_SECONDS if self.is_emulator else PULL_TIMEOUT_SECONDS

    @property
    def grace_seconds(self) -> float:
        """How long to wait for the end of a pull before cancelling it; at the emulator, until it ends by itself."""
        return EMULATOR_PULL_TIMEOUT_SECONDS if self.is_emulator else GRACE_SECONDS

    @property
    def keeps_order(self) -> bool:
        """Whether subscriptions with message ordering have it. The emulator's deliver last what was given back."""
        return not self.is_emulator

    async def close(self) -> None:
        """Close the channels; calls that are under way are cancelled."""
        await self.publisher.transport.close()  # type: ignore[no-untyped-call]
        await self.subscriber.transport.close()  # type: ignore[no-untyped-call]


def emulator_host() -> str | None:
    """``host:port`` of the emulator to be used instead of Pub/Sub, if any."""
    return os.environ.get(EMULATOR_VARIABLE) or None


async def connect(timeout_seconds: float) -> Connection:
    """The clients. Nothing is sent yet: whether anybody answers shows with the first request.

    :raises BusError: there are no credentials.
    :raises BusUnavailable: they could not be fetched in `timeout_seconds`.
    """
    host = emulator_host()
    if host is not None:
        anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
        return Connection(
            PublisherAsyncClient(
                transport=PublisherGrpcAsyncIOTransport(channel=_insecure(host), credentials=anonymous)
            ),
            SubscriberAsyncClient(
                transport=SubscriberGrpcAsyncIOTransport(channel=_insecure(host), credentials=anonymous)
            ),
            f"the Pub/Sub emulator at {host}",
            is_emulator=True,
        )
    credentials = await find_credentials(timeout_seconds)
    return Connection(
        PublisherAsyncClient(
            transport=PublisherGrpcAsyncIOTransport(
                credentials=credentials,
                always_use_jwt_access=True,
                channel=functools.partial(_secure, PublisherGrpcAsyncIOTransport),
            )
        ),
        SubscriberAsyncClient(
            transport=SubscriberGrpcAsyncIOTransport(
                credentials=credentials,
                always_use_jwt_access=True,
                channel=functools.partial(_secure, SubscriberGrpcAsyncIOTransport),
            )
        ),
        f"Google Cloud Pub/Sub at {ENDPOINT}",
        is_emulator=False,
    )


async def find_credentials(timeout_seconds: float) -> Credentials:
    """Google's application default credentials.

    :raises BusError: there are none, or they cannot be read.
    :raises BusUnavailable: whoever keeps them did not answer in `timeout_seconds`.
    """
    # The only blocking call of this bus: it reads files, and may ask the metadata server of the machine. So it gets a
    # thread of its own, which is left alone if it does not come back.
    executor = ThreadPoolExecutor(1, thread_name_prefix="google-credentials")
    find = functools.partial(google.auth.default, scopes=PublisherGrpcAsyncIOTransport.AUTH_SCOPES)
    try:
        async with asyncio.timeout(timeout_seconds):
            credentials, _ = await asyncio.get_running_loop().run_in_executor(executor, find)
    except TimeoutError as error:
        raise BusUnavailable(f"No Google Cloud credentials were found within {timeout_seconds:g} s") from error
    except TransportError as error:
        raise BusUnavailable(f"Google Cloud credentials could not be fetched: {error}") from error
    except DefaultCredentialsError as error:
        raise BusError(f"There are no Google Cloud credentials for Pub/Sub that could be used; {LOGIN}") from error
    except GoogleAuthError as error:
        raise BusError(f"The Google Cloud credentials cannot be used ({error}); {LOGIN}") from error
    finally:
        executor.shutdown(wait=False)
    return credentials


def _insecure(host: str) -> Any:
    return grpc.aio.insecure_channel(host, options=CHANNEL_OPTIONS)


def _secure(transport: Any, host: str, **arguments: Any) -> Any:
    """The transport's own channel, with all that it does about credentials, but our options."""
    return transport.create_channel(host, **{**arguments, "options": CHANNEL_OPTIONS})
