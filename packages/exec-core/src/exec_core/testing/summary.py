"""Tells card by card what the kit found: as text at the end of a pytest run, and as JSON. A pytest plugin.

``pytest -p exec_core.testing.summary``, or ``pytest_plugins = ["exec_core.testing.summary"]`` in the topmost
`conftest.py`. It needs no entry point, sees nothing but cards, and works under pytest-xdist. Options:
``--conformance-card OC-120`` (repeatable) plays this card only; ``--conformance-json FILE`` writes the results.
"""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest

from exec_core.errors import PluginError
from exec_core.plugins import installed_plugins
from exec_core.testing.cards import Card, card_of
from exec_core.testing.results import CardResult, Outcome, SuiteResult, told

_ATTRIBUTE: Final = "exec_conformance"
_GATHERER: Final = "exec-conformance-summary"


class Gatherer:
    """Gathers the outcomes of cards and tells them at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.suites: dict[str, SuiteResult] = {}
        self._started = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what came of one phase of a card."""
        about: dict[str, str] | None = getattr(report, _ATTRIBUTE, None)
        if about is None:
            return
        suite = self.suites.get(about["suite"])
        if suite is None:
            suite = self.suites[about["suite"]] = _suite(about["suite"], about["plugin"])
        result = suite.cards.setdefault(
            about["card"], CardResult(about["card"], about["title"], about["if_this_fails"])
        )
        result.seconds += report.duration
        outcome = _outcome(report)
        if outcome is not None:
            result.case(about["case"], outcome, _reason(report, outcome))
        if outcome is Outcome.FAILED:
            result.errors.append(report.longreprtext)

    def pytest_sessionfinish(self) -> None:
        """Write the results where they are wanted."""
        path = self.config.getoption("conformance_json", default=None)
        if path:
            Path(path).write_text(json.dumps(self.as_rows(), indent=2), encoding="utf-8")

    def as_rows(self) -> list[dict[str, Any]]:
        """Everything, one row for each suite."""
        return [
            {
                "kit_version": version("exec-core"),
                "plugin": suite.plugin,
                "distribution": suite.distribution,
                "version": suite.version,
                "suite": suite.suite,
                "hypothesis_profile": self.config.getoption("hypothesis_profile", default=None),
                "hypothesis_seed": self._seed(),
                "seconds": round(time.monotonic() - self._started, 3),
                "cards": [one.as_row() for one in suite.sorted()],
            }
            for suite in self.suites.values()
        ]

    def _seed(self) -> int | str | None:
        seed: str | None = self.config.getoption("hypothesis_seed", default=None)
        return int(seed) if seed is not None and seed.isdecimal() else seed

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the summary of each suite."""
        for row in self.as_rows():
            installed = f" ({row['distribution']} {row['version']})" if row["distribution"] else ""
            terminalreporter.write_sep("=", f"conformance of {row['plugin']}{installed}, kit {row['kit_version']}")
            for line in told(row, terminalreporter.config.get_terminal_writer().fullwidth):
                terminalreporter.write_line(line)


def _suite(name: str, plugin: str) -> SuiteResult:
    try:
        installed = installed_plugins().get(plugin)
    except PluginError:
        installed = None
    if installed is None:
        return SuiteResult(name, plugin, None, None)
    return SuiteResult(name, plugin, installed.distribution, installed.version)


def _outcome(report: pytest.TestReport) -> Outcome | None:
    """None: the phase says nothing about the card, as a set-up that went well."""
    if report.failed:
        return Outcome.FAILED
    excused = hasattr(report, "wasxfail")
    if report.skipped:
        return Outcome.XFAILED if excused else Outcome.SKIPPED
    if report.when != "call":
        return None
    return Outcome.XPASSED if excused else Outcome.PASSED


def _reason(report: pytest.TestReport, outcome: Outcome) -> str | None:
    match outcome:
        case Outcome.FAILED:
            crash = getattr(report.longrepr, "reprcrash", None)
            text = str(crash.message) if crash is not None else report.longreprtext
            return next((line.strip() for line in text.splitlines() if line.strip()), "it failed without a word")
        case Outcome.XFAILED | Outcome.XPASSED:
            return str(getattr(report, "wasxfail", "")).removeprefix("reason: ")
        case Outcome.SKIPPED:
            text = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else report.longreprtext
            return text.removeprefix("Skipped: ")
        case _:
            return None


# The hooks of the pytest plugin


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("conformance", "conformance of broker plugins")
    group.addoption(
        "--conformance-card", action="append", default=[], metavar="CARD", help="Play this card only, e.g. OC-120."
    )
    group.addoption("--conformance-json", metavar="FILE", help="Write the results of the cards to this file.")


def pytest_configure(config: pytest.Config) -> None:
    """Gather; under pytest-xdist where the reports come together, not in each worker."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Gatherer(config), _GATHERER)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave only the cards that were asked for. :raises pytest.UsageError: one of them is not there."""
    asked: list[str] | None = config.getoption("conformance_card", default=None)
    if not asked:
        return
    cards = {id(item): card for item in items if (card := _card(item)) is not None}
    wanted: set[str] = set()
    for name in asked:
        named = {card.name for card in cards.values() if name.upper() in (card.name, str(card.number))}
        if not named:
            raise pytest.UsageError(f"there is no card {name} in this suite; docs/conformance.md lists them")
        wanted |= named
    kept = [item for item in items if id(item) in cards and cards[id(item)].name in wanted]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write on the report of a card what it is about, so that it survives the way from an xdist worker."""
    report = yield
    card = _card(item)
    suite = getattr(item, "cls", None)
    if card is not None and suite is not None:
        plugin = getattr(suite, "plugin", None)
        specification = getattr(item, "callspec", None)
        about = {
            "suite": f"{suite.__module__}::{suite.__qualname__}",
            "plugin": str(plugin if isinstance(plugin, str) else getattr(plugin, "name", None) or suite.__qualname__),
            "card": card.name,
            "title": card.title,
            "if_this_fails": card.if_this_fails,
            "case": "" if specification is None else str(specification.id),
        }
        setattr(report, _ATTRIBUTE, about)
    return report


def _card(item: pytest.Item) -> Card | None:
    """The card that a test is, or that it stands for: one which a suite replaced, excused by ``xfail``."""
    own = card_of(getattr(item, "function", None))
    name = getattr(item, "originalname", None)
    if own is not None or name is None:
        return own
    replaced = (card_of(vars(base).get(name)) for base in getattr(item.cls, "__mro__", ()))  # type: ignore[attr-defined]
    return next((one for one in replaced if one is not None), None)
