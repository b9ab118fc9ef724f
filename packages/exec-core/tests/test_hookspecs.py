"""The hooks: few, documented, and typed by the record that they hand over."""

from __future__ import annotations

import inspect

import pluggy
import pytest
from exec_core import BrokerPlugin, NotifierPlugin, hookspecs

HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("exec_")}


def test_the_hooks_are_these() -> None:
    assert set(HOOKS) == {"exec_register_broker", "exec_register_notifier"}
    manager = pluggy.PluginManager(hookspecs.PROJECT_NAME)
    manager.add_hookspecs(hookspecs)
    assert all(hasattr(manager.hook, name) for name in HOOKS)


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_every_hook_is_documented_and_takes_nothing(name: str) -> None:
    documentation = inspect.getdoc(HOOKS[name])
    assert documentation is not None
    assert "must not connect" in documentation
    assert not inspect.signature(HOOKS[name]).parameters


def test_every_hook_says_which_record_it_hands_over() -> None:
    returned = {name: inspect.signature(hook).return_annotation for name, hook in HOOKS.items()}
    assert returned == {
        "exec_register_broker": BrokerPlugin.__name__,
        "exec_register_notifier": NotifierPlugin.__name__,
    }
