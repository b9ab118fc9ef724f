"""Fixtures: a real MongoDB and a real Pub/Sub emulator, for every test directory (the root ``conftest.py`` loads them).

One of each per pytest run, shared by all xdist workers: the first test that needs it starts it, the run ends it, and
`keeper` ends it if the run was killed. MONGODB_URI and PUBSUB_EMULATOR_HOST, where given, are used instead. Tests whose
server cannot be had are skipped, and the summary says why; with EXEC_TESTS_REQUIRE_SERVERS=1 they fail.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import pytest
from emulator import Emulator, delete_project, is_emulator
from keeper import Kept, ProcessId
from mongod import Mongod, Standalone, check_replica_set, drop_database
from server import CannotBeHad, Server

if TYPE_CHECKING:
    from harness import Real

REQUIRE = "EXEC_TESTS_REQUIRE_SERVERS"
MONGODB, EMULATOR = "MongoDB", "Pub-Sub emulator"
T = TypeVar("T")


@dataclass(frozen=True)
class MongoDatabase:
    """A database of the test's own: nothing is in it yet."""

    uri: str
    database: str


@dataclass(frozen=True)
class Run:
    """A pytest run: the process that ends last, and where its workers find what they share."""

    controller: ProcessId
    directory: Path

    def address(self, name: str, obtain: Callable[[], tuple[str, Kept | None]]) -> str:
        """Where the run's server is; the first who asks obtains it.

        :raises CannotBeHad: it could not be had; nobody tries a second time.
        """
        self.directory.mkdir(mode=0o700, exist_ok=True)
        with _locked(self.directory / f"{name}.lock"):
            state = self._state(name)
            if not state.exists():
                state.write_text(json.dumps(self._obtained(obtain)))
            found = json.loads(state.read_text())
        if found["reason"] is not None:
            raise CannotBeHad(found["reason"])
        return str(found["address"])

    def _obtained(self, obtain: Callable[[], tuple[str, Kept | None]]) -> dict[str, Any]:
        try:
            address, kept = obtain()
        except CannotBeHad as error:
            return {"address": None, "kept": None, "reason": str(error)}
        return {"address": address, "kept": None if kept is None else asdict(kept), "reason": None}

    def reasons(self) -> dict[str, str]:
        """The servers that could not be had, and why."""
        states = {name: self._state(name) for name in (MONGODB, EMULATOR)}
        found = {name: json.loads(state.read_text())["reason"] for name, state in states.items() if state.exists()}
        return {name: reason for name, reason in found.items() if reason is not None}

    def end(self) -> None:
        """End what was started."""
        for state in self.directory.glob("*.json"):
            kept = json.loads(state.read_text())["kept"]
            if kept is not None:
                Kept(ProcessId(**kept["keeper"]), ProcessId(**kept["server"])).end()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _state(self, name: str) -> Path:
        return self.directory / f"{name}.json"


RUN = pytest.StashKey[Run]()


def pytest_configure(config: pytest.Config) -> None:
    """Know the run: a worker is told by its controller."""
    told = getattr(config, "workerinput", None)
    if told is None:
        directory = Path(tempfile.gettempdir(), f"exec-servers-{uuid.uuid4().hex}")  # made when it is needed
        config.stash[RUN] = Run(ProcessId.of(os.getpid()), directory)
    else:
        config.stash[RUN] = Run(ProcessId(*told["run_controller"]), Path(told["run_directory"]))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker which run it belongs to."""
    run = node.config.stash[RUN]
    node.workerinput["run_controller"] = (run.controller.pid, run.controller.started)
    node.workerinput["run_directory"] = str(run.directory)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The controller goes last, and ends the servers."""
    if not hasattr(config, "workerinput") and RUN in config.stash:
        config.stash[RUN].end()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say loudly what was not tested."""
    for name, reason in config.stash[RUN].reasons().items():
        terminalreporter.write_line(f"NOT TESTED ON A REAL {name.upper()}: {reason}", red=True, bold=True)


@pytest.fixture(scope="session")
def mongodb_uri(pytestconfig: pytest.Config) -> str:
    """The run's replica set."""
    run = pytestconfig.stash[RUN]

    def obtain() -> tuple[str, Kept | None]:
        given = os.environ.get("MONGODB_URI")
        if given:
            check_replica_set(given)
            return given, None
        mongod = Mongod(run.directory / "mongod", run.controller, removed_with_owner=run.directory).start()
        return mongod.uri, mongod.kept

    return _had(MONGODB, lambda: run.address(MONGODB, obtain))


@pytest.fixture
def mongodb(mongodb_uri: str) -> Iterator[MongoDatabase]:
    """A database of the test's own on it, dropped afterwards."""
    made = MongoDatabase(mongodb_uri, f"exec_test_{uuid.uuid4().hex[:16]}")
    yield made
    drop_database(made.uri, made.database)


@pytest.fixture(scope="session")
def pubsub_emulator(pytestconfig: pytest.Config) -> str:
    """The run's emulator, as "host:port"."""
    run = pytestconfig.stash[RUN]

    def obtain() -> tuple[str, Kept | None]:
        given = os.environ.get("PUBSUB_EMULATOR_HOST")
        if given:
            if not is_emulator(given):
                raise CannotBeHad(f"PUBSUB_EMULATOR_HOST: nothing that is an emulator answers at {given}")
            return given, None
        emulator = Emulator(run.directory / "emulator", run.controller, removed_with_owner=run.directory).start()
        return emulator.host, emulator.kept

    return _had(EMULATOR, lambda: run.address(EMULATOR, obtain))


@pytest.fixture
def pubsub_project(pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A project of the test's own on it; PUBSUB_EMULATOR_HOST says where, as Google's clients expect."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_emulator)
    project = f"exec-test-{uuid.uuid4().hex[:16]}"
    yield project
    delete_project(pubsub_emulator, project)


@pytest.fixture
def real(mongodb: MongoDatabase, pubsub_emulator: str, pubsub_project: str) -> Real:
    """Both, for a `harness.World`."""
    from harness import Real

    return Real(mongodb.uri, mongodb.database, pubsub_emulator, pubsub_project)


@pytest.fixture
def own_mongod(tmp_path: Path) -> Iterator[Mongod]:
    """A replica set that only this test has, to hurt."""
    directory = tmp_path / "own-mongod"
    mongod = Mongod(directory, ProcessId.of(os.getpid()), removed_with_owner=directory)
    with _until_killed(mongod):
        _had(MONGODB, mongod.start)
        yield mongod


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[str]:
    """The address of a MongoDB that is no replica set."""
    directory = tmp_path / "standalone"
    mongod = Standalone(directory, ProcessId.of(os.getpid()), removed_with_owner=directory)
    with _until_killed(mongod):
        _had(MONGODB, mongod.start)
        yield f"mongodb://127.0.0.1:{mongod.port}/"


@pytest.fixture
def own_emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An emulator that only this test has, to hurt; PUBSUB_EMULATOR_HOST names it."""
    directory = tmp_path / "own-emulator"
    emulator = Emulator(directory, ProcessId.of(os.getpid()), removed_with_owner=directory)
    with _until_killed(emulator):
        _had(EMULATOR, emulator.start)
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", emulator.host)
        yield emulator


@contextlib.contextmanager
def _until_killed(server: Server) -> Iterator[None]:
    try:
        yield
    finally:
        server.kill()
        shutil.rmtree(server.directory, ignore_errors=True)


def _had(name: str, obtain: Callable[[], T]) -> T:
    try:
        return obtain()
    except CannotBeHad as error:
        _give_up(f"no {name}: {error}")


def _give_up(reason: str) -> NoReturn:
    if os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{reason} ({REQUIRE}=1)", pytrace=False)
    pytest.skip(reason)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among the workers. Whoever holds it starts a server, within a time of its own; a dead holder lets go."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
