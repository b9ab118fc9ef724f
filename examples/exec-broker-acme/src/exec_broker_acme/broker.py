"""The contract of `exec_core.broker`, in terms of a session and a translation; and the plugin's record."""

from collections.abc import AsyncIterator
from decimal import Decimal
from types import TracebackType
from typing import Final, Self

from exec_core import (
    AccountSummary,
    AssetClass,
    Availability,
    BrokerPlugin,
    BrokerPosition,
    CancelRejected,
    Capabilities,
    Found,
    Instrument,
    Order,
    OrderRejected,
    OrderReport,
    OrderUnsupported,
    Placed,
    Report,
    ReportStatus,
    Snapshot,
    View,
)
from exec_core.clock import utc_now
from exec_core.polling import AdaptivePace, BookPage, OrderBookPoller

from exec_broker_acme import translate
from exec_broker_acme.session import Refused, Session
from exec_broker_acme.settings import AcmeSettings

CAPABILITIES: Final = Capabilities(
    order_types=frozenset(translate.ORDER_TYPES),
    times_in_force=frozenset(translate.TIMES_IN_FORCE),
    asset_classes=frozenset({AssetClass.STOCK, AssetClass.ETF}),
)
OPEN: Final = (ReportStatus.HELD, ReportStatus.WORKING)


class AcmeBroker:
    """A session with Acme, for one account."""

    def __init__(self, settings: AcmeSettings) -> None:
        self._session = Session(settings)
        pace = AdaptivePace(settings.fastest_look_seconds, settings.slowest_look_seconds)
        self._poller = OrderBookPoller(self._look, pace, failures=3)

    async def __aenter__(self) -> Self:
        await self._session.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._poller.close()
        await self._session.close()

    async def place_order(self, order: Order) -> Placed:
        """Send the order. :raises OrderRejected, NotSent: as the contract says; anything else: it may be live."""
        if refusal := CAPABILITIES.refusal(order.request):
            raise OrderUnsupported(refusal)
        try:
            row = await self._session.request("POST", "/orders", translate.order_body(order))
        except Refused as error:
            raise OrderRejected(str(error)) from error
        finally:
            self._poller.wake.set()
        return Placed(row["id"], translate.status(row))

    async def cancel_order(self, order: Order) -> None:
        """Ask for a cancel under each id that the order has. :raises CancelRejected: Acme would not."""
        ids = order.broker_order_ids or [row["id"] for row in (await self._book(order))[0]]
        refusals = [] if ids else [f"Acme shows no order {order.client_order_id}"]
        for broker_order_id in ids:
            try:
                await self._session.request("DELETE", f"/orders/{broker_order_id}")
            except Refused as error:
                refusals.append(str(error))
        self._poller.wake.set()
        if refusals:
            raise CancelRejected("; ".join(refusals))

    async def find_order(self, order: Order) -> Found:
        """Everything that Acme shows under the order's ids, ended or not."""
        rows, view = await self._book(order)
        return Found(view, tuple(map(translate.order_report, rows)), tuple(translate.fill_reports(rows)))

    def reports(self) -> AsyncIterator[Report]:
        """The book as it is, then what changes. :raises ConnectionFailed: look after look has failed."""
        return self._poller.reports()

    async def open_orders(self) -> Snapshot[OrderReport]:
        """The account's orders that can still trade."""
        rows, view = await self._book()
        return Snapshot(tuple(translate.order_report(row) for row in rows if translate.status(row) in OPEN), view)

    async def positions(self) -> Snapshot[BrokerPosition]:
        """What the account holds."""
        asked_at = utc_now()
        answer = await self._session.request("GET", "/positions")
        held = (BrokerPosition(Instrument(row["symbol"]), Decimal(row["qty"])) for row in answer["positions"])
        return Snapshot(tuple(held), translate.view(answer, asked_at))

    async def account(self) -> AccountSummary:
        """The account's money."""
        asked_at = utc_now()
        answer = await self._session.request("GET", "/account")
        equity, cash, buying_power = (Decimal(answer[name]) for name in ("equity", "cash", "power"))
        return AccountSummary(answer["ccy"], asked_at, equity, cash, buying_power)

    def availability(self) -> Availability:
        """Whether orders can be sent now, as far as the last request tells."""
        return self._session.availability

    async def _book(self, order: Order | None = None) -> tuple[list[translate.Row], View]:
        """Acme's book, or what it holds under an order's ids; and how much that proves."""
        asked_at = utc_now()  # before the request: what Acme takes while it answers may be missing
        answer = await self._session.request("GET", "/orders")
        ours = None if order is None else {order.client_order_id, *order.broker_order_ids}
        rows = [row for row in answer["orders"] if ours is None or row["ref"] in ours or row["id"] in ours]
        return rows, translate.view(answer, asked_at)

    async def _look(self) -> BookPage:
        rows, _ = await self._book()
        return BookPage(map(translate.order_report, rows), translate.fill_reports(rows))


PLUGIN: Final = BrokerPlugin(
    name="acme",
    settings=AcmeSettings,
    create=lambda _config, settings: AcmeBroker(settings),
    capabilities=CAPABILITIES,
    unknown_settle_seconds=60.0,
)
