"""Runs the suite that an installed plugin ships, in a process of its own that nothing of the caller reaches.

A plugin ships its suite by an entry point in the group ``exec_core.conformance``: the plugin's name, and the module
with its `BrokerConformance` or `NotifierConformance`. ``python -m exec_core.testing.running`` runs all that are
installed, ``python -m exec_core.testing.running acme`` one.

The run must say the same everywhere. So it takes place in an empty directory, without anybody's `pytest.ini`,
`conftest.py`, `.env` or `exec.toml`, with no other pytest plugins than the kit's; and without the variables of the
plugin under test, for they may be those of a real account.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

from exec_core.errors import PluginError
from exec_core.plugins import installed_plugins

ENTRY_POINT_GROUP: Final = "exec_core.conformance"
PASSED: Final = 0
FAILED: Final = 1
NOT_RUN: Final = 2
#: Every run of the default profile tries the same; the nightly one tries something else each time.
DEFAULT_SEED: Final = 0
PROFILES: Final = ("nightly",)

_PYTEST_INI: Final = """\
[pytest]
addopts = --import-mode=append --strict-markers --strict-config
consider_namespace_packages = true
python_files = test_*.py {file}
filterwarnings = error
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
faulthandler_timeout = 300
"""
_OPTIONS: Final = (
    *("--noconftest", "--disable-plugin-autoload", "--quiet", "--tb=short", "-rN"),
    *("-p", "asyncio", "-p", "hypothesispytest", "-p", "no:cacheprovider", "-p", "exec_core.testing.summary"),
)


@dataclass(frozen=True, slots=True)
class ShippedSuite:
    """A suite as its plugin ships it; nothing of it is imported."""

    name: str
    module: str
    distribution: str
    version: str


@dataclass(frozen=True, slots=True)
class Result:
    """How a run went. `exit_code`: 0 no card failed, 1 a card (or another test of the module) failed, 2 it did not run.

    `suites` are as `exec_core.testing.summary` writes them; `output` is pytest's, where it was not shown.
    """

    exit_code: int
    suites: tuple[Mapping[str, Any], ...]
    output: str = ""


def shipped_suites() -> dict[str, ShippedSuite]:
    """The installed suites by the names of their plugins.

    :raises PluginError: two distributions claim one name.
    """
    found: dict[str, ShippedSuite] = {}
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda one: one.name):
        suite = _shipped(entry_point)
        other = found.setdefault(suite.name, suite)
        if other != suite:
            raise PluginError(
                f"two installed packages ship a conformance suite named {suite.name!r}: {other.distribution} and "
                f"{suite.distribution}. Uninstall one of them"
            )
    return found


def _shipped(entry_point: EntryPoint) -> ShippedSuite:
    distribution = entry_point.dist.name if entry_point.dist else "unknown"
    version = entry_point.dist.version if entry_point.dist else "?"
    return ShippedSuite(entry_point.name, entry_point.module, distribution, version)


def shipped_suite(name: str) -> ShippedSuite:
    """The suite that the plugin called `name` ships.

    :raises PluginError: there is no such plugin, or it ships none.
    """
    suites = shipped_suites()
    if name in suites:
        return suites[name]
    plugins = installed_plugins()
    with_suite = ", ".join(suites) or "none"
    if name not in plugins:
        raise PluginError(
            f"no plugin named {name!r} is installed (installed: {', '.join(sorted(plugins)) or 'none'}; "
            f"with a conformance suite: {with_suite})"
        )
    plugin = plugins[name]
    raise PluginError(
        f"the plugin {name!r} ({plugin.distribution} {plugin.version}) ships no venue, so only its own tests can prove "
        f"it: run pytest in its source directory. A plugin ships one by an entry point in the group "
        f"{ENTRY_POINT_GROUP} (with a conformance suite: {with_suite})"
    )


def run(
    name: str, *, cards: Sequence[str] = (), profile: str | None = None, seed: int | None = None, show: bool = True
) -> Result:
    """Run the suite of an installed plugin; with `show` pytest's output and the summary go to standard output.

    :param cards: only these, ``OC-120`` or ``120``.
    :param profile: None or ``nightly``, which lets the state machine try much longer.
    :param seed: what Hypothesis tries follows from it; None: always the same, with a profile a new one each time.
    :raises PluginError: no such plugin, it ships no suite, or it cannot be loaded.
    """
    suite = shipped_suite(name)
    if seed is None:
        seed = DEFAULT_SEED if profile is None else secrets.randbelow(2**32)
    with tempfile.TemporaryDirectory(prefix="exec-conformance-") as directory:
        ini, results = Path(directory, "pytest.ini"), Path(directory, "results.json")
        # Named, so that also its own assertions show what they compared.
        file = f"{suite.module.rpartition('.')[2]}.py"
        ini.write_text(_PYTEST_INI.format(file=file), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", *_OPTIONS, "-c", str(ini), "--rootdir", directory]
        command += ["--conformance-json", str(results), f"--hypothesis-seed={seed}"]
        command += [f"--hypothesis-profile={profile}"] if profile is not None else []
        command += [f"--conformance-card={card}" for card in cards]
        sys.stdout.flush()
        done = subprocess.run(  # noqa: S603  # our own interpreter, on a module that is installed
            [*command, "--pyargs", suite.module],
            cwd=directory,
            env=_environment(name),
            stdout=None if show else subprocess.PIPE,
            stderr=None if show else subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        rows = json.loads(results.read_text(encoding="utf-8")) if results.exists() else []
    played = done.returncode in (PASSED, FAILED) and bool(rows)
    return Result(done.returncode if played else NOT_RUN, tuple(rows), done.stdout or "")


def _environment(name: str) -> dict[str, str]:
    """Ours, without what would steer pytest, and without the plugin's own variables; paths must survive the move."""
    prefixes = ("PYTEST_", "HYPOTHESIS_", *_prefixes(name))
    kept = {key: value for key, value in os.environ.items() if not key.upper().startswith(prefixes)}
    for unwanted in ("EXEC_CONFIG", "PYTHONWARNINGS"):
        kept.pop(unwanted, None)
    if "PYTHONPATH" in kept:
        places = kept["PYTHONPATH"].split(os.pathsep)
        kept["PYTHONPATH"] = os.pathsep.join(str(Path(place).absolute()) for place in places if place)
    return kept


def _prefixes(name: str) -> list[str]:
    """What the names of the plugin's variables begin with."""
    plugin = installed_plugins().get(name)
    if plugin is None:
        return []
    try:
        module = plugin.entry_point.load()
        hooks = [getattr(module, hook, None) for hook in ("exec_register_broker", "exec_register_notifier")]
        found = [str(hook().settings.model_config.get("env_prefix") or "") for hook in hooks if hook is not None]
    except Exception as error:
        raise PluginError(
            f"the plugin {name!r} ({plugin.distribution} {plugin.version}) cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
    return [prefix.upper() for prefix in found if prefix]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suites that are named, else all that are installed; returns the worst exit code."""
    parser = argparse.ArgumentParser(prog="python -m exec_core.testing.running", description="Prove installed plugins.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a plugin; else every one that ships a suite")
    parser.add_argument("--card", action="append", default=[], help="play this card only, e.g. OC-120; repeatable")
    parser.add_argument("--profile", choices=PROFILES, help="nightly: let the state machine try much longer")
    parser.add_argument("--seed", type=int, help="what Hypothesis tries follows from it")
    options = parser.parse_args(arguments)
    codes = []
    try:
        for name in options.names or shipped_suites():
            codes.append(run(name, cards=options.card, profile=options.profile, seed=options.seed).exit_code)
    except PluginError as error:
        sys.stderr.write(f"{error}\n")
        return NOT_RUN
    if not codes:
        sys.stderr.write("No installed plugin ships a conformance suite.\n")
        return NOT_RUN
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
