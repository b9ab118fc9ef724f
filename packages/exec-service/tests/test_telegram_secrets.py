"""P7 at Telegram: the token, which is in every URL, is in no log, no exception, no repr."""

from __future__ import annotations

import io
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from exec_core import Notification, NotificationDelayed, NotificationRefused
from exec_service.logs import configure
from exec_service.notifiers import telegram, telegram_client
from exec_service.notifiers.telegram_settings import TelegramSettings
from exec_service.redaction import Redactor
from pydantic import SecretStr
from telegram_server import CHAT_ID, TOKEN, Answer, TelegramServer

HELLO = Notification("id-1", "Hello")
SECRET = TOKEN.partition(":")[2]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TelegramServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with TelegramServer() as running:
        yield running


def notifier_at(root: str) -> telegram.TelegramNotifier:
    settings = TelegramSettings(enabled=True, bot_token=SecretStr(TOKEN), chat_id=CHAT_ID, api_root=root)
    return telegram.TelegramNotifier(settings)


def everything_in(error: BaseException) -> Iterator[str]:
    """All that a log or a person could be shown of an exception, and of what it remembers."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        yield f"{one} {one!r} {one.args!r} {vars(one)!r}"
        yield "".join(traceback.format_exception(one))
        waiting += [one.__cause__, one.__context__]


ANSWERS = {
    "fails": TelegramServer.fails(),
    "hangs": TelegramServer.hangs(),
    "hangs up": TelegramServer.hangs_up(),
    "redirects": TelegramServer.redirects(f"/bot{TOKEN}/elsewhere"),
    "refuses": TelegramServer.refuses(),
    "too many": TelegramServer.too_many(1),
    "unknown bot": TelegramServer.refuses("Unauthorized", 401),
    "nonsense": Answer(200, b"nonsense"),
    "bad encoding": Answer(200, b"nonsense", {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_no_exception_and_no_log_record_holds_it(
    server: TelegramServer, answer: Answer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telegram_client, "READ_SECONDS", 0.1)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "urllib3")
    server.misbehave(answer)
    async with notifier_at(server.root) as notifier:
        with pytest.raises(Exception) as caught:  # whatever it is: the secret is what counts
            await notifier.send(HELLO)
        await notifier.send(HELLO)
        assert SECRET not in repr(notifier)
    for text in everything_in(caught.value):
        assert SECRET not in text
        assert server.root not in text
    assert "urllib3.connectionpool" in {record.name for record in caplog.records}
    assert "sendMessage" in caplog.text
    for record in caplog.records:
        assert SECRET not in f"{record.getMessage()} {record.args!r} {record.msg!r}"


@pytest.mark.parametrize(
    "root",
    [
        "http://telegram.invalid",
        "http://127.0.0.1:1",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:{port}\u3002x",
        "http://" + "a" * 70 + ".example",
    ],
)
async def test_no_address_that_fails_brings_it_out(
    server: TelegramServer, root: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    # Set directly: some of these a setting would not take.
    notifier = notifier_at(server.root)
    notifier._api_root = root.format(port=server.root.rpartition(":")[2])
    async with notifier:
        with pytest.raises(Exception) as caught:
            await notifier.send(HELLO)
    assert not isinstance(caught.value, NotificationRefused | NotificationDelayed)
    assert all(SECRET not in text for text in everything_in(caught.value))
    assert SECRET not in caplog.text


async def test_the_filters_on_foreign_loggers_are_taken_away_again(server: TelegramServer) -> None:
    loggers = [logging.getLogger(name) for name in telegram_client.TALKATIVE]
    before = [list(logger.filters) for logger in loggers]
    async with notifier_at(server.root) as notifier:
        await notifier.send(HELLO)
        assert all(logger.filters for logger in loggers)
    assert [list(logger.filters) for logger in loggers] == before


async def test_our_log_files_do_not_hold_it_even_where_urllib3_logs_everything(
    server: TelegramServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The redactor, which learns the token from the settings, is enough without the filters."""
    monkeypatch.setattr(telegram_client, "TALKATIVE", ())
    redactor = Redactor([SecretStr(TOKEN)])
    with configure(tmp_path, "DEBUG", console=io.StringIO(), redactor=redactor, packages=["urllib3"]):
        async with notifier_at(server.root) as notifier:
            await notifier.send(HELLO)
    written = (tmp_path / "execution_service.log").read_text()
    assert "POST /bot***/sendMessage" in written
    assert SECRET not in written
