"""The errors: their tree, and what they carry."""

from __future__ import annotations

import inspect
import pickle
import re

import exec_core
import pytest
from exec_core import errors
from exec_core.errors import BrokerError, ConfigurationError, ExecError, OrderRejected

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


def drawn_tree() -> dict[str, str]:
    """Child to parent, as the module's docstring draws it."""
    assert errors.__doc__ is not None
    parents: dict[str, str] = {}
    open_ones: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        drawn = re.match(r"^ {4}([│ ]*)(?:[├└]── )?([A-Z]\w+)(?:  |$)", line)
        if drawn is None:
            continue
        depth = drawn.start(2)
        open_ones = [(other, name) for other, name in open_ones if other < depth]
        if open_ones:
            parents[drawn[2]] = open_ones[-1][1]
        open_ones.append((depth, drawn[2]))
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    real = {kind.__name__: kind.__bases__[0].__name__ for kind in CLASSES if kind is not ExecError}
    assert drawn_tree() == real


def test_every_error_is_public() -> None:
    assert {kind.__name__ for kind in CLASSES} <= set(exec_core.__all__)


def test_a_broker_error_must_say_what_is_known() -> None:
    with pytest.raises(TypeError, match="raise a subclass"):
        BrokerError("something happened")
    told = OrderRejected("Insufficient margin", broker="mock", client_order_id="A")
    assert (str(told), told.broker, told.client_order_id) == ("Insufficient margin", "mock", "A")


def test_all_problems_of_a_configuration_are_told_at_once() -> None:
    found = ConfigurationError("one is missing", "two is wrong")
    assert found.problems == ("one is missing", "two is wrong")
    assert str(found) == "one is missing\ntwo is wrong"


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not BrokerError])
def test_every_error_can_be_pickled(kind: type[ExecError]) -> None:
    """They cross process boundaries, and a broken one would hide what happened."""
    if issubclass(kind, BrokerError):
        error: ExecError = kind("a sentence", broker="mock", client_order_id="A")
    elif kind is ConfigurationError:
        error = kind("one", "two")
    else:
        error = kind("a sentence")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (copy.args, vars(copy)) == (error.args, vars(error))
    assert str(copy) == str(error)
