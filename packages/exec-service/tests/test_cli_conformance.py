"""`conformance` proves an installed plugin with the kit, and says in a sentence why it cannot."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner, Result
from exec_core.testing import running
from exec_service.cli import main

KIT = {"pytest", "pytest_asyncio", "hypothesis", "exec_core.testing"}


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["conformance", *arguments])


def a_card(number: int, outcome: str) -> dict[str, object]:
    return {"card": f"OC-{number}", "title": "A title.", "outcome": outcome, "reason": None, "seconds": 0.1}


@pytest.fixture
def comes_out(monkeypatch: pytest.MonkeyPatch):
    """Let the run come out like this; what it was asked for is returned."""

    def comes_out(exit_code: int, *cards: dict[str, object], output: str = "") -> list[dict[str, object]]:
        about = {"plugin": "mock", "distribution": "exec-broker-mock", "version": "1", "kit_version": "2"}
        suites = ({**about, "hypothesis_seed": 7, "cards": list(cards)},) if cards else ()
        asked: list[dict[str, object]] = []

        def run(name: str, **options: object) -> running.Result:
            asked.append({"name": name, **options})
            return running.Result(exit_code, suites, output)

        monkeypatch.setattr(running, "run", run)
        return asked

    return comes_out


def test_the_mock_is_proved_by_one_command(tmp_path) -> None:
    command = [sys.executable, "-m", "exec_service", "conformance", "mock", "--card", "OC-20", "--card", "oc-10"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["card"], row["outcome"], row["plugin"]) for row in rows] == [
        ("OC-10", "passed", "mock"),
        ("OC-20", "passed", "mock"),
    ]
    assert {row["distribution"] for row in rows} == {"exec-broker-mock"}
    assert list(tmp_path.iterdir()) == []


def test_a_failed_card_is_exit_code_1_and_named(comes_out) -> None:
    comes_out(1, a_card(10, "passed"), a_card(20, "failed"), a_card(30, "skipped"))
    result = invoke("mock", "--json")
    assert result.exit_code == 1
    assert [row["outcome"] for row in json.loads(result.stdout)] == ["passed", "failed", "skipped"]
    assert json.loads(result.stdout)[0]["hypothesis_seed"] == 7
    assert "1 of 3 cards failed: OC-20." in result.stderr


def test_a_failure_beside_the_cards_is_not_hidden(comes_out) -> None:
    comes_out(1, a_card(10, "passed"))
    result = invoke("mock")
    assert result.exit_code == 1
    assert "No card failed, but a test" in result.stderr


def test_what_did_not_run_is_exit_code_2_with_what_it_said(comes_out) -> None:
    comes_out(2, output="there is no card OC-11\n")
    result = invoke("mock", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is no card OC-11" in result.stderr
    assert "did not run" in result.stderr


def test_the_options_are_passed_on(comes_out) -> None:
    asked = comes_out(0, a_card(10, "passed"))
    invoke("mock", "--card", "OC-10", "--card", "OC-20", "--profile", "nightly", "--seed", "4711")
    invoke("mock", "--json")
    assert asked == [
        {"name": "mock", "cards": ("OC-10", "OC-20"), "profile": "nightly", "seed": 4711, "show": True},
        {"name": "mock", "cards": (), "profile": None, "seed": None, "show": False},
    ]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("console", "ships no venue, so only its own tests can prove it: run pytest in its source"),
        ("nowhere", "no plugin named 'nowhere' is installed"),
    ],
)
def test_a_plugin_that_cannot_be_proved_is_exit_code_2_and_a_sentence(name: str, sentence: str) -> None:
    result = invoke(name, "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert sentence in " ".join(result.stderr.split())


@pytest.mark.parametrize("missing", ["pytest", "pytest_asyncio", "hypothesis"])
def test_without_the_extra_it_says_how_to_get_it(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    result = invoke("mock")
    assert result.exit_code == 2
    assert f"The conformance kit needs {missing}," in result.stderr
    assert "pip install 'exec-core[testing]'" in result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["conformance", "--help"], ["plugins"]], ids=" ".join)
def test_no_other_command_imports_the_kit(arguments: list[str]) -> None:
    script = (
        f"import sys; from exec_service.cli import main; main({arguments!r}, standalone_mode=False); "
        "print('MODULES', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert KIT & set(done.stdout.partition("MODULES ")[2].split()) == set()
