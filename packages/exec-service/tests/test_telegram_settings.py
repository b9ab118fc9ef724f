"""The Telegram notifier's variables: found by its entry point, off unless asked for, and all mistakes told at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from exec_core import ConfigurationError
from exec_core.plugins import installed_plugins, load_notifier_plugins
from exec_service import bootstrap
from exec_service.notifier_plugins import make_notifiers
from exec_service.notifiers import telegram
from exec_service.notifiers.telegram_settings import TelegramSettings
from exec_service.redaction import Redactor
from exec_service.settings import Settings

TOKEN = "123456789:AAFsecret-loopback_token"
GOOD = {"TELEGRAM_ENABLED": "true", "TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_CHAT_ID": "-100123"}


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TELEGRAM_")] + ["EXEC_CONFIG"]:
        monkeypatch.delenv(name, raising=False)


def given(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in {**GOOD, **variables}.items():
        monkeypatch.setenv(name, value)


def switched_on() -> list[str]:
    return [plugin.name for plugin, _ in make_notifiers()]


def problems() -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        make_notifiers()
    assert TOKEN not in str(caught.value)
    return caught.value.problems


def test_it_is_found_by_its_entry_point() -> None:
    assert installed_plugins()["telegram"].distribution == "exec-service"
    assert telegram.exec_register_notifier() in load_notifier_plugins()


def test_it_is_off_unless_asked_for_and_then_nothing_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert switched_on() == ["console"]
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "not / a token")
    monkeypatch.setenv("TELEGRAM_API_ROOT", "nonsense")
    assert switched_on() == ["console"]


def test_it_is_on_when_it_has_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch)
    assert switched_on() == ["console", "telegram"]


def test_the_file_can_hold_it_all_the_chat_as_a_number(tmp_path: Path) -> None:
    lines = ["telegram_enabled = true", f'telegram_bot_token = "{TOKEN}"', "telegram_chat_id = -100123"]
    (tmp_path / "exec.toml").write_text("\n".join(lines))
    assert switched_on() == ["console", "telegram"]
    assert TelegramSettings().chat_id == "-100123"


def test_token_and_chat_that_are_missing_are_both_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEGRAM_ENABLED", "true")
    told = problems()
    assert [text.partition(": is missing")[0] for text in told] == ["TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_ID"]


def test_a_token_that_came_with_its_lines_end_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, TELEGRAM_BOT_TOKEN=f" {TOKEN}\n")
    token = TelegramSettings().bot_token
    assert token is not None
    assert token.get_secret_value() == TOKEN


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TELEGRAM_ENABLED", "perhaps"),
        ("TELEGRAM_BOT_TOKEN", "123:a/../b"),
        ("TELEGRAM_BOT_TOKEN", "123:with a blank"),
        ("TELEGRAM_BOT_TOKEN", "123:ünicode"),
        ("TELEGRAM_CHAT_ID", "my chat"),
        ("TELEGRAM_CHAT_ID", "  "),
        ("TELEGRAM_API_ROOT", "bots.example"),
        ("TELEGRAM_API_ROOT", "ftp://api.telegram.org"),
        ("TELEGRAM_API_ROOT", "https:///path"),
        ("TELEGRAM_API_ROOT", "https://host:port"),
        ("TELEGRAM_API_ROOT", "https://[::1"),
        ("TELEGRAM_API_ROOT", "https://user:word@host"),
        ("TELEGRAM_API_ROOT", "https://host/?a=b"),
    ],
)
def test_what_cannot_be_used_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    given(monkeypatch, **{name: value})
    (problem,) = problems()
    assert problem.startswith(f"{name}: ")
    assert value not in problem.partition(": ")[2] or not value.strip()


@pytest.mark.parametrize("chat_id", ["42", "-1001234567890", "@desk_channel"])
def test_chats_have_ids_and_names(monkeypatch: pytest.MonkeyPatch, chat_id: str) -> None:
    given(monkeypatch, TELEGRAM_CHAT_ID=chat_id)
    assert TelegramSettings().chat_id == chat_id


@pytest.mark.parametrize(
    ("root", "readable"),
    [
        ("https://api.telegram.org/", False),
        ("http://127.0.0.1:8081", False),
        ("http://[::1]:8081", False),
        ("http://localhost", False),
        ("http://telegram-bot-api:8081/prefix/", True),
        ("http://10.0.0.1", True),
    ],
)
def test_a_root_of_ones_own_may_be_plain_http(monkeypatch: pytest.MonkeyPatch, root: str, readable: bool) -> None:
    given(monkeypatch, TELEGRAM_API_ROOT=root)
    settings = TelegramSettings()
    assert settings.api_root == root.rstrip("/")
    assert settings.is_readable_on_the_way is readable


def test_telegrams_own_address_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch)
    assert TelegramSettings().api_root == "https://api.telegram.org"


def test_the_token_is_in_no_repr_and_known_to_the_redactor(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch)
    settings = TelegramSettings()
    redactor = Redactor()
    redactor.add_settings(settings)
    assert TOKEN not in f"{settings!r} {settings} {telegram.create(settings)!r} {settings.model_dump()}"
    assert TOKEN not in redactor.redact(f"https://api.telegram.org/bot{TOKEN}/sendMessage")


def test_the_check_before_a_start_tells_the_notifiers_mistakes_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, TELEGRAM_CHAT_ID="")
    monkeypatch.setenv("MOCK_BROKER_SEED", "x")
    with pytest.raises(ConfigurationError) as caught:
        bootstrap.check(Settings(embedded=True, use_mock_broker=True))
    assert [text for text in caught.value.problems if "MOCK_BROKER_SEED" in text]
    assert [text for text in caught.value.problems if text.startswith("TELEGRAM_CHAT_ID: is missing")]


def test_run_ends_with_exit_code_2_and_all_the_names(tmp_path: Path) -> None:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    command = [sys.executable, "-m", "exec_service", "run", "--embedded", "--use-mock-broker"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**kept, "TELEGRAM_ENABLED": "true"},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "TELEGRAM_BOT_TOKEN: is missing" in done.stderr
    assert "TELEGRAM_CHAT_ID: is missing" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_loading_the_plugin_does_not_import_requests() -> None:
    code = "import sys, exec_service.notifiers.telegram as t; print('requests' in sys.modules, t.create.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "create"]
