"""What the cards on notifiers stand on: the suite's settings, the far side's fixture, the guard over the cards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

import pytest
import pytest_asyncio

from exec_core.notifier import NotifierPlugin
from exec_core.plugins import load_notifier_plugins
from exec_core.testing.cards import NOTIFIER_CARDS, Guarded, card, card_of, fail_if_a_card_is_replaced
from exec_core.testing.notifiers.far_side import FarSide
from exec_core.testing.notifiers.telling import Telling

Test = TypeVar("Test", bound=Callable[..., Any])

#: A card on notifiers.
notifier_card: Final[Callable[..., Callable[[Test], Test]]] = partial(card, prefix=NOTIFIER_CARDS)


class NotifierSuite(Guarded):
    """The settings of a suite, and its fixtures. Use `exec_core.testing.NotifierConformance`, which has all cards."""

    plugin: ClassVar[str | NotifierPlugin]
    """The plugin under test: the name of an installed one, or its record."""
    far_side: ClassVar[type[FarSide]]
    """The far side; made anew for each card."""
    patience_seconds: ClassVar[float] = 20.0
    """How long a card waits for each call, and for something that must happen."""
    sdk_modules: ClassVar[tuple[str, ...]] = ()
    """Modules that must not be imported with the plugin, because they take a while: SDKs, HTTP clients."""

    @pytest.fixture(autouse=True)
    def _skip_what_makes_no_sense(self, request: pytest.FixtureRequest) -> None:
        played = card_of(request.function)
        reason = played.reason_it_cannot(self.far_side.cannot) if played is not None else None
        if reason is not None:
            pytest.skip(reason)

    @pytest.fixture
    def notifier_plugin(self) -> NotifierPlugin:
        """The record of the plugin under test."""
        return self._record()

    @pytest_asyncio.fixture
    async def telling(self, _skip_what_makes_no_sense: None) -> AsyncIterator[Telling]:
        """The far side, open, and what a card needs."""
        async with self.far_side() as far:
            yield Telling(self._record(), far, self.patience_seconds)

    def _record(self) -> NotifierPlugin:
        if not isinstance(self.plugin, str):
            return self.plugin
        for plugin in load_notifier_plugins():
            if plugin.name == self.plugin:
                return plugin
        pytest.fail(f"no notifier named {self.plugin!r} is installed: is its entry point in the group exec_core?")

    @notifier_card(10)
    def test_no_card_is_replaced(self) -> None:
        """No card is replaced or removed in silence.

        Prerequisite: none.
        Action: compare the suite with the kit's.
        Expected: each card is the kit's own, or is marked ``xfail`` with a reason.
        If this fails: a test of your suite has the name of a card. Rename it; or, if your far side or notifier cannot
        keep the card's promise, mark it ``@pytest.mark.xfail(reason=...)``, so that everybody can read why.
        """
        fail_if_a_card_is_replaced(type(self))
