"""The checks, each in a fresh environment of its own. `make test` runs the default ones; `nox --list` shows all."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "tests", "packages", "conformance", "ibkr_async", "examples"]
nox.options.error_on_missing_interpreters = True

ROOT = Path(__file__).parent
DIST = ROOT / "dist"
PACKAGES = ("exec-core", "exec-broker-mock", "exec-broker-ibkr", "exec-broker-zerodha", "exec-service")
EXAMPLES = tuple(sorted(file.parent.name for file in (ROOT / "examples").glob("*/pyproject.toml")))
FOLDERS = {
    **{package: ROOT / "packages" / package for package in PACKAGES},
    **{example: ROOT / "examples" / example for example in EXAMPLES},
}
SOURCES = [str((folder / "src").relative_to(ROOT)) for folder in FOLDERS.values()]
BENCHMARKS = ("pipeline", "growth", "workers", "memory", "brokers", "zerodha")
#: The extra with the conformance kit, or with what a plugin proves itself with it.
TESTING = "testing"


def pyproject(package: str) -> dict[str, Any]:
    """The pyproject of a package or example."""
    return tomllib.loads((FOLDERS[package] / "pyproject.toml").read_text())


def project(package: str) -> dict[str, Any]:
    """The `[project]` table of a package or example."""
    table: dict[str, Any] = pyproject(package)["project"]
    return table


def wheel(package: str) -> str:
    """The wheel of a package or example, as it was built."""
    return str(DIST / f"{package.replace('-', '_')}-{project(package)['version']}-py3-none-any.whl")


def wheels(package: str, extra: str | None = None) -> list[str]:
    """The wheels of a package and of those of ours that it depends on, each by its path, with the extra if it has it.

    Never by name from `dist/`: an installer may take a wheel of the same name and version from its cache.
    """
    extras = project(package).get("optional-dependencies", {})
    requirements = [*project(package)["dependencies"], *extras.get(extra, ())]
    names = {re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in requirements}
    ours = {file for name in PACKAGES if name in names for file in wheels(name, extra)}
    return [f"{wheel(package)}[{extra}]" if extra in extras else wheel(package), *sorted(ours)]


def install_tools(session: nox.Session, group: str) -> None:
    """Install a dependency group of the root pyproject, and every package in place, with the conformance kit."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    packages = []
    for package in PACKAGES:
        extra = f"[{TESTING}]" if TESTING in project(package).get("optional-dependencies", {}) else ""
        packages += ["--editable", f"packages/{package}{extra}"]
    session.install(*groups[group], *packages)


def check_requirements(session: nox.Session) -> None:
    """Fail where an installed distribution misses a dependency or has the wrong version of one."""
    if session.venv_backend == "uv":
        session.run("uv", "pip", "check", external=True)
    else:
        session.run("python", "-m", "pip", "check")


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types and who may import whom."""
    install_tools(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy", *SOURCES)
    session.run("lint-imports")


@nox.session
def tests(session: nox.Session) -> None:
    """All tests, with everything installed. Arguments after -- go to pytest."""
    install_tools(session, "test")
    session.run("pytest", "-n", "4", *session.posargs)  # most of them wait: for disks, processes, time-outs


@nox.session
def build(session: nox.Session) -> None:
    """One wheel of each package and example, into dist/."""
    shutil.rmtree(DIST, ignore_errors=True)
    session.install("build", "hatchling")
    for folder in FOLDERS.values():
        session.run("python", "-m", "build", "--wheel", "--no-isolation", "--outdir", str(DIST), str(folder))


@nox.session(requires=["build"])
@nox.parametrize("package", PACKAGES, ids=PACKAGES)
def packages(session: nox.Session, package: str) -> None:
    """Each package alone, from its wheel, with its own dependencies only: what is not declared is missed here."""
    session.install(*wheels(package))
    check_requirements(session)
    session.run("python", "-W", "error", ".ci/import_everything.py", package)
    for script in project(package).get("scripts", {}):
        session.run(script, "--help", silent=True)
    if package == "exec-broker-mock":
        session.run("python", "-W", "error", ".ci/run_examples.py", "README.md")
    if package == "exec-service":
        # Without the extra the command says in one sentence what is missing.
        session.run("exec-service", "conformance", "console", success_codes=[2])
    if TESTING in project(package).get("optional-dependencies", {}):
        session.install(*wheels(package, TESTING))
        check_requirements(session)
        session.run("python", "-W", "error", ".ci/import_everything.py", package, TESTING)


@nox.session(requires=["build"])
def conformance(session: nox.Session) -> None:
    """Every installed plugin that ships its venue proves itself, from its wheel. Arguments go to the runner."""
    session.install(*dict.fromkeys(file for package in PACKAGES for file in wheels(package, TESTING)))
    check_requirements(session)
    session.run("python", "-m", "exec_core.testing.running", *session.posargs)


@nox.session(requires=["build"])
def ibkr_async(session: nox.Session) -> None:
    """The broker `ibkr` with the other client library, which pip cannot choose here: all its tests, its cards too."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    own = [
        requirement
        for requirement in project("exec-broker-ibkr")["dependencies"]
        if not requirement.startswith(("exec-core", "ib-insync", "ib_async"))
    ]
    # The service is here for what the fixtures of all tests import.
    ours = dict.fromkeys([*wheels("exec-core", TESTING), *wheels("exec-service")])
    session.install(*ours, "ib_async>=2.1", *own, *groups["test"])
    session.install("--no-deps", wheel("exec-broker-ibkr"))
    session.run("python", "-c", "import ib_async, importlib.util; assert not importlib.util.find_spec('ib_insync')")
    session.run("pytest", "-n", "4", "packages/exec-broker-ibkr/tests", *session.posargs)


@nox.session(requires=["build"])
@nox.parametrize("example", EXAMPLES, ids=EXAMPLES)
def examples(session: nox.Session, example: str) -> None:
    """Each example plugin, from its wheel, beside the service and the kit: its own tests. Arguments go to pytest."""
    ours = {*PACKAGES, *EXAMPLES}
    needed = [*pyproject(example).get("dependency-groups", {}).get("test", ())]
    tools = [requirement for requirement in needed if re.split(r"[^A-Za-z0-9._-]", requirement)[0] not in ours]
    session.install(*dict.fromkeys([*wheels(example, TESTING), *wheels("exec-service", TESTING)]), *tools)
    check_requirements(session)
    for name in project(example)["entry-points"].get("exec_core.conformance", {}):
        # All cards are among its tests; this is to see that what it ships is found.
        session.run("exec-service", "conformance", name, "--card", "10")
    session.chdir(FOLDERS[example])
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Kill the workers, the database and the bus while orders flow, and count. Arguments after -- go to the script."""
    install_tools(session, "test")
    session.run("python", "tests/chaos.py", *session.posargs)


@nox.session
def chaos_brokers(session: nox.Session) -> None:
    """Kill the service while it trades over a broker's own wire, and count. Arguments go to the script."""
    install_tools(session, "test")
    session.run("python", "tests/chaos_brokers.py", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Half an hour of mixed load while one thing after another breaks. Arguments after -- go to the script."""
    install_tools(session, "test")
    path = ROOT / "packages" / "exec-service" / "tests" / "support"  # the Telegram on loopback
    session.run("python", "tests/soak.py", *session.posargs, env={"PYTHONPATH": str(path)})


@nox.session
def crash(session: nox.Session) -> None:
    """Stop the service dead at every one of its effects, and check what it recovers to. Arguments go to the script."""
    install_tools(session, "test")
    session.run("python", "-m", "crash", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session
@nox.parametrize("what", BENCHMARKS, ids=BENCHMARKS)
def bench(session: nox.Session, what: str) -> None:
    """Measure, each figure beside a reference of the same run. Arguments after -- go to the script."""
    install_tools(session, "test")
    session.install("matplotlib>=3.8")  # the plots that --write makes
    session.run("python", f"benchmarks/{what}.py", *session.posargs, env={"PYTHONPATH": "tests"})
