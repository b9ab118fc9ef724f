"""The settings of the service: where they come from, and what is refused."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from exec_core import ConfigurationError, Mode
from exec_service.settings import Account, Settings, load_settings
from pydantic import SecretStr

SECRET = "hunter2-very-secret"
URI = f"mongodb://trader:{SECRET}@db.example/?replicaSet=rs0"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and none of our variables in the environment."""
    monkeypatch.chdir(tmp_path)
    ours = {name.upper() for name in Settings.model_fields} | {"EXEC_CONFIG"}
    for name in [name for name in os.environ if name.upper() in ours]:
        monkeypatch.delenv(name)
    return tmp_path


def refused(**command_line: object) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(**command_line)  # type: ignore[arg-type]
    return caught.value.problems


class TestSources:
    def test_the_defaults_are_those_of_the_documentation(self) -> None:
        settings = load_settings(embedded=True)
        assert settings.model_dump(exclude={"worker_id"}) == {
            "embedded": True,
            "use_mock_broker": False,
            "mongodb_uri": None,
            "mongodb_database": "mathematricks_trading",
            "pubsub_project_id": "mathematricks-trader",
            "trading_orders_topic": "trading-orders",
            "trading_orders_subscription": "trading-orders-sub",
            "execution_confirmations_topic": "execution-confirmations",
            "order_timeout_seconds": 60.0,
            "order_max_age_seconds": 300.0,
            "max_retry_attempts": 3,
            "unknown_settle_seconds": None,
            "worker_lease_seconds": 15.0,
            "shutdown_timeout_seconds": 25.0,
            "reconciliation_seconds": 300.0,
            "startup_timeout_seconds": 30.0,
            "environment": None,
            "log_dir": Path("logs"),
            "log_level": "INFO",
            "exec_data_dir": Path("exec-data"),
            "health_host": "127.0.0.1",
            "health_port": None,
            "accounts": {},
        }

    def test_each_source_gives_way_to_the_one_before(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (directory / "exec.toml").write_text(
            'log_dir = "file"\nenvironment = "file"\nmongodb_database = "file"\npubsub_project_id = "file"\n'
        )
        (directory / ".env").write_text("ENVIRONMENT=dotenv\nMONGODB_DATABASE=dotenv\nPUBSUB_PROJECT_ID=dotenv\n")
        monkeypatch.setenv("MONGODB_DATABASE", "environment")
        monkeypatch.setenv("PUBSUB_PROJECT_ID", "environment")
        settings = load_settings(embedded=True, pubsub_project_id="command-line")
        assert settings.log_dir == Path("file")
        assert settings.environment == "dotenv"
        assert settings.mongodb_database == "environment"
        assert settings.pubsub_project_id == "command-line"

    def test_none_on_the_command_line_means_not_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("USE_MOCK_BROKER", "true")
        assert load_settings(embedded=True, use_mock_broker=None).use_mock_broker

    def test_an_empty_variable_is_not_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ENVIRONMENT", "")
        monkeypatch.setenv("ACCOUNTS", "")
        settings = load_settings(embedded=True)
        assert settings.environment is None
        assert settings.accounts == {}

    def test_an_empty_name_of_dotenv_is_not_given(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (directory / "exec.toml").write_text('environment = "file"\n')
        (directory / ".env").write_text("ENVIRONMENT=\nLOG_LEVEL\n")
        settings = load_settings(embedded=True)
        assert (settings.environment, settings.log_level) == ("file", "INFO")

    def test_names_count_whatever_their_case(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (directory / ".env").write_text("Mongodb_Database=dotenv\n")
        monkeypatch.setenv("environment", "lower")
        settings = load_settings(embedded=True)
        assert (settings.mongodb_database, settings.environment) == ("dotenv", "lower")

    def test_dotenv_is_written_as_everywhere(self, directory: Path) -> None:
        (directory / ".env").write_text(
            "# ours\nexport ENVIRONMENT='in quotes' # and a remark\nMONGODB_DATABASE=\"${ENVIRONMENT_NAME:-db}_1\"\n"
        )
        settings = load_settings(embedded=True)
        assert (settings.environment, settings.mongodb_database) == ("in quotes", "db_1")

    def test_exec_config_names_another_file(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (directory / "other.toml").write_text("[accounts.acc_1]\nbroker = 'mock'\n")
        monkeypatch.setenv("EXEC_CONFIG", "other.toml")
        assert set(load_settings(embedded=True).accounts) == {"acc_1"}

    def test_accounts_of_the_environment_replace_those_of_the_file_as_a_whole(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (directory / "exec.toml").write_text(
            "[accounts.acc_1]\nbroker = 'ibkr'\nmode = 'live'\nsettings = {port = 4001}\n"
            "[accounts.acc_2]\nbroker = 'mock'\n"
        )
        assert set(load_settings(embedded=True).accounts) == {"acc_1", "acc_2"}
        monkeypatch.setenv("ACCOUNTS", json.dumps({"acc_1": {"broker": "ibkr", "mode": "paper"}}))
        accounts = load_settings(embedded=True).accounts
        assert accounts == {"acc_1": Account(id="acc_1", name="acc_1", broker="ibkr", mode=Mode.PAPER)}

    def test_accounts_of_the_environment_replace_those_of_dotenv_as_a_whole(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (directory / ".env").write_text("""ACCOUNTS='{"acc_1": {"broker": "mock"}, "acc_2": {"broker": "mock"}}'\n""")
        assert set(load_settings(embedded=True).accounts) == {"acc_1", "acc_2"}
        monkeypatch.setenv("ACCOUNTS", '{"acc_3": {"broker": "mock"}}')
        assert set(load_settings(embedded=True).accounts) == {"acc_3"}

    @pytest.mark.parametrize("source", ["environment", "dotenv"])
    def test_embedded_comes_from_the_command_line_only(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch, source: str
    ) -> None:
        if source == "environment":
            monkeypatch.setenv("EMBEDDED", "true")
        else:
            (directory / ".env").write_text("EMBEDDED=true\n")
        assert refused() == ("MONGODB_URI: is missing: set it, or start with --embedded",)

    def test_variables_of_plugins_are_left_alone(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (directory / "exec.toml").write_text(
            "ibkr_port = 1\nmock_broker_seed = 3\ntelegram_enabled = true\nzerodha_poll_seconds = 1\n"
            "acme_order_timeout_seconds = 1\nacme_retry_attempts = 2\nconsole_notifier_enabled = true\n"
        )
        (directory / ".env").write_text("TELEGRAM_BOT_TOKEN=x\nHOME_OFFICE=y\n")
        monkeypatch.setenv("IBKR_HOST", "127.0.0.1")
        load_settings(embedded=True)

    def test_an_unknown_option_is_a_mistake_of_the_programmer(self) -> None:
        with pytest.raises(TypeError, match="colour"):
            load_settings(colour="red")


class TestProblems:
    def test_all_are_reported_at_once_each_by_its_variable(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (directory / "exec.toml").write_text("order_timeout_second = 5\nworker_lease_seconds = 0\n")
        (directory / ".env").write_text("LOG_LEVEL=LOUD\n")
        monkeypatch.setenv("ORDER_TIMEOUT_SECONDS", "-1")
        monkeypatch.setenv("USE_MOCK_BROKER", "perhaps")
        monkeypatch.setenv("ACCOUNTS", json.dumps({"acc_1": {"broker": "ibkr"}, "acc_2": {"broker": "ibkr"}}))
        problems = refused()
        assert {problem.split(": ")[0] for problem in problems} == {
            "exec.toml",
            "ORDER_TIMEOUT_SECONDS",
            "WORKER_LEASE_SECONDS",
            "LOG_LEVEL",
            "USE_MOCK_BROKER",
            "MONGODB_URI",
            "ACCOUNTS.acc_1.mode",
            "ACCOUNTS.acc_2.mode",
        }
        assert "LOG_LEVEL: must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL" in problems
        assert "ACCOUNTS.acc_1.mode: is missing: say live or paper for the broker ibkr" in problems

    @pytest.mark.parametrize(
        ("variable", "value"),
        [
            ("ORDER_TIMEOUT_SECONDS", "-0.1"),
            ("ORDER_TIMEOUT_SECONDS", "nan"),
            ("ORDER_MAX_AGE_SECONDS", "inf"),
            ("ORDER_MAX_AGE_SECONDS", "soon"),
            ("MAX_RETRY_ATTEMPTS", "-1"),
            ("MAX_RETRY_ATTEMPTS", "1.5"),
            ("UNKNOWN_SETTLE_SECONDS", "-1"),
            ("WORKER_LEASE_SECONDS", "0.9"),
            ("SHUTDOWN_TIMEOUT_SECONDS", "-1"),
            ("STARTUP_TIMEOUT_SECONDS", "1e300"),
            ("LOG_LEVEL", "NOTSET"),
            ("MONGODB_DATABASE", "a.b"),
            ("MONGODB_URI", "db.example:27017"),
            ("TRADING_ORDERS_TOPIC", "no"),
            ("TRADING_ORDERS_SUBSCRIPTION", "goog-mine"),
            ("EXECUTION_CONFIRMATIONS_TOPIC", "trading-orders"),
            ("WORKER_ID", "x" * 129),
            ("ENVIRONMENT", "a\tb"),
            ("ACCOUNTS", "{"),
            ("ACCOUNTS", "[]"),
            ("ACCOUNTS", '{"a": {"broker": "mock"}, "a": {"broker": "mock"}}'),
            ("ACCOUNTS", '{"a": 5}'),
        ],
    )
    def test_a_value_out_of_range_is_refused(self, monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
        monkeypatch.setenv(variable, value)
        (problem,) = refused(embedded=True)
        assert problem.split(":")[0].split(".")[0] == variable

    def test_the_orders_topic_must_not_be_the_confirmations_default(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TRADING_ORDERS_TOPIC", "execution-confirmations")
        (problem,) = refused(embedded=True)
        assert problem.startswith("EXECUTION_CONFIRMATIONS_TOPIC: must differ from TRADING_ORDERS_TOPIC")

    @pytest.mark.parametrize(
        ("name", "value"), [("order_timeout_seconds", "true"), ("max_retry_attempts", "true"), ("environment", "1")]
    )
    def test_a_value_of_the_wrong_kind_in_the_file_is_refused(self, directory: Path, name: str, value: str) -> None:
        (directory / "exec.toml").write_text(f"{name} = {value}\n")
        (problem,) = refused(embedded=True)
        assert problem.startswith(f"{name.upper()}: ")

    def test_no_time_out_and_no_retry_are_allowed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for variable in ("ORDER_TIMEOUT_SECONDS", "MAX_RETRY_ATTEMPTS", "UNKNOWN_SETTLE_SECONDS"):
            monkeypatch.setenv(variable, "0")
        monkeypatch.setenv("LOG_LEVEL", "warning")
        settings = load_settings(embedded=True)
        assert (settings.order_timeout_seconds, settings.max_retry_attempts) == (0.0, 0)
        assert settings.unknown_settle_seconds == 0.0
        assert settings.log_level == "WARNING"

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("order_timeout_second", "order_timeout_seconds"),
            ("mongo_uri", "mongodb_uri"),
            ("worker_lease", "worker_lease_seconds"),
            ("ORDER_TIMEOUT", "order_timeout_seconds"),
            ("maxretry_attempts", "max_retry_attempts"),
        ],
    )
    def test_a_misspelt_name_in_the_file_is_refused_with_the_right_one(
        self, directory: Path, written: str, meant: str
    ) -> None:
        (directory / "exec.toml").write_text(f"{written} = 5\n")
        assert refused(embedded=True) == (f"exec.toml: there is no {written.lower()}; did you mean {meant}?",)

    def test_a_misspelt_table_of_accounts_is_refused(self, directory: Path) -> None:
        (directory / "exec.toml").write_text("[account.acc_1]\nbroker = 'mock'\n")
        assert refused(embedded=True) == ("exec.toml: there is no account; did you mean accounts?",)

    def test_embedded_in_the_file_is_refused(self, directory: Path) -> None:
        (directory / "exec.toml").write_text("embedded = true\n")
        assert "exec.toml: embedded is given on the command line (--embedded), not in the file" in refused()

    def test_a_file_that_cannot_be_read_is_one_problem_and_the_others_are_told_too(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (directory / "exec.toml").write_text("mongodb_uri = \n")
        monkeypatch.setenv("WORKER_LEASE_SECONDS", "0")
        first, second = refused(serving=True)
        assert first.startswith("exec.toml: ")
        assert second.startswith("WORKER_LEASE_SECONDS: ")

    def test_a_dotenv_that_is_not_text_is_a_problem(self, directory: Path) -> None:
        (directory / ".env").write_bytes(b"ENVIRONMENT=\xff\xfe\n")
        assert refused() == (".env: is not UTF-8 text",)

    def test_no_secret_is_ever_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        accounts = {
            "acc_1": {"broker": "zerodha", "mode": SECRET, "settings": SECRET, "limits": SECRET},
            "acc_2": {"broker": "zerodha", "mode": "live", "settings": {"api_secret": SECRET}, "limits": {"x": SECRET}},
            "acc_3": SECRET,
        }
        monkeypatch.setenv("ACCOUNTS", json.dumps(accounts))
        monkeypatch.setenv("MONGODB_URI", f"http://u:{SECRET}@h")
        monkeypatch.setenv("ORDER_TIMEOUT_SECONDS", SECRET)
        problems = refused()
        assert len(problems) == 7
        assert SECRET not in "\n".join(problems)
        monkeypatch.setenv("ACCOUNTS", json.dumps(accounts)[:-1])
        assert SECRET not in "\n".join(refused())

    def test_no_secret_is_in_a_repr(self) -> None:
        accounts = {"acc_1": {"broker": "zerodha", "mode": "live", "settings": {"api_secret": SECRET}}}
        settings = load_settings(mongodb_uri=URI, accounts=accounts)
        account = settings.accounts["acc_1"]
        for shown in (settings, account, settings.broker_config(account), settings.accounts):
            assert SECRET not in f"{shown!r} {shown}"
        assert isinstance(settings.mongodb_uri, SecretStr)
        assert settings.mongodb_uri.get_secret_value() == URI


class TestTheWorkerId:
    def test_it_is_host_process_and_start_time_and_stays(self) -> None:
        first, second = load_settings(embedded=True), load_settings(embedded=True)
        assert first.worker_id.startswith(f"{socket.gethostname()}-{os.getpid()}-")
        assert first.worker_id == second.worker_id
        assert "worker_id" not in first.model_fields_set

    def test_another_process_has_another(self) -> None:
        code = "from exec_service.settings import load_settings; print(load_settings(embedded=True).worker_id)"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout.strip() != load_settings(embedded=True).worker_id

    def test_it_may_be_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORKER_ID", "worker-a")
        assert load_settings(embedded=True).worker_id == "worker-a"
