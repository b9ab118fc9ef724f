"""Brokers at a venue that can do what the mock's cannot: say a word that no document names, and begin a new day."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import ClassVar

from exec_broker_mock.conformance import MockVenue
from exec_core.broker import Found, View
from exec_core.identifiers import BrokerOrderId
from exec_core.orders import Order
from exec_core.reports import OrderReport, Report, ReportStatus
from exec_core.testing import Ability

from teeth.wrapping import Wrapper, broken, right


class ForeignVenue(MockVenue):
    """The mock's venue, which marks orders with a strange word, and whose book shows one day only."""

    cannot: ClassVar[Mapping[Ability, str]] = MappingProxyType({})
    words: ClassVar[dict[str, set[str]]] = {}
    days: ClassVar[dict[str, datetime]] = {}

    async def say_unknown_word(self, broker_order_id: str) -> None:
        self.words.setdefault(self.config.account_id, set()).add(broker_order_id)

    async def begin_new_day(self) -> None:
        self.days[self.config.account_id] = datetime.now(UTC)


class ForeignBroker(Wrapper):
    """Reads the venue's word, and shows the present day only."""

    async def reports(self) -> AsyncIterator[Report]:
        told: set[str] = set()
        async for report in super().reports():
            for name in ForeignVenue.words.get(self.config.account_id, set()) - told:
                told.add(name)
                yield self.strange(BrokerOrderId(name))
            yield report

    def strange(self, name: BrokerOrderId) -> Report:
        """What is told of an order of which the venue says a word that nobody knows."""
        return OrderReport(ReportStatus.WORKING, broker_order_id=name)

    async def find_order(self, order: Order) -> Found:
        found = await super().find_order(order)
        day = ForeignVenue.days.get(self.config.account_id)
        if day is None or any(one.status in (ReportStatus.HELD, ReportStatus.WORKING) for one in found.orders):
            return found
        return Found(self.covering(found.view, day))

    def covering(self, view: View, day: datetime) -> View:
        """The view of a book that begins with the day."""
        return replace(view, covers_from=day)


@right(oddity="is at a venue that shows the present day only, and says words that nobody knows", venue=ForeignVenue)
class ShowsTheDay(ForeignBroker):
    pass


@broken(
    590,
    fault="takes a word that it does not know for a rejection",
    stands_for="nautilus PR #4160: one unknown word rejected whole brackets",
    venue=ForeignVenue,
)
class RejectsAnUnknownWord(ForeignBroker):
    def strange(self, name: BrokerOrderId) -> Report:
        return OrderReport(ReportStatus.REJECTED, broker_order_id=name, reason="AMO REQ RECEIVED")


@broken(
    760,
    fault="claims, on another day, that its view of the day covers what was before",
    stands_for='Zerodha forum 49314: yesterday\'s order is "not found"',
    venue=ForeignVenue,
)
class CoversYesterday(ForeignBroker):
    def covering(self, view: View, day: datetime) -> View:
        return view
