"""The suite that a plugin ships runs alone, whatever surrounds it, and every card's outcome is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from exec_core.errors import PluginError
from exec_core.testing import running
from exec_core.testing.running import FAILED, NOT_RUN, PASSED, Result, main, run, shipped_suite, shipped_suites

#: A plugin whose settings have a prefix, and which connects to nothing.
PLUGIN = """
from types import SimpleNamespace

def exec_register_broker():
    return SimpleNamespace(settings=SimpleNamespace(model_config={"env_prefix": "ACME_"}))
"""
PARTS = "Prerequisite: none.\n        Action: none.\n        Expected: none.\n        If this fails: look at {here}."
HEAD = """
import os
import sys
import warnings
from pathlib import Path

import pytest
from exec_core.testing.cards import card


class Kit:
    plugin = "acme"
"""
SUITE = "\n\nclass TestAcme(Kit):\n    pass\n"

Install = Callable[..., Path]


def a_card(number: int, body: str, marks: str = "", arguments: str = "self") -> str:
    """The source of a card."""
    text = f'"""Title {number}.\n\n        {PARTS.format(here=f"place {number}")}\n        """'
    return f"\n    @card({number})\n    {marks}\n    def test_{number}({arguments}):\n        {text}\n        {body}\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution with a plugin and the suite that it ships, for us and for our child processes."""
    return installer(tmp_path, monkeypatch)


def installer(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """What installs below that directory."""
    site = directory / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))

    def install(suite: str | None, *, name: str = "acme", distribution: str = "exec-broker-acme") -> Path:
        module = distribution.replace("-", "_")
        (site / f"{module}.py").write_text(PLUGIN)
        metadata = site / f"{module}-1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        lines = ["[exec_core]", f"{name} = {module}"]
        if suite is not None:
            (site / f"{module}_suite.py").write_text(suite)
            lines += ["[exec_core.conformance]", f"{name} = {module}_suite"]
        (metadata / "entry_points.txt").write_text("\n".join(lines))
        return site

    return install


def cards(result: Result) -> dict[str, dict[str, Any]]:
    return {card["card"]: card for suite in result.suites for card in suite["cards"]}


OUTCOMES = (
    HEAD
    + a_card(10, "pass")
    + a_card(20, "assert how != 'badly', 'it went wrong'", "@pytest.mark.parametrize('how', ['well', 'badly'])",
             "self, how")
    + a_card(30, "pytest.skip('the venue cannot sing: it has no voice')")
    + a_card(40, "assert False", "@pytest.mark.xfail(reason='the venue rests')")
    + a_card(50, "pass", "@pytest.mark.xfail(reason='it was mended')")
    + a_card(60, "pass")
    + a_card(70, "pass", "@pytest.mark.usefixtures('broken')")
    + a_card(80, "pass", "@pytest.mark.usefixtures('leaking')")
    + a_card(100, "pass")
    + "    @pytest.fixture\n    def broken(self):\n        raise OSError('nobody there')\n"
    + "    @pytest.fixture\n    def leaking(self):\n        yield\n        raise OSError('still there')\n"
    + SUITE
    + "\n    @pytest.mark.xfail(reason='never in this life')\n    def test_60(self):\n        assert False\n"
)  # fmt: skip


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Result]:
    """What came of all these cards."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        installer(tmp_path_factory.mktemp("outcomes"), monkeypatch)(OUTCOMES)
        yield run("acme", seed=7, show=False)


class TestOutcomes:
    def test_every_card_is_told_with_its_reason(self, played: Result) -> None:
        found = {name: (card["outcome"], card["reason"]) for name, card in cards(played).items()}
        assert list(found) == [f"OC-{number}" for number in (10, 20, 30, 40, 50, 60, 70, 80, 100)]
        assert found["OC-10"] == ("passed", None)
        assert found["OC-20"][0] == "failed"
        assert "it went wrong" in found["OC-20"][1]
        assert found["OC-30"] == ("skipped", "the venue cannot sing: it has no voice")
        assert found["OC-40"] == ("xfailed", "the venue rests")
        assert found["OC-50"] == ("xpassed", "it was mended")
        assert found["OC-60"] == ("xfailed", "never in this life"), "a card that was replaced and excused is hidden"
        assert found["OC-70"] == ("failed", "OSError: nobody there")
        assert found["OC-80"] == ("failed", "OSError: still there"), "a failure after the card is lost"
        assert played.exit_code == FAILED

    def test_a_failed_case_fails_its_card_and_is_named(self, played: Result) -> None:
        failed = cards(played)["OC-20"]
        assert failed["failed_cases"] == ["badly"]
        assert "'badly' != 'badly'" in failed["error"]
        assert failed["if_this_fails"] == "look at place 20."

    def test_the_summary_says_where_to_look_and_how_many(self, played: Result) -> None:
        lines = [" ".join(line.split()) for line in played.output.splitlines()]
        assert any("conformance of acme (exec-broker-acme 1.2), kit " in line for line in lines)
        at = lines.index("FAILED OC-20 [badly] Title 20.")
        assert "If this fails: look at place 20." in lines[at : at + 4]
        assert lines[lines.index("SKIPPED OC-30 Title 30.") + 1] == "the venue cannot sing: it has no voice"
        assert lines[lines.index("EXCUSED OC-40 Title 40.") + 1] == "the venue rests"
        assert "remove the mark" in lines[lines.index("EXCUSED OC-50 Title 50.") + 1]
        counted = next(line for line in lines if line.startswith("9 cards: "))
        assert counted.startswith("9 cards: 2 passed, 3 failed, 1 skipped, 2 excused, 1 excused and passing; ")

    def test_what_ran_is_named(self, played: Result) -> None:
        (suite,) = played.suites
        assert (suite["plugin"], suite["distribution"], suite["version"]) == ("acme", "exec-broker-acme", "1.2")
        assert (suite["hypothesis_seed"], suite["suite"]) == (7, "exec_broker_acme_suite::TestAcme")

    def test_a_failure_beside_the_cards_counts_and_the_output_can_be_shown(
        self, install: Install, capfd: pytest.CaptureFixture[str]
    ) -> None:
        install(HEAD + a_card(10, "pass") + SUITE + "\n\ndef test_of_its_own():\n    assert False\n")
        result = run("acme")
        assert (result.exit_code, cards(result)["OC-10"]["outcome"]) == (FAILED, "passed")
        assert result.output == ""
        assert "1 cards: 1 passed" in capfd.readouterr().out

    def test_some_cards_only(self, install: Install) -> None:
        install(OUTCOMES)
        result = run("acme", cards=["oc-10", "100"], show=False)
        assert (result.exit_code, list(cards(result))) == (PASSED, ["OC-10", "OC-100"])

    def test_a_card_that_does_not_exist_is_refused(self, install: Install) -> None:
        install(OUTCOMES)
        result = run("acme", cards=["OC-10", "OC-11"], show=False)
        assert (result.exit_code, result.suites) == (NOT_RUN, ())
        assert "there is no card OC-11 in this suite" in result.output

    @pytest.mark.parametrize(
        "suite",
        ["import nothing_that_is_there\n", "x = 1\n", "def test_without_a_card():\n    pass\n"],
        ids=["broken", "empty", "no card"],
    )
    def test_a_module_without_a_suite_that_runs_proves_nothing(self, install: Install, suite: str) -> None:
        install(suite)
        assert run("acme", show=False).exit_code == NOT_RUN


def test_nothing_of_the_surroundings_reaches_the_run(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, temporary = tmp_path / "site", tmp_path / "temporary"
    temporary.mkdir()
    loader = "type(sys.modules[n].__loader__).__name__"
    kit = "[n for n in sys.modules if n in ('exec_core.testing.brokers.orders', 'exec_core.testing.notifiers.texts')]"
    install(
        HEAD
        + a_card(10, "assert not [k for k in os.environ if k.upper().startswith('ACME') or k == 'EXEC_CONFIG']")
        + a_card(20, "assert os.environ['OTHER'] == 'kept'")
        + a_card(30, "assert not Path('exec.toml').exists() and not Path('.env').exists()")
        + a_card(40, "assert not {'xdist', 'pytest_timeout', 'pytest_cov'} & set(sys.modules)")
        + a_card(50, "Path('left.txt').write_text('')")
        + a_card(60, "warnings.warn('this will break', DeprecationWarning)")
        + a_card(70, "from hypothesis import settings; assert settings().max_examples > 100")
        + a_card(80, f"assert [{loader} for n in {kit}] == 2 * ['AssertionRewritingHook']")
        + SUITE
    )  # fmt: skip
    # The caller's pytest, configuration, and the variables of a real account:
    monkeypatch.chdir(here)
    for place in (tmp_path, here):
        (place / "conftest.py").write_text("raise RuntimeError('the conftest of a stranger')")
        (place / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    monkeypatch.setenv("PYTEST_PLUGINS", "no_such_plugin")
    (here / ".env").write_text("ACME_TOKEN=secret")
    (here / "exec.toml").write_text("acme_token = 'secret'")
    monkeypatch.setenv("ACME_TOKEN", "secret")
    monkeypatch.setenv("acme_host", "the.real.one")
    monkeypatch.setenv("EXEC_CONFIG", str(here / "exec.toml"))
    monkeypatch.setenv("OTHER", "kept")
    # Paths must survive the move into a directory of its own, which is left clean:
    monkeypatch.setenv("PYTHONPATH", ".")
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = set(here.iterdir())
    result = run("acme", profile="nightly", show=False)
    found = {name: card["reason"] for name, card in cards(result).items() if card["outcome"] != "passed"}
    assert found == {"OC-60": "DeprecationWarning: this will break"}, result.output
    assert len(cards(result)) == 8
    assert {path.name for path in set(here.iterdir()) - before} <= {"__pycache__"}
    assert list(temporary.iterdir()) == []


class TestFinding:
    def test_suites_are_found_without_importing_them(self, install: Install) -> None:
        install("raise RuntimeError('nobody asked for me')")
        suite = shipped_suites()["acme"]
        assert (suite.module, suite.distribution, suite.version) == (
            "exec_broker_acme_suite",
            "exec-broker-acme",
            "1.2",
        )

    def test_a_plugin_that_is_not_installed_is_refused(self) -> None:
        with pytest.raises(PluginError, match="no plugin named 'nowhere' is installed"):
            run("nowhere")

    def test_a_plugin_without_a_suite_is_refused_with_what_to_do(self, install: Install) -> None:
        install(None)
        with pytest.raises(PluginError, match=r"exec-broker-acme 1\.2\) ships no venue.*run pytest in its source"):
            run("acme")

    def test_two_distributions_with_one_name_are_refused(self, install: Install) -> None:
        install(SUITE)
        install(SUITE, distribution="exec-broker-other")
        with pytest.raises(PluginError, match="exec-broker-acme and exec-broker-other"):
            shipped_suite("acme")

    def test_a_plugin_that_cannot_be_loaded_is_refused(self, install: Install) -> None:
        site = install(HEAD + a_card(10, "pass") + SUITE, name="broken", distribution="exec-broker-broken")
        (site / "exec_broker_broken.py").write_text("raise OSError('no SDK')")
        with pytest.raises(PluginError, match=r"'broken'.*cannot be loaded: OSError: no SDK"):
            run("broken")


class TestMain:
    def test_the_worst_exit_code_counts(self, install: Install, capfd: pytest.CaptureFixture[str]) -> None:
        install(HEAD + a_card(10, "assert False") + SUITE)
        install(HEAD.replace("acme", "fine") + a_card(10, "pass") + SUITE, name="fine", distribution="exec-fine")
        assert main(["fine"]) == PASSED
        assert main(["acme", "fine"]) == FAILED
        capfd.readouterr()
        assert main(["nowhere"]) == NOT_RUN
        assert "no plugin named 'nowhere'" in capfd.readouterr().err

    def test_without_a_name_every_suite_is_run(
        self, install: Install, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install(HEAD + a_card(10, "pass") + SUITE)
        install(HEAD.replace("acme", "fine") + a_card(10, "pass") + SUITE, name="fine", distribution="exec-fine")
        ours = {name: suite for name, suite in shipped_suites().items() if name in ("acme", "fine")}
        monkeypatch.setattr(running, "shipped_suites", lambda: ours)
        assert main([]) == PASSED, "the default run"
        output = capfd.readouterr().out
        assert "conformance of acme" in output
        assert "conformance of fine" in output
        assert output.count(f"seed {running.DEFAULT_SEED}") == 2, "the default run is not always the same"

    def test_nothing_to_prove_is_no_success(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(running, "shipped_suites", dict)
        assert main([]) == NOT_RUN


class TestInPlainPytest:
    @pytest.fixture
    def tests(self, tmp_path: Path) -> Path:
        """A directory with a test that holds a suite."""
        suite = HEAD.replace("acme", "nowhere") + a_card(10, "assert False") + a_card(20, "pass") + SUITE
        (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
        (tmp_path / "test_acme.py").write_text(suite)
        return tmp_path

    def output(self, tests: Path, *arguments: str) -> str:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        return subprocess.run(command, cwd=tests, capture_output=True, text=True, check=False, timeout=120).stdout

    def test_as_an_option_and_under_xdist(self, tests: Path) -> None:
        options = ["-p", "exec_core.testing.summary", "--conformance-json", "found.json", "-n", "2"]
        output = self.output(tests, *options)
        assert "conformance of nowhere, kit " in output
        assert "FAILED   OC-10 Title 10." in output
        assert "2 cards: 1 passed, 1 failed" in output
        (suite,) = json.loads((tests / "found.json").read_text())
        assert [card["outcome"] for card in suite["cards"]] == ["failed", "passed"]

    def test_in_a_conftest(self, tests: Path) -> None:
        (tests / "conftest.py").write_text('pytest_plugins = ["exec_core.testing.summary"]\n')
        assert "1 cards: 1 passed, 0 failed" in self.output(tests, "--conformance-card", "OC-20")

    def test_without_cards_it_is_silent(self, tests: Path) -> None:
        (tests / "test_acme.py").write_text("def test_of_another_kind():\n    pass\n")
        assert "conformance" not in self.output(tests, "-p", "exec_core.testing.summary")
