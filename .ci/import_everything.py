"""Imports every module of an installed distribution and loads its entry points; fails on what is not declared.

Usage: import_everything.py DISTRIBUTION [EXTRA]

Without an extra everything is imported but the conformance kit and what plugins ship to be tested with (their suites,
their simulators), and no test tool may be there. With one, that is: with the extra `testing`, those are imported, too.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from importlib.metadata import distribution

#: Tools of the tests: a package that needs one of them at run time, or drags it in, is wrong.
TEST_TOOLS = ("pytest", "_pytest", "pytest_asyncio", "hypothesis", "xdist", "mypy", "nox")
#: What needs the extra: the kit, and the modules that entry points of this group name.
KIT = "exec_core.testing"
SUITES = "exec_core.conformance"
#: The folder of a plugin's simulated venue.
SIMULATOR = "simulator"


def modules(name: str, left_out: set[str]) -> Iterator[str]:
    """The names of a module and of all that are in it."""
    module = importlib.import_module(name)
    yield name
    for found in pkgutil.iter_modules(getattr(module, "__path__", ()), f"{name}."):
        if found.name not in left_out and not found.name.endswith(".__main__"):
            yield from modules(found.name, left_out)


def main(name: str, extra: str | None = None) -> int:
    """Import everything of `name`; the number of modules goes to the console."""
    entry_points = distribution(name).entry_points
    need_extra = {entry_point.module for entry_point in entry_points if entry_point.group == SUITES} | {KIT}
    simulator = f"{name.replace('-', '_')}.{SIMULATOR}"
    if importlib.util.find_spec(simulator):
        need_extra.add(simulator)
    left_out = set() if extra else need_extra
    found = list(modules(name.replace("-", "_"), left_out))
    for entry_point in entry_points:
        if entry_point.module not in left_out:
            entry_point.load()
    dragged_in = [tool for tool in TEST_TOOLS if importlib.util.find_spec(tool)]
    if dragged_in and not extra:
        print(f"{name} alone must not install {', '.join(dragged_in)}", file=sys.stderr)
        return 1
    missed = [module for module in need_extra if extra and module.startswith(found[0]) and module not in found]
    if missed:
        print(f"with {extra}, {name} has no {', '.join(missed)}", file=sys.stderr)
        return 1
    print(f"{name}{f'[{extra}]' if extra else ''}: {len(found)} modules")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
