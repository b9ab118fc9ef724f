"""`run` starts the service, or says in one sentence what keeps it from starting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import READY, World, order, until


def run(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`exec-service run` to its end, in a directory of its own, without the user's settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "exec_service", "run", *arguments],
        cwd=directory, env={**kept, **variables}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


MOCK = ["--embedded", "--use-mock-broker"]
NOBODY = json.dumps({"a": {"name": "A", "broker": "nobody", "mode": "paper"}})
SOMEBODY = json.dumps({"a": {"name": "A", "broker": "mock"}})


@pytest.mark.parametrize(
    ("arguments", "variables", "sentence"),
    [
        (["--embedded"], {}, "No account is configured"),
        ([], {}, "--embedded"),
        ([*MOCK, "--workers", "65"], {}, "--workers"),
        (["--embedded", "--workers", "2"], {"ACCOUNTS": NOBODY}, "exec-broker-nobody"),
        ([*MOCK, "--workers", "0"], {}, "--workers"),
        (["--embedded"], {"ACCOUNTS": NOBODY}, "exec-broker-nobody"),
        (MOCK, {"MOCK_BROKER_SEED": "x", "ACCOUNTS": SOMEBODY}, "MOCK_BROKER_SEED"),
        (MOCK, {"WORKER_LEASE_SECONDS": "never"}, "WORKER_LEASE_SECONDS"),
        (MOCK, {"LOG_DIR": "/dev/null/logs"}, "LOG_DIR"),
        (["--sideways"], {}, "--sideways"),
    ],
)
def test_wrong_usage_or_configuration_is_exit_code_2_and_starts_nothing(
    arguments: list[str], variables: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    done = run(tmp_path, *arguments, **variables)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count(sentence) == 1, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    done = run(tmp_path, "--embedded", ORDER_TIMEOUT_SECONDS="soon", ACCOUNTS="{", LOG_LEVEL="LOUD")
    for name in ("ORDER_TIMEOUT_SECONDS", "ACCOUNTS", "LOG_LEVEL"):
        assert name in done.stderr


def test_a_data_directory_that_cannot_be_made_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = run(tmp_path, "--embedded", "--use-mock-broker", EXEC_DATA_DIR="file/data")
    assert done.returncode == 1
    assert "file/data" in done.stderr
    assert "Traceback" not in done.stderr


async def test_it_runs_until_sigterm_and_leaves_in_good_order(tmp_path: Path) -> None:
    world = World(tmp_path)
    with world.start() as service:
        await service.ready()
        assert service.stop() == 0
        assert READY in service.console
    assert READY in (tmp_path / "logs" / "execution_service.log").read_text()


async def test_a_worker_id_that_is_in_use_is_refused_naming_who_has_it(tmp_path: Path) -> None:
    world = World(tmp_path, {"WORKER_ID": "w1"})
    with world.start() as service:
        await service.ready()
        second = world.run("run", "--embedded", "--use-mock-broker", check=False)
        assert second.returncode == 1
        assert f"worker w1 is running already: process {service.process.pid}" in second.stderr
        assert "Traceback" not in second.stderr + second.stdout
        assert service.process.poll() is None
        await world.publish(order("sig_1"))
        await world.settled(1)


def test_a_mistake_of_ours_ends_it_with_exit_code_1_and_the_traceback_in_the_log(tmp_path: Path) -> None:
    script = (
        "from exec_service import service\n"
        "async def run(self): raise RuntimeError('a mistake with the password hunter2222')\n"
        "service.Service.run = run\n"
        "from exec_service.cli import main\n"
        "main(['run', '--embedded', '--use-mock-broker'])\n"
    )
    environment = {**os.environ, "MONGODB_URI": "mongodb://u:hunter2222@host/", "EXEC_DATA_DIR": "data"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    assert done.returncode == 1
    assert "The service failed: RuntimeError: a mistake" in done.stderr
    assert "Traceback" not in done.stderr
    log = (tmp_path / "logs" / "execution_service.log").read_text()
    assert "Traceback" in log
    assert "hunter2222" not in log + done.stdout + done.stderr


async def test_the_services_own_submit_reaches_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    (tmp_path / "orders.json").write_text(json.dumps([order("sig_1", price=235.15), order("sig_2", quantity=7)]))
    assert world.run("submit", "orders.json").stdout == "sig_1\nsig_2\n"
    with world.start() as service:
        await service.ready()
        found = await world.settled(2)

        async def alive() -> bool:
            status = json.loads(world.run("status", "--json").stdout)
            (account,) = status["accounts"]
            return account["owner_alive"] and account["availability"] == "READY"

        await until(alive, seconds=60, what="status shows the worker and its account")
    assert {document["status"] for document in found} == {"FILLED"}
