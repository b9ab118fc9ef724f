"""`setup` makes what the service needs, says so, and may be run again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from exec_service.cli import main
from exec_service.stores import StoreUnavailable


@pytest.fixture(autouse=True)
def _in_a_directory_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("EXEC_DATA_DIR", "EXEC_CONFIG", "MONGODB_URI", "MONGODB_DATABASE", "ACCOUNTS", "USE_MOCK_BROKER"):
        monkeypatch.delenv(name, raising=False)


def setup(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["setup", *arguments])


def test_the_embedded_files_are_made_without_any_account_and_again() -> None:
    for _ in range(2):
        result = setup("--embedded")
        assert (result.exit_code, result.stderr) == (0, "")
        assert [line.split(" in ")[0] for line in result.stdout.splitlines()] == ["The bus", "The store"]
    assert {path.name for path in Path("exec-data").glob("*.sqlite3")} == {"bus.sqlite3", "store.sqlite3"}
    assert CliRunner().invoke(main, ["orders"]).exit_code == 0


def test_json_is_one_array_of_sentences() -> None:
    lines = json.loads(setup("--embedded", "--json").stdout)
    assert len(lines) == 2
    assert all(isinstance(line, str) for line in lines)


def test_without_a_database_it_says_what_to_set_and_makes_nothing(tmp_path: Path) -> None:
    result = setup()
    assert (result.exit_code, result.stdout) == (2, "")
    assert "MONGODB_URI" in result.stderr
    assert "--embedded" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_had_is_a_sentence_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("in the way")
    monkeypatch.setenv("EXEC_DATA_DIR", "file/data")
    result = setup("--embedded")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "file/data" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_sentence_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGODB_URI", "mongodb://user:hunter2222@host/")

    async def set_up(settings: object) -> list[str]:
        raise StoreUnavailable("mongodb://user:hunter2222@host/ does not answer")

    monkeypatch.setattr("exec_service.bootstrap.set_up", set_up)
    result = setup()
    assert result.exit_code == 1
    assert "does not answer" in result.stderr
    assert "hunter2222" not in result.output
