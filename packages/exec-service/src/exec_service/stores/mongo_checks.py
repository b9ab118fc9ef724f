"""What ``exec-service doctor`` says about MongoDB. It writes to scratch documents of its own, and removes them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final

from bson import Binary
from exec_core.clock import utc_now
from pydantic import SecretStr
from pymongo.errors import PyMongoError

from exec_service.checks import Check, Outcome
from exec_service.stores import INDEXES, StoreError, StoreUnavailable
from exec_service.stores.mongo_codec import OPTIONS
from exec_service.stores.mongo_connection import MAJORITY, Connection
from exec_service.stores.mongo_errors import lacks_privilege
from exec_service.stores.mongo_indexes import missing
from exec_service.stores.mongo_schema import META, SCHEMA_VERSION, version
from exec_service.stores.mongo_transactions import SNAPSHOT

COMPONENT: Final = "mongodb"
TIMEOUT_SECONDS: Final = 5.0
WARN_CLOCK_SECONDS: Final = 1.0
FAIL_CLOCK_SECONDS: Final = 10.0

SETUP: Final = "run `exec-service setup`, or start the service"
ROLE: Final = "give the user of MONGODB_URI the role readWrite on the database"


async def examine(uri: SecretStr, database: str) -> list[Check]:
    """Server, writing, transactions, indexes, schema, clock and privileges; raises nothing."""
    try:
        connection = Connection(uri, database, TIMEOUT_SECONDS)
        await connection.open()
    except StoreUnavailable as error:
        fix = "see that mongod is up, is a replica set with a primary, and can be reached from here"
        return [Check(COMPONENT, "connection", Outcome.FAILED, str(error), fix)]
    except StoreError as error:
        return [Check(COMPONENT, "connection", Outcome.FAILED, str(error), "correct the server, or MONGODB_URI")]
    except Exception as error:  # noqa: BLE001  # the other components are still to be examined
        return [_broken("connection", error)]
    try:
        return await _Examination(connection).run()
    finally:
        await connection.close()


class _Examination:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._checks = [Check(COMPONENT, "connection", Outcome.OK, f"{connection.where} answers")]

    async def run(self) -> list[Check]:
        steps: dict[str, Callable[[], Awaitable[None]]] = {
            "replica set": self._replica_set,
            "clock": self._clock,
            "majority writes": self._majority_write,
            "transactions": self._transactions,
            "change streams": self._change_streams,
            "killSessions": self._kill_sessions,
            "schema": self._schema_and_indexes,
        }
        for name, step in steps.items():
            try:
                await step()
            except StoreError as error:
                lacking = isinstance(error.__cause__, PyMongoError) and lacks_privilege(error.__cause__)
                self._note(name, Outcome.FAILED, str(error), ROLE if lacking else "see the log of mongod")
            except Exception as error:  # noqa: BLE001  # the next things are still to be looked at
                self._checks.append(_broken(name, error))
        return self._checks

    async def _replica_set(self) -> None:
        with self._connection.bounded("tell what it is"):
            hello = await self._command("hello")
            server = await self._command("buildInfo")
        if hello.get("msg") == "isdbgrid":
            self._note("replica set", Outcome.OK, f"a sharded cluster, MongoDB {server['version']}")
            return
        text = f"{hello['setName']} of {len(hello.get('hosts', ()))}, primary {hello.get('primary')}"
        self._note("replica set", Outcome.OK, f"{text}, MongoDB {server['version']}")

    async def _clock(self) -> None:
        with self._connection.bounded("tell its time"):
            before = utc_now()
            hello = await self._command("hello")
            after = utc_now()
        self._checks.append(clock_check(hello["localTime"], before, after))

    async def _majority_write(self) -> None:
        async with self._scratch() as (key, doing):
            with self._connection.bounded(doing):
                done = await self._connection.collection(META).insert_one({"_id": key, "scratch": True})
        outcome = Outcome.OK if done.acknowledged else Outcome.FAILED
        self._note("majority writes", outcome, "a write to most members' journals was acknowledged")

    async def _transactions(self) -> None:
        async with self._scratch() as (key, _):
            with self._connection.bounded("commit a transaction"):
                session = self._connection.client.start_session()
                async with session, await session.start_transaction(SNAPSHOT, MAJORITY):
                    scratch = self._connection.collection(META)
                    await scratch.insert_one({"_id": key, "scratch": True}, session=session)
        self._note("transactions", Outcome.OK, "a transaction was committed")

    async def _change_streams(self) -> None:
        try:
            with self._connection.bounded("open a change stream"):
                stream = await self._connection.database.watch([{"$match": {"ns.coll": META}}])
                await stream.close()
        except StoreError as error:
            text = f"{error}; without it the service looks for changes of others once a second"
            self._note("change streams", Outcome.WARNING, text, ROLE)
        else:
            self._note("change streams", Outcome.OK, "can be opened")

    async def _kill_sessions(self) -> None:
        nobody = {"id": Binary(uuid.uuid4().bytes, 4)}
        try:
            with self._connection.bounded("end sessions"):
                await self._connection.client.admin.command({"killSessions": [nobody]})
        except StoreError as error:
            text = f"{error}; without it the locks of a killed worker last for a minute or two"
            self._note("killSessions", Outcome.WARNING, text, "let the user of MONGODB_URI end its own sessions")
        else:
            self._note("killSessions", Outcome.OK, "sessions of a killed worker can be ended")

    async def _schema_and_indexes(self) -> None:
        found = await version(self._connection)
        if found is None:
            text = f"no service has prepared the database {self._connection.name} yet; the first start does"
            self._note("schema", Outcome.WARNING, text, SETUP)
            return
        if found > SCHEMA_VERSION:
            text = f"version {found}, written by a newer release; this one knows versions up to {SCHEMA_VERSION}"
            self._note("schema", Outcome.FAILED, text, "install that release again")
        elif found < SCHEMA_VERSION:
            text = f"version {found}; the next start brings it to {SCHEMA_VERSION}"
            self._note("schema", Outcome.WARNING, text, SETUP)
        else:
            self._note("schema", Outcome.OK, f"version {found}")
        await self._indexes()

    async def _indexes(self) -> None:
        lacking = [(name, index) for name in INDEXES for index in await missing(self._connection, name)]
        if not lacking:
            self._note("indexes", Outcome.OK, "all there, as they should be")
            return
        names = ", ".join(f"{name}.{index.name}" for name, index in lacking)
        # Without the others it is slow; without these an order could be there twice.
        outcome = Outcome.FAILED if any(index.options.get("unique") for _, index in lacking) else Outcome.WARNING
        self._note("indexes", outcome, f"missing, or other than they should be: {names}", SETUP)

    @contextlib.asynccontextmanager
    async def _scratch(self) -> AsyncIterator[tuple[str, str]]:
        key = f"doctor-{uuid.uuid4()}"
        try:
            yield key, "write to most members' journals"
        finally:
            with contextlib.suppress(PyMongoError, StoreError), self._connection.bounded("remove a scratch document"):
                await self._connection.collection(META).delete_one({"_id": key})

    async def _command(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = await self._connection.client.admin.command(name, codec_options=OPTIONS)
        return found

    def _note(self, name: str, outcome: Outcome, detail: str, fix: str | None = None) -> None:
        self._checks.append(Check(COMPONENT, name, outcome, detail, fix))


def clock_check(theirs: datetime, before: datetime, after: datetime) -> Check:
    """The database's time beside ours, of which it lies somewhere between `before` and `after`.

    Ages of orders are told by this machine's clock, leases by the database's: only the first suffers.
    """
    nothing = timedelta(0)
    off = max(before - theirs, nothing) or max(theirs - after, nothing)
    seconds = off.total_seconds()
    direction = "behind" if theirs > after else "ahead of"
    if seconds <= WARN_CLOCK_SECONDS:
        return Check(COMPONENT, "clock", Outcome.OK, "this machine's and the database's agree within a second")
    outcome = Outcome.FAILED if seconds > FAIL_CLOCK_SECONDS else Outcome.WARNING
    text = f"this machine's clock is {seconds:.1f} s {direction} the database's"
    return Check(COMPONENT, "clock", outcome, text, "synchronise the clocks of both machines (NTP)")


def _broken(name: str, error: Exception) -> Check:
    text = f"the examination failed ({type(error).__name__})"
    return Check(COMPONENT, name, Outcome.FAILED, text, "run `exec-service doctor` again")
