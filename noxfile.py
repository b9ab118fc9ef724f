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
nox.options.sessions = ["lint", "tests", "packages"]
nox.options.error_on_missing_interpreters = True

ROOT = Path(__file__).parent
DIST = ROOT / "dist"
PACKAGES = ("exec-core", "exec-broker-mock", "exec-service")
SOURCES = [f"packages/{package}/src" for package in PACKAGES]


def project(package: str) -> dict[str, Any]:
    """The `[project]` table of a package."""
    table: dict[str, Any] = tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text())["project"]
    return table


def wheel(package: str) -> str:
    """The wheel of a package, as `build` left it."""
    return str(DIST / f"{package.replace('-', '_')}-{project(package)['version']}-py3-none-any.whl")


def wheels(package: str) -> list[str]:
    """The wheels of a package and of those of ours that it depends on, each by its path.

    Never by name from `dist/`: an installer may take a wheel of the same name and version from its cache.
    """
    names = {re.split(r"[^A-Za-z0-9._-]", requirement)[0] for requirement in project(package)["dependencies"]}
    ours = {file for name in PACKAGES if name in names for file in wheels(name)}
    return [wheel(package), *sorted(ours)]


def install_tools(session: nox.Session, group: str) -> None:
    """Install a dependency group of the root pyproject, and every package in place."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    packages = [argument for package in PACKAGES for argument in ("--editable", f"packages/{package}")]
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
    """One wheel of each package, into dist/."""
    shutil.rmtree(DIST, ignore_errors=True)
    session.install("build", "hatchling")
    for package in PACKAGES:
        session.run("python", "-m", "build", "--wheel", "--no-isolation", "--outdir", str(DIST), f"packages/{package}")


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


@nox.session
def chaos(session: nox.Session) -> None:
    """Kill the service, the database and the bus while orders flow, and count. Arguments after -- go to the script."""
    install_tools(session, "test")
    session.run("python", "tests/chaos.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure orders from publishing to confirmation, beside bare loops. Arguments after -- go to the script."""
    install_tools(session, "test")
    session.run("python", "benchmarks/pipeline.py", *session.posargs, env={"PYTHONPATH": "tests"})
