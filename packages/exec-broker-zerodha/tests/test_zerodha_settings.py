"""Settings, the token's file, and the login."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from exec_broker_zerodha import cli
from exec_broker_zerodha.settings import ZerodhaSettings
from exec_broker_zerodha.tokens import NoToken, TokenSource, store
from exec_core.errors import ConfigurationError
from exec_core.instruments import AssetClass
from pydantic import SecretStr, ValidationError


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith(("ZERODHA_", "EXEC_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def settings(**values: Any) -> ZerodhaSettings:
    return ZerodhaSettings(**({"api_key": "k", "access_token": "t"} | values))


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = settings()
    assert known.is_kite
    assert known.ws_root is None
    assert str(known.market_protection) == "-1"
    assert known.data_dir == Path("exec-data")
    assert known.products == {
        AssetClass.STOCK: "CNC",
        AssetClass.ETF: "CNC",
        AssetClass.OPTION: "NRML",
        AssetClass.FUTURE: "NRML",
    }
    monkeypatch.setenv("EXEC_DATA_DIR", str(tmp_path))
    assert settings().data_dir == tmp_path


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZERODHA_API_KEY", "from there")
    monkeypatch.setenv("ZERODHA_TOKEN_FILE", "~/token")
    monkeypatch.setenv("ZERODHA_PRODUCT", '{"STOCK": "mis"}')
    known = ZerodhaSettings()
    assert known.api_key.get_secret_value() == "from there"
    assert known.token_file == Path("~/token").expanduser()
    assert known.products[AssetClass.STOCK] == "MIS"
    monkeypatch.setenv("ZERODHA_PRODUCT", "MIS")
    assert set(ZerodhaSettings().products.values()) == {"MIS"}


@pytest.mark.parametrize(
    "values",
    [
        {"api_key": ""},
        {"access_token": None},
        {"api_root": "api.kite.trade"},
        {"api_root": "https://proxy.example/kite"},
        {"api_root": "http://kite.example"},
        {"api_root": "https://user:pass@kite.example"},
        {"ws_root": "https://ws.kite.trade"},
        {"ws_root": "ws://kite.example"},
        {"market_protection": 0},
        {"market_protection": "-0.5"},
        {"market_protection": 101},
        {"stop_offset": 0},
        {"poll_seconds": 0},
        {"request_seconds": 21},
        {"product": "BO"},
        {"product": {"STOCK": "BO"}},
        {"product": {"CRYPTO": "CNC"}},
    ],
)
def test_mistakes(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**values)


def test_addresses() -> None:
    assert settings(api_root="https://kite.example/").root == "https://kite.example"
    assert not settings(api_root="http://127.0.0.1:4000").is_kite
    assert settings(api_root="https://API.kite.trade").is_kite
    assert settings(ws_root="wss://ws.kite.trade").ws_root == "wss://ws.kite.trade"


# The token


def test_a_token_is_stored_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "token.json"
    before = os.umask(0)
    try:
        store(path, "sesame", "AB1234", None)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert TokenSource(None, path).current().get_secret_value() == "sesame"
    assert list(path.parent.iterdir()) == [path]


def test_a_token_is_read_again_when_its_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "token"
    source = TokenSource(SecretStr("fallback"), path)
    assert source.current().get_secret_value() == "fallback"
    store(path, "first1", None, None)
    assert source.current().get_secret_value() == "first1"
    times = path.stat()
    store(path, "second", None, None)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # another file, of the same time and size
    assert source.current().get_secret_value() == "second"
    path.write_text("  plain-token\n")
    assert source.current().get_secret_value() == "plain-token"


@pytest.mark.parametrize("content", ["", "{}", '{"access_token": null}', "{", "two words", '{"access_token": ""}'])
def test_a_file_without_a_token(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(NoToken, match="exec-broker-zerodha login") as lack:
        TokenSource(SecretStr("not this"), path).current()
    assert content not in str(lack.value) or not content


def test_no_token_at_all(tmp_path: Path) -> None:
    with pytest.raises(NoToken, match="does not exist"):
        TokenSource(None, tmp_path / "none").current()


def test_a_file_that_others_can_read_is_said_aloud_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "token"
    path.write_text("sesame")
    path.chmod(0o644)
    source = TokenSource(None, path)
    source.current()
    path.write_text("sesame2")
    source.current()
    assert [record.message for record in caplog.records if "chmod 600" in record.message] == [caplog.records[0].message]
    assert "sesame" not in caplog.text


# The login


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Kite says of a login; `asked` is what it was asked."""
    told: dict[str, Any] = {"access_token": "fresh", "user_id": "AB1234", "login_time": "2026-11-23 08:00:00"}

    async def log_in(known: ZerodhaSettings, api_secret: str, request_token: str) -> dict[str, Any]:
        told["asked"] = (known.api_key.get_secret_value(), api_secret, request_token)
        if "error" in told:
            raise ConfigurationError(told["error"])
        return told

    monkeypatch.setattr(cli, "log_in", log_in)
    monkeypatch.setenv("ZERODHA_API_KEY", "appkey")
    monkeypatch.setenv("ZERODHA_API_SECRET", "appsecret")
    return told


@pytest.mark.parametrize(
    "pasted", ["reqtok123", "https://127.0.0.1/?type=login&status=success&request_token=reqtok123&action=login"]
)
def test_login(told: dict[str, Any], tmp_path: Path, pasted: str) -> None:
    path = tmp_path / "token"
    result = CliRunner().invoke(cli.main, ["login", "--token-file", str(path)], input=f"{pasted}\n")
    assert result.exit_code == 0, result.output
    assert told["asked"] == ("appkey", "appsecret", "reqtok123")
    assert "https://kite.zerodha.com/connect/login?v=3&api_key=appkey" in result.output
    assert TokenSource(None, path).current().get_secret_value() == "fresh"
    assert "fresh" not in result.output
    assert "appsecret" not in result.output


def test_login_asks_for_the_secret_without_showing_it(
    told: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZERODHA_API_SECRET")
    path = tmp_path / "token"
    result = CliRunner().invoke(cli.main, ["login", "--token-file", str(path)], input="reqtok123\nhush\n")
    assert result.exit_code == 0, result.output
    assert told["asked"][1] == "hush"
    assert "hush" not in result.output


def test_a_login_of_somebody_else_is_not_kept(
    told: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZERODHA_USER_ID", "XY9999")
    path = tmp_path / "token"
    result = CliRunner().invoke(cli.main, ["login", "--token-file", str(path)], input="reqtok123\n")
    assert result.exit_code == 1
    assert "AB1234" in result.output
    assert not path.exists()


def test_a_login_that_fails_says_so(told: dict[str, Any], tmp_path: Path) -> None:
    told["error"] = "Kite did not log in: Token is invalid or has expired."
    path = tmp_path / "token"
    path.write_text("yesterday's")
    result = CliRunner().invoke(cli.main, ["login", "--token-file", str(path)], input="reqtok123\n")
    assert result.exit_code == 1
    assert told["error"] in result.output
    assert path.read_text() == "yesterday's"


@pytest.mark.parametrize("pasted", ["https://127.0.0.1/?status=error", "not a token!"])
def test_what_is_no_request_token(told: dict[str, Any], tmp_path: Path, pasted: str) -> None:
    result = CliRunner().invoke(cli.main, ["login", "--token-file", str(tmp_path / "token")], input=f"{pasted}\n")
    assert result.exit_code == 2
    assert "asked" not in told


def test_login_without_settings_names_them_all() -> None:
    result = CliRunner().invoke(cli.main, ["login"])
    assert result.exit_code == 1
    assert "ZERODHA_API_KEY" in result.output
