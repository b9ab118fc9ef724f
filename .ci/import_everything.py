"""Imports every module of an installed distribution and loads its entry points; fails on what is not declared.

Usage: import_everything.py DISTRIBUTION
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from importlib.metadata import distribution

#: Tools of the tests: a package that needs one of them at run time, or drags it in, is wrong.
TEST_TOOLS = ("pytest", "_pytest", "hypothesis", "xdist", "mypy", "nox")


def main(name: str) -> int:
    """Import everything of `name`; the number of modules goes to the console."""
    package = importlib.import_module(name.replace("-", "_"))
    found = [package.__name__]
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
            found.append(module.name)
    for entry_point in distribution(name).entry_points:
        entry_point.load()
    dragged_in = [tool for tool in TEST_TOOLS if importlib.util.find_spec(tool)]
    if dragged_in:
        print(f"{name} alone must not install {', '.join(dragged_in)}", file=sys.stderr)
        return 1
    print(f"{name}: {len(found)} modules")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
