"""What is seen of a plugin in a fresh process: modules of its requirements, threads, and nothing of the core's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module, invalidate_caches
from pathlib import Path

import pytest
from exec_core.broker import BrokerConfig
from exec_core.identifiers import AccountId
from exec_core.plugins import load_broker_plugin
from exec_core.testing.importing import Imported, imported_afresh

CONFIG = BrokerConfig("acme", AccountId("acc_1"))
PLUGIN = """
from exec_core import BrokerPlugin, BrokerSettings, Capabilities, hookimpl
{at_import}

def create(config, settings):
    {at_create}

PLUGIN = BrokerPlugin("acme", BrokerSettings, create, Capabilities(frozenset(), frozenset(), frozenset()), 5.0)

@hookimpl
def exec_register_broker():
    return PLUGIN
"""
THREAD = "import threading; threading.Thread(target=threading.Event().wait, name='acme', daemon=True).start()"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a distribution of one module; the plugin `acme` where `entry_point` is given."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def install(name: str, source: str = "", *, requires: tuple[str, ...] = (), entry_point: str = "") -> None:
        module = name.replace("-", "_")
        (site / f"{module}.py").write_text(source)
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        lines = [
            "Metadata-Version: 2.1",
            f"Name: {name}",
            "Version: 1.0",
            *(f"Requires-Dist: {one}" for one in requires),
        ]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (info / "RECORD").write_text(f"{module}.py,,\n")
        if entry_point:
            (info / "entry_points.txt").write_text(f"[exec_core]\n{entry_point} = {module}\n")
        invalidate_caches()

    return install


@pytest.fixture
def acme(install: Install, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs the plugin `acme`, which requires an SDK, and another that is only for its tests."""
    install("acme-sdk")
    install("acme-mock")

    def acme(*, at_import: str = "", at_create: str = "return object()") -> None:
        source = PLUGIN.format(at_import=at_import, at_create=at_create)
        requires = ("exec-core==0.1.0", "Acme.SDK>=1", "pydantic>=2", "acme-mock; extra == 'testing'")
        install("exec-broker-acme", source, requires=requires, entry_point="acme")
        monkeypatch.delitem(sys.modules, "exec_broker_acme", raising=False)

    return acme


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ({}, Imported((), ())),
        ({"at_import": "import acme_sdk"}, Imported(("acme_sdk",), ())),
        ({"at_create": "import acme_sdk; return object()"}, Imported(("acme_sdk",), ())),
        ({"at_import": "import acme_mock, pydantic, json"}, Imported((), ())),
        ({"at_import": "import sched, json"}, Imported(("sched",), ())),
        ({"at_import": THREAD}, Imported((), ("acme",))),
    ],
    ids=["nothing", "sdk at import", "sdk in create", "no sdk", "named module", "thread"],
)
async def test_an_installed_plugin(
    acme: Callable[..., None], tmp_path: Path, source: dict[str, str], seen: Imported
) -> None:
    acme(**source)
    assert await imported_afresh("acme", CONFIG, ("sched",), tmp_path) == seen


async def test_the_record_of_an_installed_plugin(acme: Callable[..., None], tmp_path: Path) -> None:
    acme(at_import="import acme_sdk")
    record = load_broker_plugin("acme")
    assert await imported_afresh(record, CONFIG, (), tmp_path) == Imported(("acme_sdk",), ())


async def test_the_record_of_a_file_that_is_not_installed(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN.format(at_import="import sched", at_create="return object()"))
    monkeypatch.syspath_prepend(str(tmp_path))
    record = import_module("mine").PLUGIN
    monkeypatch.delitem(sys.modules, "mine")
    assert await imported_afresh(record, CONFIG, ("sched",), tmp_path) == Imported(("sched",), ())


async def test_a_plugin_that_cannot_be_loaded_fails_with_what_it_said(
    acme: Callable[..., None], tmp_path: Path
) -> None:
    acme(at_import="import a_module_that_nobody_has")
    with pytest.raises(pytest.fail.Exception, match="No module named 'a_module_that_nobody_has'"):
        await imported_afresh("acme", CONFIG, (), tmp_path)
