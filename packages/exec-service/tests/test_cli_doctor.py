"""`doctor` tries every component for real, tells all that is wrong at once with its fix, and never hangs."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import invalidate_caches
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result
from exec_core.clock import utc_now
from exec_service.checks import Check
from exec_service.cli import main
from exec_service.doctor import diagnose, threads
from exec_service.redaction import Redactor
from exec_service.settings import Settings
from exec_service.stores import ACCOUNTS, StoreError, StoreNotPrepared, StoreUnavailable, Write
from exec_service.stores.sqlite import SqliteStore

SECRET = "tok-9f8e7d6c5b4a"
#: A broker that does what its setting `does` says when it is connected, and leaves a mark that it was.
BROKER = """
import asyncio, sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from exec_broker_mock.broker import PLUGIN as MOCK
from exec_core import (AuthenticationFailed, BrokerConfig, BrokerPlugin, BrokerSettings, ConfigurationError,
                       ConnectionFailed, hookimpl)
from exec_core.plugins import plugin_settings
from pydantic import SecretStr

class Settings(BrokerSettings):
    does: str = "work"
    token: SecretStr = SecretStr("unset-token")

class Session:
    def __init__(self, config, settings):
        plain = BrokerConfig("mock", config.account_id)
        self.inner = MOCK.create(plain, plugin_settings(MOCK, plain))
        self.does, self.token, self.account_id = settings.does, settings.token.get_secret_value(), config.account_id
    def __getattr__(self, name):
        return getattr(self.inner, name)
    async def __aenter__(self):
        Path(f"connected-{self.account_id}").touch()
        match self.does:
            case "fail": raise ConnectionFailed(f"nobody listens at host:4002 (token {self.token})")
            case "refuse": raise AuthenticationFailed("the token of yesterday has expired")
            case "mismatch": raise ConfigurationError("the account is DU1, not U1")
            case "crash": raise KeyError("oops")
            case "exit": sys.exit(7)
            case "hang": await asyncio.Event().wait()
            case "block": time.sleep(4)
            case "hang in a thread":
                await asyncio.get_running_loop().run_in_executor(ThreadPoolExecutor(1), time.sleep, 30)
        await self.inner.__aenter__()
        return self
    async def account(self):
        if self.does == "hang later":
            await asyncio.Event().wait()
        return await self.inner.account()
    async def __aexit__(self, *args):
        await self.inner.__aexit__(*args)
        Path(f"connected-{self.account_id}").rename(f"disconnected-{self.account_id}")
        if self.does == "hang at the end":
            await asyncio.Event().wait()

@hookimpl
def exec_register_broker():
    return BrokerPlugin("odd", Settings, Session, MOCK.capabilities, 0.3, 0.2, 60)
"""
#: A notifier that does what BELL_DOES says when it is checked.
NOTIFIER = """
import asyncio
from exec_core import NotifierPlugin, PluginSettings, hookimpl
from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

class Settings(PluginSettings):
    model_config = SettingsConfigDict(env_prefix="BELL_")
    does: str = "work"
    volume: int = 1
    token: SecretStr = SecretStr("unset-token")

class Bell:
    def __init__(self, settings):
        self.does, self.token = settings.does, settings.token.get_secret_value()
    async def __aenter__(self):
        return self
    async def __aexit__(self, *args):
        pass
    async def send(self, notification):
        raise AssertionError("doctor tells nobody anything")
    async def check(self):
        match self.does:
            case "hang": await asyncio.Event().wait()
            case "fail": raise RuntimeError(f"the bell {self.token} is broken: buy another one")
        return "the bell rings"

@hookimpl
def exec_register_notifier():
    return NotifierPlugin("bell", Settings, lambda settings: None if settings.does == "off" else Bell(settings))
"""


class Row(NamedTuple):
    outcome: str
    detail: str
    fix: str | None


Install = Callable[..., None]


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    for name in {*(field.upper() for field in Settings.model_fields), "EXEC_CONFIG", "PUBSUB_EMULATOR_HOST"}:
        monkeypatch.delenv(name, raising=False)
    for name in os.environ:
        if name.startswith(("MOCK_BROKER_", "TELEGRAM_", "CONSOLE_NOTIFIER_")):
            monkeypatch.delenv(name)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a plugin, as pip would; for child processes too."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    before = set(sys.modules)

    def install(name: str, source: str) -> None:
        module = f"plugin_of_a_test_{name}"
        (site / f"{module}.py").write_text(source)
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[exec_core]\n{name} = {module}\n")
        invalidate_caches()

    yield install
    for module in set(sys.modules) - before:
        if module.startswith("plugin_of_a_test_"):
            del sys.modules[module]


@pytest.fixture
def odd(install: Install, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Configure accounts of the odd broker, each doing something else; `acc_mock` beside them is the mock's."""

    def configure(mode: str = "paper", **accounts: str) -> None:
        install("odd", BROKER)
        tables: dict[str, Any] = {
            account_id: {"broker": "odd", "mode": mode, "settings": {"does": does, "token": SECRET}}
            for account_id, does in accounts.items()
        }
        monkeypatch.setenv("ACCOUNTS", json.dumps({**tables, "acc_mock": {"broker": "mock"}}))

    return configure


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments])


def found(*arguments: str, code: int = 0) -> dict[tuple[str, str], Row]:
    """The checks by component and name, of a `doctor` that ends with `code`; two of one name are joined."""
    result = doctor("--json", *arguments)
    assert result.exit_code == code, result.output
    answer = json.loads(result.stdout)
    assert set(answer) == {"ok", "checks"}
    assert answer["ok"] is (code == 0)
    rows: dict[tuple[str, str], Row] = {}
    for check in answer["checks"]:
        assert set(check) == {"component", "name", "outcome", "detail", "fix"}
        assert check["outcome"] == "OK" or check["fix"], f"no fix is named: {check}"
        key = (check["component"], check["name"])
        first = rows.get(key)
        detail = check["detail"] if first is None else f"{first.detail}\n{check['detail']}"
        rows[key] = Row(check["outcome"], detail, check["fix"])
    return rows


def connections() -> list[Path]:
    """The marks that sessions of the odd broker have left."""
    return list(Path().glob("*connected-*"))


def impatient() -> dict[tuple[str, str], Check]:
    """What `doctor` finds when nobody may take longer than a moment."""
    diagnosis = asyncio.run(diagnose(Redactor(), embedded=True, plugin_seconds=1.0))
    return {(check.component, check.name): check for check in diagnosis.checks}


# ------------------------------------------------------------------ all is well


def test_all_is_well_on_the_embedded_store_with_the_mock() -> None:
    assert CliRunner().invoke(main, ["setup", "--embedded"]).exit_code == 0
    rows = found("--embedded", "--use-mock-broker")
    assert {row.outcome for row in rows.values()} == {"OK"}
    assert {component for component, _ in rows} == {"configuration", "embedded", "broker", "notifier", "machine"}
    assert "READY" in rows["broker", "any"].detail
    result = doctor("--embedded", "--use-mock-broker")
    assert "✓" in result.stdout
    assert result.stdout.endswith("All is well.\n")


def test_looking_makes_nothing_and_names_what_would_be_made(tmp_path: Path) -> None:
    rows = found("--embedded", "--use-mock-broker")
    assert list((tmp_path / "run").iterdir()) == []
    assert "will be made" in rows["machine", "log directory"].detail
    (warning,) = [row for row in rows.values() if row.outcome == "WARNING"]
    assert warning.fix == "exec-service setup --embedded"
    text = doctor("--embedded", "--use-mock-broker").stdout
    assert "  ! embedded, store and bus: exec-service setup --embedded\n" in text


# ------------------------------------------------------------------ configuration


def test_everything_else_is_tried_although_the_configuration_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CliRunner().invoke(main, ["setup", "--embedded"]).exit_code == 0
    monkeypatch.setenv("ORDER_TIMEOUT_SECONDS", "soon")
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    accounts = {
        "good": {"broker": "mock", "name": "Good"},
        "wrong": {"broker": "ibkr"},
        "absent": {"broker": "nobody", "mode": "paper"},
        "unfit": {"broker": "mock", "settings": {"seed": "x"}},
    }
    monkeypatch.setenv("ACCOUNTS", json.dumps(accounts))
    rows = found("--embedded", code=2)
    told = rows["configuration", "settings"].detail
    assert all(word in told for word in ("ORDER_TIMEOUT_SECONDS", "LOG_LEVEL", "wrong"))
    assert "exec-broker-nobody" in rows["configuration", "account absent"].detail
    assert "seed" in rows["configuration", "account unfit"].detail.lower()
    assert rows["configuration", "account good"].outcome == rows["broker", "good"].outcome == "OK"
    assert rows["embedded", "store"].outcome == "OK"
    assert {name for component, name in rows if component == "broker"} == {"good"}
    assert ("machine", "log directory") in rows


def test_without_an_account_it_says_so() -> None:
    assert "No account is configured" in found("--embedded", code=2)["configuration", "settings"].detail


def test_without_a_database_nobody_elses_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_MOCK_BROKER", "true")
    rows = found(code=2)
    assert "MONGODB_URI" in rows["configuration", "settings"].detail
    assert rows["store and bus", "place"].outcome == "WARNING"
    assert rows["broker", "any"].outcome == "OK"
    assert not any(component == "embedded" for component, _ in rows)


@pytest.mark.parametrize("accounts", ["{", "[]", '{"a": 5}'])
def test_accounts_that_cannot_be_read_hide_nothing_else(accounts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCOUNTS", accounts)
    rows = found("--embedded", code=2)
    assert "ACCOUNTS" in rows["configuration", "settings"].detail
    assert rows["notifier", "console"].outcome == "OK"


def test_files_that_cannot_be_read_are_told_and_hide_nothing_else() -> None:
    Path("exec.toml").write_text("accounts = {")
    Path(".env").write_bytes(b"USE_MOCK_BROKER=\xff\n")
    rows = found("--embedded", code=2)
    assert "exec.toml" in rows["configuration", "settings"].detail
    assert ".env" in rows["configuration", "settings"].detail
    assert rows["machine", "log directory"].outcome == "OK"


def test_an_address_of_the_database_that_is_wrong_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGODB_URI", "mongo://user:hunter2222@host/")
    for options in ([], ["--embedded"]):
        result = doctor(*options)
        assert result.exit_code == 2
        assert "MONGODB_URI" in result.stdout
        assert "hunter2222" not in result.output


# ------------------------------------------------------------------ brokers


@pytest.mark.parametrize(
    ("does", "detail", "fix"),
    [
        ("fail", "nobody listens at host:4002", "can be reached"),
        ("refuse", "the token of yesterday has expired", "Log in"),
        ("mismatch", "the account is DU1, not U1", "Correct the account"),
        ("crash", "oops", "can be reached"),
        ("exit", "7", "author of the plugin odd"),
    ],
)
def test_a_broker_that_cannot_be_used_is_told_and_the_other_is_tried(
    does: str, detail: str, fix: str, odd: Callable[..., None]
) -> None:
    odd(acc_odd=does)
    rows = found("--embedded", code=1)
    row = rows["broker", "acc_odd"]
    assert row.outcome == "FAILED"
    assert detail in row.detail
    assert row.fix is not None
    assert fix in row.fix
    assert rows["broker", "acc_mock"].outcome == "OK"


def test_a_session_that_was_opened_is_closed(odd: Callable[..., None]) -> None:
    odd(acc_odd="work")
    assert found("--embedded")["broker", "acc_odd"].outcome == "OK"
    assert Path("disconnected-acc_odd").exists()


@pytest.mark.parametrize(
    ("does", "doing"),
    [("hang", "connect"), ("block", "connect"), ("hang later", "tell its account"), ("hang at the end", "disconnect")],
)
def test_a_broker_that_hangs_is_left_alone_and_holds_up_nobody(
    does: str, doing: str, odd: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    odd(acc_odd=does)
    monkeypatch.setattr(threads, "GRACE_SECONDS", 0.5)
    rows = impatient()
    assert rows["broker", "acc_odd"].outcome == "FAILED"
    assert f"did not {doing} within 1 s" in rows["broker", "acc_odd"].detail
    assert rows["broker", "acc_mock"].outcome == "OK"


def test_the_command_ends_although_a_plugin_still_hangs_in_a_thread(odd: Callable[..., None]) -> None:
    odd(acc_odd="hang in a thread")
    script = (
        "import functools, exec_service.doctor as package\n"
        "from exec_service.cli import doctor, main\n"
        "import sys; sys.modules['exec_service.cli.doctor'].PATIENCE_SECONDS = 0.1\n"
        "package.threads.GRACE_SECONDS = 0.1\n"
        "package.diagnose = functools.partial(package.diagnose, plugin_seconds=0.5)\n"
        "main(['doctor', '--embedded', '--json'])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1, done.stderr
    rows = {(row["component"], row["name"]): row for row in json.loads(done.stdout)["checks"]}
    assert "did not connect within 0.5 s" in rows["broker", "acc_odd"]["detail"]
    assert "1 of" in done.stderr


async def own(lease_by: SqliteStore, account_id: str, **state: Any) -> None:
    """Own the account, as a worker does."""
    await lease_by.take_lease("w1", 60)
    await lease_by.commit([Write(ACCOUNTS, account_id, None, {"worker_id": "w1", **state})])


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        ("READY", "OK"), ("LOGIN_NEEDED", "FAILED"), ("ANNOUNCED_BREAK", "WARNING"), ("DISCONNECTED", "FAILED"),
        (None, "WARNING"),
    ],
)  # fmt: skip
async def test_a_live_workers_word_is_passed_on_and_its_session_is_left_alone(
    state: str | None, outcome: str, odd: Callable[..., None]
) -> None:
    odd(acc_odd="work")
    async with SqliteStore(Path("exec-data")) as store:
        said = {"availability": state, "availability_since": utc_now(), "availability_reason": "as it is"}
        await own(store, "acc_odd", **(said if state else {}))
        rows = await asyncio.to_thread(found, "--embedded", code=int(outcome == "FAILED"))
        row = rows["broker", "acc_odd"]
        assert row.outcome == outcome
        assert f"worker w1 (process {os.getpid()}" in row.detail
        assert (state or "has not said") in row.detail
        assert connections() == []


async def test_a_worker_that_has_gone_is_not_believed(odd: Callable[..., None]) -> None:
    odd(acc_odd="fail")
    async with SqliteStore(Path("exec-data")) as store:
        await own(store, "acc_odd", availability="READY")
    rows = await asyncio.to_thread(found, "--embedded", code=1)
    assert "nobody listens" in rows["broker", "acc_odd"].detail


def test_where_the_store_cannot_tell_who_is_connected_nobody_is_disturbed(odd: Callable[..., None]) -> None:
    odd(acc_odd="work")
    Path("exec-data").mkdir()
    Path("exec-data/store.sqlite3").write_text("this is no database at all, and it is long enough to be noticed" * 20)
    rows = found("--embedded", code=1)
    assert rows["embedded", "store"].outcome == "FAILED"
    assert rows["broker", "acc_odd"].outcome == "WARNING"
    assert "Not tried" in rows["broker", "acc_odd"].detail
    assert connections() == []
    assert rows["broker", "acc_mock"].outcome == "OK", "nothing real stands behind the mock"


@pytest.mark.parametrize(("error", "tried"), [(StoreNotPrepared("empty"), True), (StoreUnavailable("away"), False)])
def test_a_store_that_nobody_has_prepared_has_no_workers(
    error: StoreError, tried: bool, odd: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_store(settings: Settings, *, prepare: bool = True) -> SqliteStore:
        assert not prepare
        raise error

    odd(acc_odd="work")
    assert CliRunner().invoke(main, ["setup", "--embedded"]).exit_code == 0
    monkeypatch.setattr("exec_service.bootstrap.make_store", make_store)
    rows = found("--embedded", code=1)
    assert (rows["broker", "acc_odd"].outcome == "OK") is tried
    assert bool(connections()) is tried


# ------------------------------------------------------------------ notifiers


@pytest.fixture
def bell(install: Install, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A notifier beside the others that can be checked."""

    def configure(does: str) -> None:
        install("bell", NOTIFIER)
        for name, value in {"USE_MOCK_BROKER": "true", "BELL_DOES": does, "BELL_TOKEN": SECRET}.items():
            monkeypatch.setenv(name, value)

    return configure


@pytest.mark.parametrize(
    ("does", "outcome", "detail"),
    [("work", "OK", "the bell rings"), ("off", "OK", "Switched off"), ("fail", "FAILED", "broken: buy another one")],
)
def test_a_notifier_that_can_be_checked_is_asked(
    does: str, outcome: str, detail: str, bell: Callable[[str], None]
) -> None:
    bell(does)
    row = found("--embedded", code=int(outcome == "FAILED"))["notifier", "bell"]
    assert row.outcome == outcome
    assert detail in row.detail


def test_where_telegram_cannot_be_reached_no_setting_is_blamed_but_the_way_there_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        root = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("USE_MOCK_BROKER", "true")
        for name, value in {"ENABLED": "true", "BOT_TOKEN": "1:secret", "CHAT_ID": "1", "API_ROOT": root}.items():
            monkeypatch.setenv(f"TELEGRAM_{name}", value)
        row = found("--embedded", code=1)["notifier", "telegram"]
    assert "Connection refused" in row.detail
    assert f"reaches {root}" in row.detail
    assert "TELEGRAM_API_ROOT" in row.detail
    assert "the network" in row.detail
    assert row.fix is not None
    assert "Do what the sentence says" in row.fix


def test_a_notifier_that_hangs_is_left_alone(bell: Callable[[str], None]) -> None:
    bell("hang")
    rows = impatient()
    assert rows["notifier", "bell"].outcome == "FAILED"
    assert "did not answer within 1 s" in rows["notifier", "bell"].detail
    assert rows["notifier", "console"].outcome == rows["broker", "any"].outcome == "OK"


def test_a_notifiers_wrong_settings_are_a_matter_of_configuration(
    bell: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    bell("work")
    monkeypatch.setenv("BELL_VOLUME", "loud")
    rows = found("--embedded", code=2)
    assert "BELL_VOLUME" in rows["configuration", "notifier bell"].detail
    assert rows["notifier", "console"].outcome == "OK"


def test_that_nobody_is_told_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_MOCK_BROKER", "true")
    monkeypatch.setenv("CONSOLE_NOTIFIER_ENABLED", "false")
    assert found("--embedded")["notifier", "all"].outcome == "WARNING"


def test_a_notifier_that_cannot_be_loaded_is_told(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_MOCK_BROKER", "true")
    install("broken", "import nothing_of_that_name")
    rows = found("--embedded", code=2)
    assert "nothing_of_that_name" in rows["configuration", "notifiers"].detail
    assert rows["broker", "any"].outcome == "OK"


# ------------------------------------------------------------------ secrets, this machine, ourselves


def test_no_secret_is_shown(
    odd: Callable[..., None], bell: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    odd(acc_odd="fail")
    bell("fail")
    monkeypatch.delenv("USE_MOCK_BROKER")
    for options in (["--json"], []):
        result = doctor("--embedded", *options)
        assert result.exit_code == 1
        assert result.stdout.count("***") == 2
        assert SECRET not in result.output


def test_what_libraries_warn_of_holds_no_secret(
    bell: Callable[[str], None], install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    bell("work")
    monkeypatch.setenv("LOUD_TOKEN", "louder-9f8e7d6c")
    source = NOTIFIER.replace("BELL_", "LOUD_").replace('"bell"', '"loud"')
    source = source.replace(
        'return "the bell rings"', 'import logging; logging.warning("retrying %s", self.token); return "fine"'
    )
    install("loud", source)
    result = doctor("--embedded")
    assert result.exit_code == 0, result.output
    assert "WARNING: retrying ***" in result.stderr
    assert "louder-9f8e7d6c" not in result.output


def test_log_files_that_cannot_be_written_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_MOCK_BROKER", "true")
    Path("file").write_text("in the way")
    monkeypatch.setenv("LOG_DIR", "file/logs")
    row = found("--embedded", code=1)["machine", "log directory"]
    assert row.outcome == "FAILED"
    assert row.fix is not None
    assert "LOG_DIR" in row.fix


def test_log_files_of_another_user_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_MOCK_BROKER", "true")
    Path("logs").mkdir()
    Path("logs/signal_processing.log").write_text("")
    monkeypatch.setattr("exec_service.doctor.machine.os.access", lambda path, mode: "signal" not in str(path))
    row = found("--embedded", code=1)["machine", "log directory"]
    assert "signal_processing.log cannot be written" in row.detail


@pytest.mark.parametrize(("free", "outcome"), [(999_000_000, "WARNING"), (1_000_000_000, "OK")])
def test_a_disk_that_is_almost_full_is_a_warning(free: int, outcome: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setenv("USE_MOCK_BROKER", "true")
    monkeypatch.setattr("exec_service.doctor.machine.shutil.disk_usage", lambda path: Usage(free))
    rows = found("--embedded")
    assert rows["machine", "disk of the log directory"].outcome == outcome
    assert rows["machine", "disk of the data directory"].outcome == outcome


def test_a_check_that_fails_itself_is_told_and_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def examine(settings: Settings) -> list[Check]:
        raise KeyError("a mistake of ours")

    monkeypatch.setenv("USE_MOCK_BROKER", "true")
    monkeypatch.setattr("exec_service.bootstrap.examine", examine)
    rows = found("--embedded", code=1)
    assert "a mistake of ours" in rows["store and bus", "check"].detail
    assert rows["broker", "any"].outcome == rows["notifier", "console"].outcome == "OK"


async def test_a_store_that_hangs_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def examine(settings: Settings) -> list[Check]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr("exec_service.bootstrap.examine", examine)
    diagnosis = await diagnose(Redactor(), embedded=True, use_mock_broker=True, examine_seconds=0.2)
    (check,) = [check for check in diagnosis.checks if check.component == "store and bus"]
    assert "could not be examined within 0.2 s" in check.detail
    assert diagnosis.failed == (check,)
