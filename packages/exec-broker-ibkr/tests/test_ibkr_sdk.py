"""Which client library is there, and that it keeps quiet."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import warnings
from importlib.machinery import ModuleSpec

import pytest
from exec_broker_ibkr.connection import sdk
from exec_core.errors import ConfigurationError


def pretend(monkeypatch: pytest.MonkeyPatch, *installed: str) -> None:
    monkeypatch.setattr(sdk, "find_spec", lambda name: ModuleSpec(name, None) if name in installed else None)


@pytest.mark.parametrize("name", ["ib_insync", "ib_async"])
def test_the_one_that_is_installed_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, name)
    assert sdk.installed_library() == name


def test_none_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    with pytest.raises(ConfigurationError, match="ib_insync or ib_async"):
        sdk.installed_library()


async def test_both_are_refused_before_either_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "ib_insync", "ib_async")
    monkeypatch.setattr(sdk, "import_module", lambda name: pytest.fail(f"{name} was imported"))
    with pytest.raises(ConfigurationError, match="overwrite"):
        await sdk.load()


async def test_a_broken_library_is_a_matter_of_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ModuleNotFoundError("No module named 'eventkit'")

    pretend(monkeypatch, "ib_async")
    monkeypatch.setattr(sdk, "import_module", broken)
    with pytest.raises(ConfigurationError, match="eventkit"):
        await sdk.load()


async def test_it_is_loaded_with_its_codec() -> None:
    loaded = await sdk.load()
    assert loaded.name == sdk.installed_library()
    assert loaded.client.__module__ == f"{loaded.name}.client"
    assert loaded.decoder.__module__ == f"{loaded.name}.decoder"
    assert loaded.module.Contract is not None


def test_it_is_loaded_in_any_thread_and_after_another_loop() -> None:
    """In a fresh process: with a loop of its own making, no current loop being set, warnings being errors."""
    program = (
        "import asyncio, threading\n"
        "from exec_broker_ibkr.connection import sdk\n"
        "import sys; assert not {'ib_insync', 'ib_async', 'numpy'} & set(sys.modules)\n"
        "asyncio.run(asyncio.sleep(0))\n"
        "names = []\n"
        "def work():\n"
        "    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:\n"
        "        names.append(runner.run(sdk.load()).name)\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
        "print(*names)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == sdk.installed_library(), done.stderr


async def test_its_loggers_are_quiet_unless_somebody_set_them() -> None:
    with warnings.catch_warnings():
        loaded = await sdk.load()
    assert not logging.getLogger(f"{loaded.name}.client").isEnabledFor(logging.INFO)
    assert logging.getLogger(f"{loaded.name}.client").isEnabledFor(logging.WARNING)
    library = logging.getLogger(loaded.name)
    library.setLevel(logging.DEBUG)
    try:
        sdk.hush(loaded.name)
        assert library.level == logging.DEBUG
    finally:
        library.setLevel(logging.WARNING)


async def test_loading_leaves_no_thread_working_for_the_loop() -> None:
    await asyncio.gather(sdk.load(), sdk.load())
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
