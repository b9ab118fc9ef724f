"""Where a plugin's variables come from, which source wins, and that no value is ever shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from exec_core.broker import Broker, BrokerConfig, BrokerPlugin
from exec_core.capabilities import Capabilities
from exec_core.config_file import config_file, problems, read_config_file
from exec_core.errors import ConfigurationError
from exec_core.identifiers import AccountId
from exec_core.plugins import plugin_settings
from exec_core.settings import BrokerSettings, PluginSettings
from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

SECRET = "hunter2-hunter2"  # the value that must not show


class AcmeSettings(BrokerSettings):
    """Three variables of a broker."""

    model_config = SettingsConfigDict(env_prefix="ACME_")

    host: str = "127.0.0.1"
    port: int = 4002
    api_key: SecretStr | None = None
    prices: dict[str, float] = {}  # noqa: RUF012  # pydantic copies defaults


def create(config: BrokerConfig, settings: Any) -> Broker:
    raise AssertionError("not used here")


NOTHING = Capabilities(frozenset(), frozenset(), frozenset())
ACME = BrokerPlugin("acme", AcmeSettings, create, NOTHING, 5.0)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty directory, and none of our variables."""
    monkeypatch.chdir(tmp_path)
    for name in ("EXEC_CONFIG", "ACME_HOST", "ACME_PORT", "ACME_API_KEY", "ACME_PRICES"):
        monkeypatch.delenv(name, raising=False)


def settings_of(**settings: object) -> AcmeSettings:
    made = plugin_settings(ACME, BrokerConfig("acme", AccountId("acc_1"), settings=settings))
    assert isinstance(made, AcmeSettings)
    return made


def test_the_account_goes_before_the_environment_before_the_dotenv_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings_of().host == "127.0.0.1"
    (tmp_path / "exec.toml").write_text('acme_host = "from exec.toml"\nother = 1\nacme_unknown = 1\n')
    assert settings_of().host == "from exec.toml"
    (tmp_path / ".env").write_text("ACME_HOST=from-dotenv\nSOMETHING_ELSE=1\n")
    assert settings_of().host == "from-dotenv"
    monkeypatch.setenv("ACME_HOST", "from environment")
    assert settings_of().host == "from environment"
    assert settings_of(host="from account").host == "from account"


def test_an_empty_variable_counts_as_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_PORT", "")
    assert settings_of().port == 4002


def test_sources_are_mixed_variable_by_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "exec.toml").write_text('acme_host = "from exec.toml"\nacme_port = 1\n')
    monkeypatch.setenv("ACME_PORT", "2")
    made = settings_of(api_key=SECRET)
    assert (made.host, made.port) == ("from exec.toml", 2)
    assert made.api_key is not None
    assert made.api_key.get_secret_value() == SECRET


def test_a_secret_is_in_no_repr() -> None:
    config = BrokerConfig("acme", AccountId("acc_1"), settings={"api_key": SECRET})
    assert SECRET not in f"{config!r} {config} {settings_of(api_key=SECRET)!r} {settings_of(api_key=SECRET)}"


def test_all_mistakes_are_told_at_once_and_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_PORT", SECRET)
    with pytest.raises(ConfigurationError) as caught:
        settings_of(api_key=[SECRET], hots=SECRET)
    text = str(caught.value)
    assert SECRET not in text
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__, "a traceback would show what pydantic saw"
    unknown, *others = caught.value.problems
    assert unknown == "account acc_1 (acme): there is no setting hots; there are: api_key, host, port, prices"
    assert {problem.split(": ")[1] for problem in others} == {"ACME_PORT", "ACME_API_KEY"}


def test_even_the_models_own_error_shows_no_value() -> None:
    with pytest.raises(ValidationError) as caught:
        AcmeSettings(port=SECRET)
    assert SECRET not in f"{caught.value} {caught.value!r}"


def test_one_unknown_setting_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="there is no setting hots"):
        settings_of(hots="localhost")


def test_a_variable_that_is_not_the_json_it_should_be_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_PRICES", '{"SPY": 1}')
    assert settings_of().prices == {"SPY": 1.0}
    monkeypatch.setenv("ACME_PRICES", f"{{{SECRET}")
    with pytest.raises(ConfigurationError, match=r"account acc_1 \(acme\): .*prices") as caught:
        settings_of()
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings_of().port = 1


# --- exec.toml ---


def test_without_a_file_there_is_nothing_to_read() -> None:
    assert config_file() is None
    assert read_config_file() == {}


def test_a_named_file_goes_before_the_one_in_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "exec.toml").write_text("acme_port = 1\n")
    (tmp_path / "other.toml").write_text("acme_port = 2\n")
    assert settings_of().port == 1
    monkeypatch.setenv("EXEC_CONFIG", "other.toml")
    assert settings_of().port == 2


def test_a_named_file_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXEC_CONFIG", "nowhere.toml")
    with pytest.raises(ConfigurationError, match=r"EXEC_CONFIG names nowhere\.toml, which is not a file"):
        read_config_file()


@pytest.mark.parametrize("content", [b"port = ", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "exec.toml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"^exec\.toml: "):
        read_config_file()


def test_variables_of_other_programs_are_none_of_our_business(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Plain(PluginSettings):
        """A model without prefix."""

        port: int = 1

    (tmp_path / "exec.toml").write_text("[accounts.acc_1]\nbroker = 'mock'\n")
    monkeypatch.setenv("ACMES_PORT", "7")
    assert Plain().port == 1
    assert settings_of().port == 4002


def test_a_problem_of_the_whole_model_is_told_too() -> None:
    class Pair(PluginSettings):
        """A model that wants both or none."""

        one: int | None = None

        def model_post_init(self, _context: object) -> None:
            raise ValueError("give both or none")

    with pytest.raises(ValidationError) as caught:
        Pair()
    assert problems(caught.value) == ["settings: Value error, give both or none"]
