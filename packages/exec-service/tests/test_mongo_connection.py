"""Connecting to MongoDB: what is refused, what is waited for, and that no text ever holds the password."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import driver_sockets
import pytest
from exec_service.stores import ORDERS, StoreError, StoreNotPrepared, StoreUnavailable, mongo_connection
from exec_service.stores.mongo import MongoStore
from exec_service.stores.mongo_checks import examine
from exec_service.stores.mongo_connection import POOL_SIZE, hosts
from impatience import grow_impatient
from keeper import ProcessId
from mongod import Mongod
from pydantic import SecretStr
from pymongo import AsyncMongoClient, MongoClient, monitoring
from pymongo.errors import ConfigurationError, OperationFailure
from real_servers import MongoDatabase
from server import CannotBeHad, free_port
from store_samples import PATIENCE_SECONDS, new, order, tell


@pytest.fixture(autouse=True)
def _driver_sockets() -> Iterator[None]:
    yield
    driver_sockets.let_go()


class Standalone(Mongod):
    """A mongod that is no replica set, or not yet."""

    replica_set = False

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/"

    def command(self) -> Sequence[str]:
        found = list(super().command())
        if not self.replica_set:
            place = found.index("--replSet")
            del found[place : place + 2]
        return found

    def answers(self) -> bool:
        with MongoClient[dict[str, Any]](self.uri, directConnection=True, serverSelectionTimeoutMS=1000) as client:
            try:
                client.admin.command("ping")
            except Exception:
                return False
        return True


class NotInitiated(Standalone):
    replica_set = True


PASSWORD = "hunter2/?:@ secret"
ENCODED = "hunter2%2F%3F%3A%40%20secret"


class Guarded(Mongod):
    """A replica set that asks for a password."""

    def command(self) -> Sequence[str]:
        key = self.directory / "key"
        if not key.exists():
            key.write_text(secrets.token_hex(64))
            key.chmod(0o600)
        return [*super().command(), "--keyFile", str(key), "--auth"]

    def answers(self) -> bool:
        try:
            return super().answers()
        except CannotBeHad as error:
            cause = error.__cause__
            if isinstance(cause, OperationFailure) and cause.code == 13:
                return True
            raise

    def as_user(self, user: str, password: str = ENCODED) -> SecretStr:
        return SecretStr(f"mongodb://{user}:{password}@127.0.0.1:{self.port}/?replicaSet=rs0&authSource=admin")


def started(server: Mongod) -> Iterator[Any]:
    try:
        try:
            server.start()
        except CannotBeHad as error:
            pytest.skip(str(error))
        yield server
    finally:
        server.kill()
        shutil.rmtree(server.directory, ignore_errors=True)


@pytest.fixture
def standalone(mongodb_uri: str, tmp_path: Path) -> Iterator[Standalone]:
    yield from started(
        Standalone(tmp_path / "mongod", ProcessId.of(os.getpid()), removed_with_owner=tmp_path / "mongod")
    )


@pytest.fixture
def not_initiated(mongodb_uri: str, tmp_path: Path) -> Iterator[NotInitiated]:
    yield from started(
        NotInitiated(tmp_path / "mongod", ProcessId.of(os.getpid()), removed_with_owner=tmp_path / "mongod")
    )


@pytest.fixture
def guarded(mongodb_uri: str, tmp_path: Path) -> Iterator[Guarded]:
    """With users: writer, reader, and stranger, who may do nothing."""
    for server in started(
        Guarded(tmp_path / "mongod", ProcessId.of(os.getpid()), removed_with_owner=tmp_path / "mongod")
    ):
        with MongoClient[dict[str, Any]](server.uri) as client:
            roles: dict[str, list[Any]] = {
                "writer": [{"role": "readWrite", "db": "exec_test"}],
                "reader": [{"role": "read", "db": "exec_test"}],
                "stranger": [],
            }
            client.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
            with MongoClient[dict[str, Any]](server.as_user("root").get_secret_value()) as root:
                for user, granted in roles.items():
                    root.admin.command("createUser", user, pwd=PASSWORD, roles=granted)
        yield server


async def refused(uri: str | SecretStr, database: str = "exec_test", **options: Any) -> StoreError:
    """The error with which the store does not open."""
    secret = SecretStr(uri) if isinstance(uri, str) else uri
    with pytest.raises(StoreError) as caught:
        await MongoStore(secret, database, **options).__aenter__()
    return caught.value


def everything_told(error: BaseException) -> str:
    """All that a log could hold of an error: its text, its causes, and their insides."""
    told = "".join(traceback.format_exception(error))
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            told += f"{found} {found!r} {found.args!r} {vars(found)!r}"
            waiting += [found.__cause__, found.__context__]
    return told


# ---------------------------------------------------------------------- servers that cannot be used


@pytest.mark.parametrize("options", ["", "?replicaSet=rs0", "?directConnection=true"])
async def test_a_standalone_server_is_refused_at_once_with_the_fix(standalone: Standalone, options: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        error = await refused(standalone.uri + options, timeout_seconds=60)

    assert not isinstance(error, StoreUnavailable)
    for words in ("replica set", "a single node will do", "--replSet", "rs.initiate()", f"127.0.0.1:{standalone.port}"):
        assert words in str(error)


@pytest.mark.parametrize("options", ["", "?replicaSet=rs0", "?directConnection=true"])
async def test_a_replica_set_that_is_not_initiated_says_so_and_may_yet_become_one(
    not_initiated: NotInitiated, options: str
) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        error = await refused(not_initiated.uri + options, timeout_seconds=60)

    assert isinstance(error, StoreUnavailable)
    assert "rs.initiate()" in str(error)
    Mongod.answers(not_initiated)  # initiates it
    await asyncio.to_thread(not_initiated.wait_until_primary)
    async with MongoStore(SecretStr(not_initiated.uri), "exec_test"):
        pass


async def test_a_server_that_is_away_is_unavailable_and_named() -> None:
    port = free_port()
    error = await refused(f"mongodb://user:{ENCODED}@127.0.0.1:{port}/?replicaSet=rs0", timeout_seconds=0.5)

    assert isinstance(error, StoreUnavailable)
    assert f"127.0.0.1:{port}" in str(error)
    assert len(str(error)) < 400


async def test_a_primary_that_has_stepped_down_is_waited_for(own_mongod: Mongod) -> None:
    await asyncio.to_thread(own_mongod.step_down, 2)

    async with MongoStore(SecretStr(own_mongod.uri), "exec_test", timeout_seconds=PATIENCE_SECONDS) as store:
        await store.commit([new(ORDERS, order("A"))])


async def test_a_version_without_the_indexes_we_need_is_refused(
    mongodb: MongoDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exec_service.stores.mongo_connection.OLDEST_WIRE_VERSION", 99)

    error = await refused(mongodb.uri, mongodb.database)

    assert not isinstance(error, StoreUnavailable)
    assert "older than 6.0" in str(error)


async def test_opening_only_to_look_makes_nothing(mongodb: MongoDatabase) -> None:
    error = await refused(mongodb.uri, mongodb.database, prepare=False)
    with MongoClient[dict[str, Any]](mongodb.uri) as client:
        assert mongodb.database not in client.list_database_names()

    assert isinstance(error, StoreNotPrepared)
    assert mongodb.database in str(error)
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as store:
        await store.commit([new(ORDERS, order("A"))])
        async with MongoStore(SecretStr(mongodb.uri), mongodb.database, prepare=False) as looking:
            assert len(await looking.load(ORDERS)) == 1


@pytest.mark.parametrize("prepare", [True, False])
async def test_who_only_looks_opens_one_socket(
    prepare: bool, mongodb: MongoDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database) as store:
        await store.commit([new(ORDERS, order("A"))])
    opened = Sockets()
    monkeypatch.setattr(mongo_connection, "AsyncMongoClient", opened.client)
    async with MongoStore(SecretStr(mongodb.uri), mongodb.database, prepare=prepare) as store:
        assert len(await store.load(ORDERS)) == 1
    # How many are opened ahead depends on how soon the first of them is free again.
    assert 1 < opened.count <= POOL_SIZE if prepare else opened.count == 1


class Sockets(monitoring.ConnectionPoolListener):
    """Counts the sockets that the driver opens for questions."""

    def __init__(self) -> None:
        self.count = 0

    def client(self, *arguments: Any, event_listeners: Sequence[Any], **options: Any) -> AsyncMongoClient[Any]:
        return AsyncMongoClient(*arguments, event_listeners=[*event_listeners, self], **options)

    def connection_created(self, event: monitoring.ConnectionCreatedEvent) -> None:
        self.count += 1

    def _nothing(self, event: object) -> None:
        pass

    pool_created = pool_ready = pool_cleared = pool_closed = connection_ready = connection_closed = _nothing
    connection_check_out_started = connection_check_out_failed = _nothing
    connection_checked_out = connection_checked_in = _nothing


async def test_the_hosts_own_concerns_do_not_weaken_ours(mongodb: MongoDatabase) -> None:
    weak = f"{mongodb.uri}&w=0&journal=false&readPreference=secondary&readConcernLevel=local&retryWrites=false"
    async with MongoStore(SecretStr(weak), mongodb.database) as store:
        for number in range(3):
            await store.commit([new(ORDERS, order(f"{number}"))])
            assert await store.insert(ORDERS, [order(f"{number}")]) == {f"{number}"}
            assert len(await store.load(ORDERS)) == number + 1


# ---------------------------------------------------------------------- users


async def test_a_wrong_password_is_refused_at_once_and_not_told(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with asyncio.timeout(PATIENCE_SECONDS):
        error = await refused(guarded.as_user("writer", "wrong-password"), timeout_seconds=60)

    assert not isinstance(error, StoreUnavailable)
    assert "MONGODB_URI" in str(error)
    assert "wrong-password" not in everything_told(error)
    assert "wrong-password" not in caplog.text


async def test_who_may_read_and_write_needs_no_more(guarded: Guarded, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    uri = guarded.as_user("writer")
    async with MongoStore(uri, "exec_test") as store, MongoStore(uri, "exec_test") as other:
        lease = await store.take_lease("w", 30)
        waiting = asyncio.create_task(other.wait_for_change(PATIENCE_SECONDS))
        await store.commit([new(ORDERS, order("A"))], lease=lease)
        assert await waiting
        await other.fence("w")
        await tell(store, [], "S", lambda _: {"a": 1})

        checks = await examine(uri, "exec_test")

    assert {(check.name, check.outcome) for check in checks if check.outcome != "OK"} == set()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert PASSWORD not in caplog.text
    assert ENCODED not in caplog.text


async def test_who_may_only_read_can_look_but_not_write(guarded: Guarded) -> None:
    async with MongoStore(guarded.as_user("writer"), "exec_test") as store:
        await store.commit([new(ORDERS, order("A"))])
    async with MongoStore(guarded.as_user("reader"), "exec_test", prepare=False) as reader:
        assert len(await reader.load(ORDERS)) == 1
        assert await reader.workers() == []
        for call in (reader.commit([new(ORDERS, order("B"))]), reader.insert(ORDERS, [order("B")])):
            with pytest.raises(StoreError, match="readWrite") as caught:
                await call
            assert not isinstance(caught.value, StoreUnavailable)
            assert PASSWORD not in everything_told(caught.value)
    error = await refused(guarded.as_user("stranger"))
    assert not isinstance(error, StoreUnavailable)
    assert "privilege" in str(error)

    checks = {check.name: check for check in await examine(guarded.as_user("reader"), "exec_test")}
    assert checks["majority writes"].outcome == "FAILED"
    assert "readWrite" in (checks["majority writes"].fix or "")
    assert checks["schema"].outcome == "OK"


# ---------------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "user:hunter2secret@host",
        "postgres://user:hunter2secret@host",
        "mongodb://",
        "mongodb://user:hunter2secret@",
        "mongodb://user:hunter2@secret@host/",
        "mongodb://user:hunter2/secret@host/",
        "mongodb://user:1234/secret@host/",
        "mongodb://user:hunter2?secret@host/",
        "mongodb://user:hunter2secret@host:hunter2secret/",
        "mongodb://user:hunter2%secret@host/",
        "mongodb://user:hunter2secret@host/?authMechanism=hunter2secret",
        "mongodb://user:hunter2secret@host/?authMechanismProperties=secret",
        "mongodb://user:hunter2secret@host/a b?tls=maybe",
    ],
)
async def test_a_uri_that_cannot_be_used_is_explained_and_never_told(uri: str) -> None:
    with pytest.raises(StoreError, match="MONGODB_URI cannot be used") as caught:
        await MongoStore(SecretStr(uri), "exec_test", timeout_seconds=0.5).__aenter__()

    assert not isinstance(caught.value, StoreUnavailable)
    told = everything_told(caught.value)
    for secret in ("hunter2", "secret@", "1234", "=secret"):
        assert secret not in told
    for check in await examine(SecretStr(uri), "exec_test"):
        assert check.outcome == "FAILED"
        assert check.fix
        assert "hunter2" not in f"{check}"


async def test_what_the_driver_says_of_a_uri_is_never_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Today its texts hold no password; nothing promises that they never will."""

    def refuse(uri: str, **_: Any) -> None:
        raise ConfigurationError(f"cannot make anything of {uri}")

    monkeypatch.setattr("exec_service.stores.mongo_connection.AsyncMongoClient", refuse)
    error = await refused("mongodb://user:hunter2secret@host/")

    assert "MONGODB_URI cannot be used" in str(error)
    assert "hunter2" not in everything_told(error)


async def test_a_database_name_that_cannot_be_one_is_named(mongodb_uri: str) -> None:
    error = await refused(mongodb_uri, "no such.name")

    assert "MONGODB_DATABASE" in str(error)


def test_what_a_store_says_of_itself_names_the_hosts_only() -> None:
    store = MongoStore(SecretStr(f"mongodb://user:{ENCODED}@a.example:1,b.example:2/?replicaSet=rs0"), "exec_test")

    assert "a.example:1,b.example:2" in repr(store)
    for secret in ("user", "hunter2", "secret"):
        assert secret not in repr(store)


def test_hosts_of_a_uri() -> None:
    assert hosts(SecretStr("mongodb+srv://u:p@cluster.example/?a=b@c")) == "cluster.example"
    assert hosts(SecretStr("mongodb://host?appName=x")) == "host"


async def test_errors_while_working_do_not_tell_the_password(guarded: Guarded) -> None:
    async with MongoStore(guarded.as_user("writer"), "exec_test") as store:
        lease = await store.take_lease("w", 30)
        grow_impatient(store, 0.5)
        guarded.kill()
        for call in (
            store.load(ORDERS),
            store.commit([new(ORDERS, order("A"))]),
            store.renew_lease(lease),
            tell(store, [], "S", lambda _: {}),
        ):
            with pytest.raises(StoreUnavailable) as caught:
                await call
            told = everything_told(caught.value)
            assert PASSWORD not in told
            assert ENCODED not in told
