"""What every suite of the kit stands on: the fixture that gives a card its stage, and the guard over the cards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

import pytest
import pytest_asyncio

from exec_core.broker import BrokerPlugin
from exec_core.plugins import load_broker_plugin
from exec_core.testing.cards import Guarded, card, card_of, fail_if_a_card_is_replaced
from exec_core.testing.stage import Stage
from exec_core.testing.venue import Venue


class BrokerSuite(Guarded):
    """The settings of a suite, and its fixtures. Use `exec_core.testing.BrokerConformance`, which has all cards."""

    plugin: ClassVar[str | BrokerPlugin]
    """The plugin under test: the name of an installed one, or its record."""
    venue: ClassVar[type[Venue]]
    """The far side; made anew for each card."""
    patience_seconds: ClassVar[float] = 20.0
    """How long a card waits for something that must happen."""
    sdk_modules: ClassVar[tuple[str, ...]] = ()
    """Modules that must not be imported before a session is entered, beside those of the plugin's requirements."""

    @pytest.fixture
    def broker_plugin(self) -> BrokerPlugin:
        """The record of the plugin under test."""
        return load_broker_plugin(self.plugin) if isinstance(self.plugin, str) else self.plugin

    @pytest_asyncio.fixture
    async def stage(self, request: pytest.FixtureRequest, broker_plugin: BrokerPlugin) -> AsyncIterator[Stage]:
        """The venue, open, and everything a card needs; the card is skipped here if it makes no sense."""
        venue = self.venue()
        played = card_of(request.function)
        reason = played.reason_to_skip(broker_plugin.capabilities, venue) if played is not None else None
        if reason is not None:
            pytest.skip(reason)
        async with venue:
            stage = Stage(broker_plugin, venue, self.patience_seconds)
            yield stage
            await stage.leave()

    @card(10)
    def test_no_card_is_replaced(self) -> None:
        """No card is replaced or removed in silence.

        Prerequisite: none.
        Action: compare the suite with the kit's.
        Expected: each card is the kit's own, or is marked ``xfail`` with a reason.
        If this fails: a test of your suite has the name of a card. Rename it; or, if your venue or adapter cannot
        keep the card's promise, mark it ``@pytest.mark.xfail(reason=...)``, so that everybody can read why.
        """
        fail_if_a_card_is_replaced(type(self))
