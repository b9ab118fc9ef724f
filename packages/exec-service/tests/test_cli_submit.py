"""`submit` puts orders on the bus exactly as they were written, whether or not a service runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from exec_service.buses import BusUnavailable, Outgoing
from exec_service.buses.sqlite import SqliteBus
from exec_service.cli import main
from exec_service.cli import submit as submit_command
from exec_service.settings import Settings

FIRST = '{"signal_id": "sig_1", "symbol": "SPY", "quantity": 100.10}'
SECOND = '{"signal_id": "sig_2", "symbol": "QQQ", "quantity": 1e2}'


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ours = ("EXEC_DATA_DIR", "EXEC_CONFIG", "TRADING_ORDERS_TOPIC", "TRADING_ORDERS_SUBSCRIPTION", "ACCOUNTS")
    for name in (*ours, "MONGODB_URI"):
        monkeypatch.delenv(name, raising=False)


def submit(*arguments: str, given: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["submit", *arguments], input=given)


def waiting(count: int) -> list[tuple[str, bytes]]:
    """The messages that a service would get now."""

    async def pull() -> list[tuple[str, bytes]]:
        bus = SqliteBus(Path("exec-data"), "test", {"trading-orders-sub": "trading-orders"})
        async with bus, asyncio.timeout(60):
            return [(item.message_id, item.data) for item in await bus.pull("trading-orders-sub", count + 1)]

    return asyncio.run(pull())


def test_the_messages_wait_for_a_service_exactly_as_they_were_written() -> None:
    Path("one.json").write_text(FIRST)
    Path("two.jsonl").write_text(f"{SECOND}\n")
    result = submit("one.json", "two.jsonl")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "sig_1\nsig_2\n", "")
    assert [data for _, data in waiting(2)] == [FIRST.encode(), SECOND.encode()]


def test_with_json_the_message_ids_are_told_and_nothing_else() -> None:
    result = submit("--json", "-", given=f"[{FIRST}, {SECOND}]".encode())
    rows = json.loads(result.stdout)
    assert [row["signal_id"] for row in rows] == ["sig_1", "sig_2"]
    assert [row["message_id"] for row in rows] == [message_id for message_id, _ in waiting(2)]


def test_one_bad_file_stops_all_of_them() -> None:
    Path("good.json").write_text(FIRST)
    Path("bad.jsonl").write_text(f"{SECOND}\n{{oops}}\n")
    result = submit("good.json", "bad.jsonl")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "bad.jsonl, line 2" in result.stderr
    assert "Nothing was published" in result.stderr
    assert not Path("exec-data").exists()


def test_raw_sends_the_bytes_of_a_file_whatever_they_are() -> None:
    Path("bad").write_bytes(b"\xff{not json")
    result = submit("--raw", "bad")
    assert (result.exit_code, result.stdout) == (0, "-\n")
    assert [data for _, data in waiting(1)] == [b"\xff{not json"]


def test_an_object_without_a_signal_id_is_published_and_the_user_is_warned() -> None:
    result = submit("-", given=b'{"symbol": "SPY"}')
    assert (result.exit_code, result.stdout) == (0, "-\n")
    assert "dead letter" in result.stderr
    assert len(waiting(1)) == 1


def test_an_empty_array_publishes_nothing() -> None:
    assert submit("--json", "-", given=b"[]").stdout == "[]\n"
    assert not Path("exec-data").exists()


def test_a_file_that_is_missing_is_wrong_usage() -> None:
    result = submit("missing.json")
    assert result.exit_code == 2
    assert "missing.json" in result.stderr


def test_settings_that_cannot_be_used_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDER_TIMEOUT_SECONDS", "soon")
    result = submit("-", given=FIRST.encode())
    assert result.exit_code == 2
    assert "ORDER_TIMEOUT_SECONDS" in result.stderr
    assert "Traceback" not in result.stderr


class Topic:
    """A bus that remembers its publish calls, and takes `good` of them."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[bytes]]] = []
        self.good = 1_000_000
        self.opened: list[tuple[bool, bool]] = []

    def make(self, settings: Settings, *, consume: bool = True) -> Topic:
        self.opened.append((settings.embedded, consume))
        return self

    async def __aenter__(self) -> Topic:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held."""

    async def publish(self, topic: str, messages: Sequence[Outgoing]) -> list[str]:
        (key,) = {message.ordering_key for message in messages}
        if len(self.calls) == self.good:
            raise BusUnavailable("Pub/Sub does not answer")
        self.calls.append((key, [message.data for message in messages]))
        return [f"m-{key}-{message.data.decode()}" for message in messages]


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topic:
    """In the place of Pub/Sub, which MONGODB_URI asks for."""
    made = Topic()
    monkeypatch.setattr("exec_service.bootstrap.make_bus", made.make)
    monkeypatch.setenv("MONGODB_URI", "mongodb://localhost/")
    return made


def orders(*accounts: str | None) -> tuple[list[str], bytes]:
    """Orders for these accounts, one after the other: each one's text, and their file."""
    texts = [
        json.dumps({"signal_id": f"sig_{number}", **({"account_id": account} if account else {})})
        for number, account in enumerate(accounts)
    ]
    return texts, "\n".join(texts).encode()


def test_on_pubsub_orders_of_one_account_keep_their_order_under_its_key(topic: Topic) -> None:
    texts, data = orders("a", "b", "a", None, "b")
    result = submit("--json", "-", given=data)
    assert topic.opened == [(False, False)], "Pub/Sub, and only to publish"
    assert [(key, [item.decode() for item in items]) for key, items in topic.calls] == [
        ("a", [texts[0], texts[2]]), ("b", [texts[1], texts[4]]), ("", [texts[3]]),
    ]  # fmt: skip
    keys = ["a", "b", "a", "", "b"]
    assert json.loads(result.stdout) == [
        {"signal_id": f"sig_{number}", "message_id": f"m-{keys[number]}-{texts[number]}"} for number in range(5)
    ]


def test_the_other_dialects_account_is_a_key_too(topic: Topic) -> None:
    submit("-", given=b'{"signal_id": "sig_1", "account": "Main"}{"signal_id": "sig_2", "account": 5}')
    assert [key for key, _ in topic.calls] == ["Main", ""]


def test_what_one_request_cannot_carry_goes_in_several(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, data = orders(*["a"] * 5)
    monkeypatch.setattr(submit_module(), "MOST_MESSAGES", 2)
    assert submit("-", given=data).exit_code == 0
    assert [len(items) for _, items in topic.calls] == [2, 2, 1]
    topic.calls.clear()
    monkeypatch.setattr(submit_module(), "MOST_MESSAGES", 1000)
    monkeypatch.setattr(submit_module(), "MOST_BYTES", len(texts[0]) * 3)
    assert submit("-", given=data).exit_code == 0
    assert [len(items) for _, items in topic.calls] == [3, 2]


def submit_module() -> object:
    """The module; its name is the command's, too."""
    import sys

    assert submit_command.name == "submit"
    return sys.modules["exec_service.cli.submit"]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_is_published_is_told_when_the_rest_fails(options: list[str], topic: Topic) -> None:
    _, data = orders("a", "b", "a", "c")
    topic.good = 1
    result = submit(*options, "-", given=data)
    assert result.exit_code == 1
    listed = [row["signal_id"] for row in json.loads(result.stdout)] if options else result.stdout.split()
    assert listed == ["sig_0", "sig_2"]
    assert "2 of 4 orders are published for certain" in result.stderr
    assert "Pub/Sub does not answer" in result.stderr
    assert "Submitting the same files again is safe" in result.stderr


def test_the_embedded_bus_takes_all_or_none_at_once(topic: Topic) -> None:
    texts, data = orders("a", "b", "a")
    assert submit("--embedded", "-", given=data).exit_code == 0
    assert topic.opened[0][0]
    assert topic.calls == [("", [text.encode() for text in texts])]
