"""The connection to MongoDB: opened to the replica set, refused where transactions are not to be had.

Everything is written with majority and journal, and read with majority from the primary, whatever the URI says of that.
Every call has a time limit. No text of this module, and none of its errors, holds the URI or the password.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from typing import Any, Final

import pymongo
from pydantic import SecretStr
from pymongo import AsyncMongoClient, ReadPreference, monitoring
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConfigurationError, InvalidName, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from exec_service.redaction import Redactor
from exec_service.stores import StoreError, StoreMisconfigured, StoreUnavailable
from exec_service.stores.mongo_codec import RAW
from exec_service.stores.mongo_errors import is_refusal_of_user, text_of, translate

MAJORITY: Final = WriteConcern("majority", j=True)
READ_MAJORITY: Final = ReadConcern("majority")
#: MongoDB 6.0; what it speaks is told by number.
OLDEST_WIRE_VERSION: Final = 17
#: Opened ahead, by as many questions at once: tasks starve when there are more of them than connections. The driver's
#: own way (minPoolSize) goes on in the background, and drops a socket when it is left in the middle of it.
POOL_SIZE: Final = 8
LARGEST_POOL: Final = 64
#: How long a server that cannot be used as it is may take to become one.
GRACE_SECONDS: Final = 1.0

STANDALONE: Final = (
    "is a standalone server, which has no transactions: MongoDB must run as a replica set, and a single node will do. "
    "Start mongod with --replSet rs0, and run rs.initiate() once in mongosh"
)
NOT_INITIATED: Final = (
    "was started with --replSet, but its replica set is not initiated yet: run rs.initiate() once in mongosh"
)
_URI: Final = re.compile(r"mongodb(\+srv)?://", re.IGNORECASE)


class Connection:
    """A client of one database. `where` names the hosts, and nothing that is secret."""

    def __init__(self, uri: SecretStr, database: str, timeout_seconds: float) -> None:
        self._uri = uri
        self.name = database
        self.timeout_seconds = timeout_seconds
        self.where = hosts(uri)
        self._redactor = Redactor([uri])
        self._client: AsyncMongoClient[Any] | None = None

    def __repr__(self) -> str:
        return f"<MongoDB database {self.name} at {self.where}>"

    @property
    def client(self) -> AsyncMongoClient[Any]:
        """The driver's client. :raises StoreUnavailable: the store is not open."""
        if self._client is None:
            raise StoreUnavailable("the store is not open")
        return self._client

    @property
    def database(self) -> AsyncDatabase[Any]:
        """The database, with the concerns that everything needs. :raises StoreUnavailable: the store is not open."""
        return self.client.get_database(self.name, RAW, ReadPreference.PRIMARY, MAJORITY, READ_MAJORITY)

    def collection(self, name: str) -> AsyncCollection[Any]:
        """A collection; its documents come as bytes."""
        return self.database[name]

    async def open(self, sockets: int = POOL_SIZE) -> None:
        """Connect, with so many `sockets` ahead.

        :raises StoreUnavailable: nothing that takes writes answers in time.
        :raises StoreError: what answers cannot be used, or refuses us.
        """
        troubles = _Troubles()
        client = self._make_client(troubles)
        try:
            await self._meet(client, troubles, sockets)
        except BaseException:
            await client.close()
            raise
        self._client = client

    async def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @contextlib.contextmanager
    def bounded(self, doing: str, seconds: float | None = None) -> Iterator[None]:
        """A time limit for the calls inside, and our errors for theirs; `doing` says what they do."""
        try:
            with pymongo.timeout(self.timeout_seconds if seconds is None else seconds):
                yield
        except PyMongoError as error:
            raise self.translated(error, doing) from error

    def translated(self, error: PyMongoError, doing: str) -> StoreError | ValueError:
        """The store's error for the driver's."""
        found = translate(error, doing)
        return type(found)(self._redactor.redact(str(found)))

    def _make_client(self, listener: monitoring.ServerListener) -> AsyncMongoClient[Any]:
        try:
            client: AsyncMongoClient[Any] = AsyncMongoClient(
                self._uri.get_secret_value(),
                appname="exec-service",
                event_listeners=[listener],
                maxConnecting=POOL_SIZE,
                maxPoolSize=LARGEST_POOL,
                serverSelectionTimeoutMS=int(self.timeout_seconds * 1000),
                connectTimeoutMS=int(self.timeout_seconds * 1000),
                readPreference="primary",
                retryWrites=True,
                retryReads=True,
            )
            client.get_database(self.name)
        except InvalidName:
            problem = f"MONGODB_DATABASE: {self.name!r} is no name that a database can have"
        except Exception as error:  # noqa: BLE001  # whatever it says may hold the password: only its kind is told
            problem = unusable_uri(f"the driver refuses it ({type(error).__name__})")
        else:
            return client
        raise StoreMisconfigured(problem)  # outside of `except`: no exception that knows the URI hangs on to it

    async def _meet(self, client: AsyncMongoClient[Any], troubles: _Troubles, sockets: int) -> None:
        """Wait for a primary, unless every server that answers is of a kind that will never be one."""
        asked = asyncio.ensure_future(self._hello(client, sockets))
        hopeless = asyncio.ensure_future(troubles.found.wait())
        try:
            await asyncio.wait({asked, hopeless}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done():
                await asyncio.wait({asked}, timeout=GRACE_SECONDS)
            hello = asked.result() if asked.done() else {}
        except PyMongoError as error:
            self._raise_if_hopeless(troubles)
            if is_refusal_of_user(error):
                raise StoreError(
                    f"MongoDB at {self.where} refuses the user or the password of MONGODB_URI: correct it there; "
                    "characters such as @ : / ? must be percent-encoded"
                ) from error
            if isinstance(error, ConfigurationError):
                text = f"MongoDB at {self.where} cannot be found: {text_of(error)}"
            else:
                text = f"MongoDB at {self.where} cannot be reached: {text_of(error)}"
            raise StoreUnavailable(self._redactor.redact(text)) from error
        finally:
            for task in (asked, hopeless):
                task.cancel()
            await asyncio.gather(asked, hopeless, return_exceptions=True)
        if not hello:
            self._raise_if_hopeless(troubles)
            raise StoreUnavailable(f"MongoDB at {self.where} has no primary")
        if hello.get("isreplicaset"):
            raise StoreUnavailable(f"MongoDB at {self.where} {NOT_INITIATED}")
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            raise StoreError(f"MongoDB at {self.where} {STANDALONE}")
        if hello["maxWireVersion"] < OLDEST_WIRE_VERSION:
            raise StoreError(f"MongoDB at {self.where} is older than 6.0, which the service needs: upgrade it")

    async def _hello(self, client: AsyncMongoClient[Any], sockets: int) -> dict[str, Any]:
        with pymongo.timeout(self.timeout_seconds):
            found: dict[str, Any] = await client.admin.command("hello")
            # The first that is more than a greeting: it is here that a wrong password shows.
            await asyncio.gather(*(client.admin.command("ping") for _ in range(sockets)))
        return found

    def _raise_if_hopeless(self, troubles: _Troubles) -> None:
        if "Standalone" in troubles.kinds():
            raise StoreError(f"MongoDB at {self.where} {STANDALONE}")
        if "RSGhost" in troubles.kinds():
            # Also a member that is just starting looks like that: waiting may help.
            raise StoreUnavailable(f"MongoDB at {self.where} {NOT_INITIATED}")


class _Troubles(monitoring.ServerListener):
    """Watches what kinds of servers answer, and notes when all that do can never be a primary."""

    def __init__(self) -> None:
        self.found = asyncio.Event()
        self._kinds: dict[Any, str] = {}

    def kinds(self) -> set[str]:
        """Of the servers that answered."""
        return set(self._kinds.values())

    def opened(self, event: monitoring.ServerOpeningEvent) -> None:
        """Nothing is known of it yet."""

    def closed(self, event: monitoring.ServerClosedEvent) -> None:
        """The driver drops a standalone server if a replica set was asked for: what it was, is known."""

    def description_changed(self, event: monitoring.ServerDescriptionChangedEvent) -> None:
        """A server has answered, or ceased to."""
        kind = event.new_description.server_type_name
        if kind != "Unknown":
            self._kinds[event.server_address] = kind
        if self._kinds and self.kinds() <= {"Standalone", "RSGhost"}:
            self.found.set()
        else:
            self.found.clear()


def hosts(uri: SecretStr) -> str:
    """The hosts in the URI. :raises StoreError: it is none that could be used; the text does not hold it."""
    text = uri.get_secret_value()
    scheme = _URI.match(text)
    if scheme is None:
        raise StoreMisconfigured(unusable_uri("it does not begin with mongodb:// or mongodb+srv://"))
    authority = re.split(r"[/?]", text[scheme.end() :], maxsplit=1)[0]
    if "@" not in authority and "@" in text:
        raise StoreMisconfigured(unusable_uri("its user or password holds a / or a ? that is not percent-encoded"))
    found = authority.rpartition("@")[2]
    if not found:
        raise StoreMisconfigured(unusable_uri("it names no host"))
    return found


def unusable_uri(why: str) -> str:
    """The sentence about a URI that cannot be used."""
    return (
        f"MONGODB_URI cannot be used: {why}. It looks like mongodb://user:password@host:27017/?replicaSet=rs0, "
        "with characters such as @ : / ? in user and password percent-encoded"
    )
