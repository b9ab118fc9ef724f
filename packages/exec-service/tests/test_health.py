"""What the health endpoint answers, over HTTP, while a real service runs in this process."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from exec_core.errors import ConfigurationError
from exec_service.buses import BusUnavailable
from exec_service.buses.sqlite import SqliteBus
from exec_service.cli.program import Unusable, explained
from exec_service.desk import AccountDesk
from exec_service.health import serve_health
from exec_service.service import Service
from exec_service.stores import StoreUnavailable
from exec_service.stores.sqlite import SqliteStore
from messages import order
from rig import Rig

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    text: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found


@dataclass(frozen=True)
class Client:
    """Asks from a thread: the answer comes from this loop."""

    port: int

    async def ask(self, path: str, method: str = "GET") -> Answer:
        return await asyncio.to_thread(self._ask, path, method)

    async def readyz(self) -> Answer:
        return await self.ask("/readyz")

    def _ask(self, path: str, method: str) -> Answer:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(), dict(response.getheaders()))
        finally:
            connection.close()


@asynccontextmanager
async def health_of(get: Callable[[], Service | None]) -> AsyncIterator[Client]:
    async with serve_health(LOOPBACK, 0, get) as port:
        assert port is not None
        yield Client(port)


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[tuple[Service, Client]]:
    async with rig.service() as service, health_of(lambda: service) as client:
        yield service, client


async def reason(rig: Rig, client: Client, *words: str) -> str:
    """Wait until it is not ready for a reason with these words; the reason."""

    async def given() -> str | None:
        answer = await client.readyz()
        assert answer.body["ready"] is (answer.status == 200)
        assert answer.status in (200, 503)
        assert bool(answer.body["reasons"]) is (answer.status == 503)
        return next((text for text in answer.body["reasons"] if all(word in text for word in words)), None)

    return await rig.until(given, f"a reason with {words}")


async def ready(rig: Rig, client: Client) -> Answer:
    """Wait until it is ready; the answer."""

    async def so() -> Answer | None:
        answer = await client.readyz()
        return answer if answer.status == 200 else None

    return await rig.until(so, "it is ready")


async def test_a_service_that_works_is_live_and_ready(rig: Rig) -> None:
    async with running(rig) as (_, client):
        assert (await client.ask("/healthz")).body == {"status": "ok"}
        answer = await client.readyz()
        assert (answer.status, answer.body) == (200, {"ready": True, "reasons": [], "warnings": [], "info": []})
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "FILLED")
        assert (await client.readyz()).status == 200


async def test_nothing_else_is_served_and_nothing_is_told_of_what_runs_here(rig: Rig) -> None:
    async with running(rig) as (_, client):
        answers = {
            (method, path): await client.ask(path, method)
            for method, path in [
                ("HEAD", "/readyz"),
                ("HEAD", "/healthz"),
                ("POST", "/readyz"),
                ("DELETE", "/healthz"),
                ("OPTIONS", "/readyz"),
                ("GET", "/"),
                ("GET", "/readyz/acc_1"),
                ("GET", "/metrics"),
            ]
        }
        assert [answer.status for answer in answers.values()] == [200, 200, 405, 405, 405, 404, 404, 404]
        assert answers["HEAD", "/readyz"].text == ""
        for answer in answers.values():
            assert "Server" not in answer.headers
            assert "aiohttp" not in answer.text
        assert (await client.readyz()).headers["Cache-Control"] == "no-store"


async def test_a_broker_that_is_away_makes_it_not_ready_until_it_is_back(rig: Rig) -> None:
    rig.redactor.add("hunter2-token")
    async with running(rig) as (_, client):
        rig.faults.script("login", seconds=3, reason="the token hunter2-token has expired")
        found = await reason(rig, client, "Account acc_1 cannot trade", "login needed since", "UTC)")
        assert found.endswith(": the token *** has expired.")
        assert (await client.ask("/healthz")).status == 200
        await ready(rig, client)


async def test_a_session_that_is_lost_is_a_reason_of_its_account_only(rig: Rig) -> None:
    rig.accounts = {name: {"name": name, "broker": "mock"} for name in ("acc_1", "acc_2")}
    async with running(rig) as (_, client):
        rig.faults.script("disconnect", seconds=60, account_id="acc_2")
        await reason(rig, client, "acc_2", "disconnected")
        assert len((await client.readyz()).body["reasons"]) == 1


async def test_an_account_that_cannot_be_taken_up_is_a_reason(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.options["worker_lease_seconds"] = 1
    start = AccountDesk.start

    async def fails(_: AccountDesk) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(AccountDesk, "start", fails)
    async with running(rig) as (_, client):
        await reason(rig, client, "Account acc_1 is not served", "RuntimeError: no room")
        monkeypatch.setattr(AccountDesk, "start", start)
        await ready(rig, client)


async def test_an_account_that_hangs_while_it_is_taken_up_is_a_reason(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exec_service.service.FIRST_CONNECT_SECONDS", 0.1)
    rig.faults.script("disconnect", seconds=0.1)
    entered = asyncio.Event()

    async def hangs(_: AccountDesk) -> None:
        await entered.wait()

    monkeypatch.setattr(AccountDesk, "start", hangs)
    async with running(rig) as (_, client):
        await reason(rig, client, "Account acc_1 is not served", "being taken up")


async def test_an_account_of_another_worker_is_no_reason(rig: Rig) -> None:
    rig.options["worker_id"] = "w1"
    async with running(rig) as (_, first):
        rig.options["worker_id"] = "w2"
        async with running(rig) as (_, second):
            assert (await first.readyz()).body["info"] == []
            answer = await second.readyz()
            assert answer.status == 200
            assert answer.body["info"] == ["Account acc_1 is served by another worker."]


async def test_a_store_that_confirms_no_heartbeat_makes_it_not_ready(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.options["worker_lease_seconds"] = 1

    async def fails(*_: object) -> None:
        raise StoreUnavailable("no primary")

    async with running(rig) as (_, client):
        with monkeypatch.context() as patch:
            patch.setattr(SqliteStore, "renew_lease", fails)
            await reason(rig, client, "The store has confirmed no heartbeat", "nothing is sent")
            assert (await client.ask("/healthz")).status == 200
        await ready(rig, client)


async def test_a_commit_that_waits_for_the_store_makes_it_not_ready(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.options["worker_lease_seconds"] = 1
    commit, full = SqliteStore.commit, asyncio.Event()

    async def fails(*arguments: Any, **named: Any) -> None:
        if full.is_set():
            raise StoreUnavailable("disk full")
        await commit(*arguments, **named)

    monkeypatch.setattr(SqliteStore, "commit", fails)
    async with running(rig) as (_, client):
        full.set()
        await rig.publish(order("sig_1"))
        await reason(rig, client, "A commit has been waiting for the store since")
        full.clear()
        await ready(rig, client)
        await rig.reaches("sig_1", "FILLED")


async def test_messages_that_do_not_become_durable_make_it_not_ready(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.options["worker_lease_seconds"] = 1
    insert, goes_on = SqliteStore.insert, asyncio.Event()

    async def hangs(*arguments: Any) -> set[str]:
        await goes_on.wait()
        return await insert(*arguments)

    async with running(rig) as (_, client):
        monkeypatch.setattr(SqliteStore, "insert", hangs)
        await rig.publish(order("sig_1"), order("sig_2"))  # the second has to wait its turn, and is inserted
        await reason(rig, client, "Messages that were pulled at", "not durable")
        goes_on.set()
        await ready(rig, client)


async def test_a_bus_that_cannot_be_pulled_from_makes_it_not_ready_until_it_answers_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.redactor.add("hunter2-key")

    async def fails(*_: object) -> None:
        raise BusUnavailable("the key hunter2-key is not accepted")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteBus, "pull", fails)
        async with running(rig) as (_, client):
            found = await reason(rig, client, "Taking orders in has been failing since")
            assert found.endswith(": the key *** is not accepted.")
            patch.undo()
            await ready(rig, client)  # there is no message: that the bus answers is enough


async def test_a_pull_that_waits_for_messages_is_ready_however_long(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exec_service.readiness.BUS_SILENCE_SECONDS", 1.0)
    async with running(rig) as (service, client):

        async def has_waited() -> bool:
            answer = await client.readyz()
            assert answer.status == 200, answer.text
            intake = service._intake.status()
            return (service._parts.clock() - intake.since).total_seconds() > 2.5

        await rig.until(has_waited, "one pull has waited for more than twice the bus's patience")


async def test_a_pull_that_hangs_is_not_taken_for_one_that_waits(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exec_service.readiness.BUS_SILENCE_SECONDS", 0.5)

    async def hangs(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(SqliteBus, "pull", hangs)
    async with running(rig) as (_, client):
        await reason(rig, client, "The bus has neither answered the pull nor refused it")


async def test_intake_that_is_held_back_makes_it_not_ready(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exec_service.readiness.HELD_BACK_SECONDS", 0.3)
    monkeypatch.setattr("exec_service.intake.MAX_BACKLOG", 0)
    async with running(rig) as (_, client):
        await reason(rig, client, "Taking orders in is held back since")
        monkeypatch.setattr("exec_service.intake.MAX_BACKLOG", 5_000)
        await ready(rig, client)


async def test_a_notifier_that_fails_for_long_is_a_warning_and_it_stays_ready(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exec_service.readiness.LATE_DELIVERY_SECONDS", 0.3)
    rig.listener.fails = ConnectionError("away")
    async with running(rig) as (_, client):
        await rig.publish(order("sig_1"))

        async def warned() -> list[str]:
            answer = await client.readyz()
            assert answer.status == 200, answer.text
            warnings: list[str] = answer.body["warnings"]
            return warnings

        (warning,) = await rig.until(warned, "a warning")
        assert warning.startswith("Delivery to notifier:listener is late: 1 wait")
        rig.listener.fails = None


async def test_it_answers_while_it_drains(rig: Rig) -> None:
    rig.options["shutdown_timeout_seconds"] = 30
    rig.listener.fails = ConnectionError("away")
    async with running(rig) as (service, client):
        await rig.publish(order("sig_1"))
        await rig.reaches("sig_1", "FILLED")
        service.stop()
        await reason(rig, client, "The service is draining")
        assert (await client.ask("/healthz")).status == 200
        rig.listener.fails = None
        await reason(rig, client, "The service has stopped")
        assert (await client.ask("/healthz")).status == 200


async def test_it_answers_before_there_is_a_service(rig: Rig) -> None:
    async with health_of(lambda: None) as client:
        assert (await client.ask("/healthz")).status == 200
        assert "The service is starting" in await reason(rig, client, "starting")


async def test_it_answers_while_accounts_are_taken_up(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = asyncio.Event()
    taken = Service._take_accounts

    async def slow(service: Service) -> None:
        seen.append(service)
        await goes_on.wait()
        await taken(service)

    seen: list[Service] = []
    monkeypatch.setattr(Service, "_take_accounts", slow)
    async with health_of(lambda: seen[0] if seen else None) as client:

        async def asked() -> None:
            await reason(rig, client, "takes up its accounts")
            assert (await client.ask("/healthz")).status == 200
            goes_on.set()

        asking = asyncio.create_task(asked())
        async with rig.service():
            await asking
            await ready(rig, client)


@pytest.mark.parametrize("name", ["sharing", "intake"])
async def test_a_task_that_ended_without_a_word_makes_it_dead(rig: Rig, name: str) -> None:
    async with running(rig) as (_, client):
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == name]
        task.cancel()  # a group of tasks takes no notice of a member that was cancelled
        await asyncio.wait([task])
        answer = await client.ask("/healthz")
        sentence = f"The task {name} has ended, and the service cannot do without it."
        assert (answer.status, answer.body) == (500, {"status": "failed", "reasons": [sentence]})
        assert sentence in (await client.readyz()).body["reasons"]


async def test_a_port_that_is_taken_is_a_configuration_that_cannot_be_used() -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError) as caught:
            async with serve_health(LOOPBACK, port, lambda: None):
                pass
    told = explained(caught.value)
    assert isinstance(told, Unusable)
    assert told.exit_code == 2
    assert told.message == (
        f"HEALTH_HOST, HEALTH_PORT: 127.0.0.1 port {port} cannot be listened on: address already in use; "
        "stop what listens there, or choose another port"
    )


@pytest.mark.parametrize(("host", "why"), [("no.such.host.invalid", "no such host"), ("192.0.2.1", "assign")])
async def test_a_host_that_is_not_this_one_is_told(host: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        async with serve_health(host, 0, lambda: None):
            pass


async def test_signals_stay_with_the_service() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    async with health_of(lambda: None):
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


async def test_a_client_that_stays_connected_does_not_hold_up_the_end() -> None:
    async with health_of(lambda: None) as client:
        reader, writer = await asyncio.open_connection(LOOPBACK, client.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert (await reader.read()).endswith(b"}")
    writer.close()
    await writer.wait_closed()


def test_without_a_port_aiohttp_is_not_even_imported() -> None:
    program = """
import asyncio, sys
from exec_service import bootstrap, cli, health

async def main():
    async with health.serve_health("127.0.0.1", PORT, lambda: None) as port:
        print((port is not None) == ("aiohttp" in sys.modules), port is not None)

asyncio.run(main())
"""
    for port, expected in (("None", "True False"), ("0", "True True")):
        command = [sys.executable, "-c", program.replace("PORT", port)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.strip() == expected
