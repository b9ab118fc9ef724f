"""What a plugin imports and starts by being loaded, seen in a process of its own."""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any, Final

import pytest

from exec_core.broker import BrokerConfig, BrokerPlugin
from exec_core.plugins import installed_plugins

#: The distributions that bring each top-level module.
Owners = Mapping[str, list[str]]

#: How long a fresh process may take: only so that a plugin which hangs when it is imported does not hang the kit.
PATIENCE_SECONDS: Final = 120
#: Data that the standard library reads by itself, no SDK.
_DATA: Final = frozenset({"tzdata"})
_PROBE: Final = """
import base64, importlib, importlib.util, json, pathlib, pickle, sys, threading
asked = json.load(sys.stdin)
sys.path[:] = asked["path"]
before = set(sys.modules)
if asked["plugin"]:
    from exec_core.plugins import load_broker_plugin, plugin_settings
    plugin = load_broker_plugin(asked["plugin"])
    config = pickle.loads(base64.b64decode(asked["config"]))
    plugin.create(config, plugin_settings(plugin, config))
else:
    try:
        importlib.import_module(asked["module"])
    except ModuleNotFoundError as error:
        if not asked["module"].startswith(str(error.name)) or not asked["file"]:
            raise
        spec = importlib.util.spec_from_file_location("conformance_probe", asked["file"])
        module = sys.modules["conformance_probe"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
modules = [name for name in asked["modules"] if name in sys.modules and name not in before]
threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
pathlib.Path(asked["answer"]).write_text(json.dumps([modules, threads]), encoding="utf-8")
"""


@dataclass(frozen=True, slots=True)
class Imported:
    """What was there after the plugin was loaded: modules that should not be, and threads."""

    modules: tuple[str, ...]
    threads: tuple[str, ...]


async def imported_afresh(
    plugin: str | BrokerPlugin, config: BrokerConfig, sdk_modules: Iterable[str], folder: Path
) -> Imported:
    """Load the plugin in a fresh process, and look at it there; `folder` is empty and the kit's."""
    module = "" if isinstance(plugin, str) else _module_of(plugin)
    owners = packages_distributions()
    settings = dict(config.settings)  # a mapping proxy cannot be pickled
    asked = {
        "path": _search_path(),
        "plugin": plugin if isinstance(plugin, str) else "",
        "module": module,
        "file": getattr(sys.modules.get(module), "__file__", None),
        "config": base64.b64encode(pickle.dumps(replace(config, settings=settings))).decode("ascii"),
        "modules": sorted({*sdk_modules, *_modules_required(_distribution_of(plugin, module, owners), owners)}),
        "answer": str(folder / "answer.json"),
    }
    ended = await asyncio.to_thread(_run, json.dumps(asked), folder)
    if ended.returncode:
        pytest.fail(f"the plugin cannot be loaded in a fresh process:\n{ended.stderr}", pytrace=False)
    modules, threads = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
    return Imported(tuple(modules), tuple(threads))


def _search_path() -> list[str]:
    return [str(Path(entry).resolve()) for entry in sys.path]


def _run(asked: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603  # this interpreter, with the program above
        [sys.executable, "-c", _PROBE],
        input=asked,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def _module_of(plugin: BrokerPlugin) -> str:
    create: Any = plugin.create
    while isinstance(create, partial):
        create = create.func
    return str(create.__module__)


def _distribution_of(plugin: str | BrokerPlugin, module: str, owners: Owners) -> str | None:
    """The distribution that brings the plugin; None for one that is not installed."""
    installed = installed_plugins()
    if isinstance(plugin, str):
        return installed[plugin].distribution
    package = module.partition(".")[0]
    for one in installed.values():
        if one.entry_point.module.partition(".")[0] == package:
            return one.distribution
    return next(iter(owners.get(package, ())), None)


def _modules_required(name: str | None, owners: Owners) -> set[str]:
    """The top-level modules of what the distribution requires, without those that come with the core anyway."""
    if name is None:
        return set()
    core = _with_all_requirements("exec-core")
    required = {one for one in _requirements(name) if one not in core | _DATA}
    return _modules_of(required, owners)


def _with_all_requirements(name: str) -> set[str]:
    found, new = set[str](), {name}
    while new:
        found |= new
        new = {required for one in new for required in _requirements(one)} - found
    return found


def _requirements(name: str) -> set[str]:
    """The names of what a distribution requires, without extras; those not installed require nothing."""
    try:
        stated = distribution(name).requires or []
    except PackageNotFoundError:
        return set()
    # "name[extra]>=1; marker": the name is all that is needed, and requirements of extras have a marker that says so.
    plain = [text for text in stated if not re.search(r";.*\bextra\b", text)]
    return {_normal(match[0]) for match in (re.match(r"[\w.-]+", text.strip()) for text in plain) if match}


def _modules_of(distributions: set[str], owners: Owners) -> set[str]:
    found, known = set[str](), set[str]()
    for module, names in owners.items():
        ours = {_normal(name) for name in names} & distributions
        known |= ours
        if ours:
            found.add(module)
    # What is installed in place lists no modules: they are called like it, usually.
    return found | {name.replace("-", "_") for name in distributions - known}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
