"""The cards on notifiers have teeth: each broken one fails exactly the cards that name its fault, a right one none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import notifier_teeth
import pytest
from exec_core.testing import NotifierConformance
from exec_core.testing.cards import cards_of

NUMBERS = {name: card.number for name, card in cards_of(NotifierConformance).items()}
SUITE = """
class Test{name}(NotifierConformance):
    plugin = notifier_teeth.SUBJECTS[{subject!r}].plugin
    far_side = notifier_teeth.Paper
    patience_seconds = {patience}
    sdk_modules = ({sdk!r},)
    {extra}
"""
ELSEWHERE = "tabnanny"

Failed = dict[str, dict[int, str]]


def suite(name: str, subject: str = "Right", *, patience: float = 20.0, sdk: str = ELSEWHERE, extra: str = "") -> str:
    """The suite of one notifier."""
    return SUITE.format(name=name, subject=subject, patience=patience, sdk=sdk, extra=extra)


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Failed:
    """The cards that each has failed, with what they said; all are played in one run."""
    directory = tmp_path_factory.mktemp("teeth")
    suites = [suite(name, name, patience=0.5) for name in notifier_teeth.SUBJECTS if name != "Right"]
    suites += [
        suite("Right"),
        suite("WithItsSdk", sdk=notifier_teeth.SDK),
        suite("Replaced", extra="def test_refused(self): pass"),
    ]
    imports = "import notifier_teeth\nfrom exec_core.testing import NotifierConformance\n"
    (directory / "test_suites.py").write_text("\n".join([imports, *suites]))
    (directory / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    # Importing in a process of its own takes long, and none of the others has to do with it.
    chosen = "not test_import or TestRight or TestWithItsSdk"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=found.xml", "-k", chosen]
    path = os.pathsep.join([str(Path(notifier_teeth.__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        command, cwd=directory, env={**environment, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return read(directory / "found.xml")


def read(report: Path) -> Failed:
    """The failed cards by the names of their suites."""
    found: Failed = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("classname", "").rpartition(".Test")[2]
        cards = found.setdefault(name, {})
        trouble = case.find("failure") if case.find("failure") is not None else case.find("error")
        if trouble is not None:
            test = case.get("name", "").partition("[")[0]
            cards[NUMBERS[test]] = f"{test}: {trouble.get('message')}"
        if name == "Right":
            assert case.find("skipped") is None, f"{case.get('name')} was skipped"
    return found


@pytest.mark.parametrize("name", notifier_teeth.SUBJECTS)
def test_each_fails_exactly_the_cards_that_name_its_fault(failed: Failed, name: str) -> None:
    assert set(failed[name]) == notifier_teeth.SUBJECTS[name].cards, "\n".join(failed[name].values())


def test_one_that_imports_its_sdk_is_found_out(failed: Failed) -> None:
    assert set(failed["WithItsSdk"]) == {30}, "\n".join(failed["WithItsSdk"].values())


def test_a_card_that_is_replaced_is_noticed(failed: Failed) -> None:
    assert set(failed["Replaced"]) == {10}, "\n".join(failed["Replaced"].values())


def test_every_card_has_a_broken_notifier_that_fails_it() -> None:
    found = set().union(*(subject.cards for subject in notifier_teeth.SUBJECTS.values()))
    assert set(NUMBERS.values()) - found == {10, 30}, "those two have tests of their own above"
