"""The simulator as a process of its own: what it prints, what it is told, and what outlives kill -9."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = [sys.executable, "-m", "exec_broker_zerodha.simulator"]

TICKER = """
import sys
import urllib.error
import urllib.request
from kiteconnect import KiteTicker
ticker = KiteTicker("simulatedkey", "simulatedtoken", root=sys.argv[1])
def connected(ws, response):
    print("connected", flush=True)
def updated(ws, data):
    print(data["order_id"], data["status"], flush=True)
    if data["status"] == "COMPLETE":
        ws.close()
        ws.stop()
ticker.on_connect, ticker.on_order_update = connected, updated
ticker.connect()
"""


class Running:
    """A process, where it listens, and where its desk is."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        first, second = self.process.stdout.readline(), self.process.stdout.readline()
        assert first.startswith("Kite simulator: listening on http://127.0.0.1:"), first
        self.root = first.split()[-1]
        self.desk = second.split()[-1]

    def tell(self, *words: str) -> Any:
        """As ``tell PORT COMMAND`` does, without the start of a process for each command."""
        asked = urllib.request.Request(f"http://127.0.0.1:{self.desk}/", json.dumps(words).encode())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(asked, timeout=60) as answered:
            return json.load(answered)

    def refusal(self, *words: str) -> str:
        """What the desk says of a command that it does not carry out."""
        with pytest.raises(urllib.error.HTTPError) as refused:
            self.tell(*words)
        with refused.value as answered:
            return answered.read().decode()

    def client(self) -> Any:
        from kiteconnect import KiteConnect

        client = KiteConnect("simulatedkey", "simulatedtoken", root=self.root, timeout=60)
        client.reqsession.trust_env = False
        return client

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(60)


@pytest.fixture
def started() -> Iterator[list[Running]]:
    running: list[Running] = []
    yield running
    for one in running:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


def book_of(path: Path) -> dict[str, list[dict[str, Any]]]:
    done = subprocess.run([*PROGRAM, "book", str(path), "--json"], capture_output=True, text=True, check=True)
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    return found


def place(client: Any, tag: str) -> str:
    order_id: str = client.place_order("regular", "NSE", "SBIN", "BUY", 10, "CNC", "LIMIT", price="860.05", tag=tag)
    return order_id


async def test_every_order_that_was_answered_outlives_a_kill(started: list[Running], tmp_path: Path) -> None:
    path = tmp_path / "book.db"
    running = Running("--book", str(path), "--no-limits", "--partial-fills", "2")
    started.append(running)
    answered: dict[str, str] = {}
    killed = asyncio.Event()

    async def send(name: str) -> None:
        client = running.client()
        number = 0
        try:
            while not killed.is_set():
                number += 1
                tag = f"{name}{number}"
                answered[tag] = await asyncio.to_thread(place, client, tag)
                if len(answered) >= 40:
                    running.process.kill()
                    killed.set()
        except OSError:
            assert killed.is_set()
        finally:
            client.reqsession.close()

    await asyncio.gather(*(send(name) for name in "abcd"))
    assert running.end(signal.SIGKILL) == -signal.SIGKILL
    data = book_of(path)
    held = {row["client_order_id"]: row["broker_order_id"] for row in data["orders"]}
    assert answered.items() <= held.items()
    assert len(held) == len(data["orders"])
    filled = [row for row in data["fills"] if row["client_order_id"] in answered]
    assert len(filled) == 2 * len(answered)

    again = Running("--book", str(path), "--no-limits")
    started.append(again)
    client = again.client()
    rows = await asyncio.to_thread(client.orders)
    assert {row["tag"]: row["order_id"] for row in rows} == held
    assert await asyncio.to_thread(place, client, "new") not in held.values()
    client.reqsession.close()
    assert again.end(signal.SIGTERM) == 0


async def test_an_order_that_waits_outlives_a_kill(started: list[Running], tmp_path: Path) -> None:
    path = tmp_path / "book.db"
    first = Running("--book", str(path), "--fill-after", "3600")
    started.append(first)
    client = first.client()
    order_id = await asyncio.to_thread(place, client, "T")
    client.reqsession.close()
    first.end(signal.SIGKILL)
    assert [row["status"] for row in book_of(path)["orders"]] == ["WORKING"]
    second = Running("--book", str(path))
    started.append(second)
    second.tell("new-day")
    found = second.tell("orders")
    assert [(row["broker_order_id"], row["status"]) for row in found["orders"]] == [(order_id, "EXPIRED")]


def test_the_desk_takes_commands_and_explains_itself(started: list[Running], tmp_path: Path) -> None:
    running = Running("--rest", "--price", "SBIN=861.5", "--user-id", "ZZ9999")
    started.append(running)
    client = running.client()
    assert client.profile()["user_id"] == "ZZ9999"
    assert client.ltp("NSE:SBIN")["NSE:SBIN"]["last_price"] == 861.5
    order_id = place(client, "TAG")
    assert running.tell("fill", "TAG", "4", "860.00")["quantity"] == 4
    assert running.tell("modify", order_id, "quantity=8")["quantity"] == 8
    assert running.tell("hand", "sell", "5", "NSE:INFY")["by_hand"] is True
    running.tell("trouble", "html", "orders", "count=2")
    with pytest.raises(Exception, match="Bad Gateway"):
        client.orders()
    running.tell("no-trouble")
    assert len(client.orders()) == 2
    running.tell("refuse-next", "Too", "much.")
    with pytest.raises(Exception, match=r"^Too much\.$"):
        place(client, "no")
    counted = running.tell("requests", "reset")
    assert counted["requests"] == {"profile": 1, "ltp": 1, "order.place": 2, "orders": 2}
    running.tell("away")
    with pytest.raises(OSError, match="refused"):
        client.orders()
    running.tell("back")
    assert len(client.orders()) == 2
    assert "fill" in running.tell("help")
    for words, sentence in (
        (("fill", "nobody's"), "0 orders have the id or the tag nobody's"),
        (("fill",), "it is called: fill ORDER [QUANTITY] [PRICE]"),
        (("dance",), "there is no command dance"),
        (("modify", order_id, "quantity=2"), "less than the filled quantity"),
        (("price", "SBIN", "much"), "price:"),
    ):
        assert sentence in running.refusal(*words)
    told = subprocess.run([*PROGRAM, "tell", running.desk, "orders"], capture_output=True, text=True, check=True)
    assert len(json.loads(told.stdout)["orders"]) == 2
    told = subprocess.run([*PROGRAM, "tell", running.desk, "fill"], capture_output=True, text=True, check=False)
    assert (told.returncode, "it is called: fill ORDER" in told.stderr) == (1, True)
    client.reqsession.close()
    assert running.end(signal.SIGTERM) == 0
    told = subprocess.run([*PROGRAM, "tell", running.desk, "orders"], capture_output=True, text=True, check=False)
    assert (told.returncode, "no desk answers" in told.stderr) == (1, True)


def test_a_book_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "book.db"
    path.write_text("something else, and long enough to be read as the first page of a file" * 20, encoding="utf-8")
    for arguments in (["--book", str(path)], ["book", str(path)]):
        done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 1
        assert str(tmp_path) in done.stderr


def test_the_ticker_of_the_library_hears_order_updates(started: list[Running]) -> None:
    running = Running("--rest")
    started.append(running)
    listening = subprocess.Popen(
        [sys.executable, "-c", TICKER, running.root.replace("http", "ws")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert listening.stdout is not None
        assert listening.stdout.readline() == "connected\n"
        client = running.client()
        order_id = place(client, "T")
        running.tell("fill", "T", "4")
        assert listening.stdout.readline() == f"{order_id} UPDATE\n"
        running.tell("fill", "T")
        assert listening.stdout.readline() == f"{order_id} COMPLETE\n"
        client.reqsession.close()
    finally:
        listening.kill()
        listening.wait()
        listening.stdout.close()
