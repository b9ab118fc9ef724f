"""The poller: repeats nothing, loses nothing, and an error is not an empty book."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from exec_core.errors import AuthenticationFailed, ConnectionFailed
from exec_core.fills import Commission, Fill
from exec_core.identifiers import BrokerOrderId, ClientOrderId, ExecutionId
from exec_core.polling import AdaptivePace, BookPage, OrderBookPoller
from exec_core.reports import CommissionReport, FillReport, OrderReport, OrderTerms, ReportStatus
from exec_core.sides import Side

NOW = datetime(2024, 11, 24, 10, 30, tzinfo=UTC)
VENUE_ID = BrokerOrderId("ord_1")
WORKING = OrderReport(ReportStatus.WORKING, broker_order_id=VENUE_ID)
CANCELLED = replace(WORKING, status=ReportStatus.CANCELLED)
FILL = FillReport(Fill(ExecutionId("x1"), Side.BUY, Decimal(1), Decimal(10), NOW), broker_order_id=VENUE_ID)
CORRECTION = replace(FILL, fill=replace(FILL.fill, price=Decimal(9), correction=1))
COMMISSION = CommissionReport(ExecutionId("x1"), Commission(Decimal(1), "USD"), broker_order_id=VENUE_ID)


class Venue:
    """Hands out the pages it was given, one a look; then the last one again and again."""

    def __init__(self, *pages: BookPage | Exception) -> None:
        self._pages = list(pages)
        self.looks = 0

    async def fetch(self) -> BookPage:
        page = self._pages[min(self.looks, len(self._pages) - 1)]
        self.looks += 1
        if isinstance(page, Exception):
            raise page
        return page


def at_once(_news: bool) -> float:
    return 0.0


async def test_what_was_seen_is_not_told_again() -> None:
    venue = Venue(BookPage([WORKING]), BookPage([WORKING]), BookPage([WORKING]), BookPage([CANCELLED]))
    stream = OrderBookPoller(venue.fetch, at_once).reports()
    assert [await anext(stream), await anext(stream)] == [WORKING, CANCELLED]
    assert venue.looks == 4
    await stream.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_executions_come_before_the_end_that_they_belong_to() -> None:
    poller = OrderBookPoller(Venue().fetch, at_once)
    assert poller.news(BookPage([CANCELLED], [FILL], [COMMISSION])) == [FILL, COMMISSION, CANCELLED]


def test_a_state_that_comes_back_is_news_again() -> None:
    poller = OrderBookPoller(Venue().fetch, at_once)
    held = replace(WORKING, status=ReportStatus.HELD)
    told = [poller.news(BookPage([report])) for report in (WORKING, held, held, WORKING)]
    assert told == [[WORKING], [held], [], [WORKING]]


def test_a_row_is_news_again_if_its_terms_alone_have_changed() -> None:
    poller = OrderBookPoller(Venue().fetch, at_once)
    rows = [replace(WORKING, terms=OrderTerms(Decimal(quantity), Decimal(10))) for quantity in (100, 60, 60, 100)]
    told = [poller.news(BookPage([row])) for row in rows]
    assert told == [[rows[0]], [rows[1]], [], [rows[3]]]


def test_a_correction_stands_beside_what_it_corrects() -> None:
    poller = OrderBookPoller(Venue().fetch, at_once)
    assert poller.news(BookPage(fills=[FILL, CORRECTION])) == [FILL, CORRECTION]
    assert poller.news(BookPage(fills=[FILL, CORRECTION])) == []


def test_orders_without_a_broker_order_id_go_by_ours() -> None:
    poller = OrderBookPoller(Venue().fetch, at_once)
    ours = [OrderReport(ReportStatus.WORKING, client_order_id=ClientOrderId(name)) for name in ("A", "B")]
    assert poller.news(BookPage(ours)) == ours
    assert poller.news(BookPage(ours)) == []


async def test_an_error_of_the_venue_passes_through() -> None:
    venue = Venue(BookPage([WORKING]), OSError("no route"))
    stream = OrderBookPoller(venue.fetch, at_once).reports()
    assert await anext(stream) == WORKING
    with pytest.raises(OSError, match="no route"):
        await anext(stream)


async def test_the_pace_follows_whether_there_was_news() -> None:
    asked: list[bool] = []

    def pace(news: bool) -> float:
        asked.append(news)
        return 0.0

    stream = OrderBookPoller(Venue(BookPage([WORKING]), BookPage([WORKING]), BookPage([CANCELLED])).fetch, pace)
    async for report in stream.reports():
        if report == CANCELLED:
            break
    assert asked == [True, False]


async def test_a_wake_ends_the_wait() -> None:
    venue = Venue(BookPage([WORKING]), BookPage([CANCELLED]))
    poller = OrderBookPoller(venue.fetch, lambda _news: 3600.0)
    stream = poller.reports()
    assert await anext(stream) == WORKING
    following = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    assert venue.looks == 1
    poller.wake.set()
    assert await following == CANCELLED


async def test_as_many_looks_in_a_row_may_fail_as_were_allowed() -> None:
    away = ConnectionFailed("no route")
    pages = [BookPage([WORKING]), away, away, BookPage([CANCELLED]), away, away, away]
    stream = OrderBookPoller(Venue(*pages).fetch, at_once, failures=2).reports()
    assert [await anext(stream), await anext(stream)] == [WORKING, CANCELLED]
    with pytest.raises(ConnectionFailed, match="no route"):
        await anext(stream)


async def test_a_look_that_fails_is_no_news() -> None:
    asked: list[bool] = []

    def pace(news: bool) -> float:
        asked.append(news)
        return 0.0

    venue = Venue(BookPage([WORKING]), OSError("no route"), BookPage([CANCELLED]))
    async for report in OrderBookPoller(venue.fetch, pace, failures=1).reports():
        if report == CANCELLED:
            break
    assert asked == [True, False]


async def test_a_refused_login_is_never_tried_again() -> None:
    venue = Venue(AuthenticationFailed("log in"))
    with pytest.raises(AuthenticationFailed):
        await anext(OrderBookPoller(venue.fetch, at_once, failures=5).reports())
    assert venue.looks == 1


async def test_after_a_wake_it_looks_on_quickly() -> None:
    asked: list[bool] = []
    poller = OrderBookPoller(Venue(BookPage([WORKING]), BookPage([WORKING]), BookPage([CANCELLED])).fetch, at_once)

    def pace(news: bool) -> float:
        asked.append(news)
        poller.wake.set()
        return 3600.0

    poller.pace = pace
    async for report in poller.reports():
        if report == CANCELLED:
            break
    assert asked == [True, True]


def test_the_adaptive_pace_slows_down_while_nothing_happens() -> None:
    pace = AdaptivePace(1.0, 5.0, slowing=2.0)
    assert [pace(False), pace(False), pace(False), pace(True), pace(False)] == [2.0, 4.0, 5.0, 1.0, 2.0]


@pytest.mark.parametrize(("fastest", "slowest"), [(0.0, 1.0), (2.0, 1.0)])
def test_a_pace_that_never_waits_or_speeds_up_is_refused(fastest: float, slowest: float) -> None:
    with pytest.raises(ValueError, match="pace"):
        AdaptivePace(fastest, slowest)


async def test_when_the_session_is_left_the_reports_end_at_once() -> None:
    poller = OrderBookPoller(Venue(BookPage([WORKING])).fetch, lambda _news: 3600.0, failures=5)
    stream = poller.reports()
    assert await anext(stream) == WORKING
    following = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    poller.close()
    with pytest.raises(ConnectionFailed, match="left"):
        await following
    with pytest.raises(ConnectionFailed, match="left"):
        await anext(poller.reports())


async def test_a_look_under_way_when_the_session_is_left_is_not_tried_again() -> None:
    looks = 0

    async def fetch() -> BookPage:
        nonlocal looks
        looks += 1
        poller.close()
        raise OSError("closed")

    poller = OrderBookPoller(fetch, lambda _news: 3600.0, failures=5)
    with pytest.raises(ConnectionFailed, match="left"):
        await anext(poller.reports())
    assert looks == 1
