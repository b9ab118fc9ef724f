"""Acme, rehearsed: its HTTP interface over a book in memory, with faults on demand.

It speaks Acme's wire and nothing of ours, so that the adapter and its HTTP client cannot tell. Rows are kept as they
are sent. Nothing trades by itself; `AcmeVenue` (see `exec_broker_acme.conformance`) says what becomes of an order.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Final

from aiohttp import web

TOKEN: Final = "acme-token-4711"  # noqa: S105  # it opens nothing but this
ACCOUNT: Final = "A-100234"
NEW_YORK: Final = timezone(timedelta(hours=-5))
OPEN: Final = ("WAIT", "ACK", "PART", "FROZEN")  # the last is in no document of theirs


class Acme:
    """The server, and its book: order rows by their ids. The attributes below are its faults."""

    def __init__(self) -> None:
        self.book: dict[str, dict[str, Any]] = {}
        self.ended: dict[str, str] = {}  # how, of those that ended unfilled: where a corrected execution leads back to
        self.since = now()
        self.refusal: str | None = None
        self.breaks_before = self.breaks_after = self.hangs = False
        self.breaks_cancel = self.holds_cancels = False
        self.fails_questions = self.is_partial = self.is_locked = self.withholds_fees = False
        self._numbers = itertools.count(7001)
        self._closing = asyncio.Event()
        self._port: socket.socket | None = None
        app = web.Application(middlewares=[self._gate])
        app.router.add_get("/account", self._get_account)
        app.router.add_get("/positions", self._get_positions)
        app.router.add_get("/orders", self._get_orders)
        app.router.add_post("/orders", self._post_order)
        app.router.add_delete("/orders/{id}", self._delete_order)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        self._site: web.TCPSite | None = None

    # The server

    @property
    def port(self) -> int:
        """Where it listens once it is open; it stays the same while nobody is let in."""
        if self._port is None:
            raise RuntimeError("Acme's simulator is not open")
        return int(self._port.getsockname()[1])

    async def open(self) -> None:
        """Make ready, and let everybody in."""
        # Bound and never listening: it keeps the port ours while nobody is let in.
        self._port = socket.socket()
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._port.bind(("127.0.0.1", 0))
        await self._runner.setup()
        await self.let_in()

    async def let_in(self) -> None:
        """Listen, unless it does."""
        if self._site is None:
            self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
            await self._site.start()

    async def shut_out(self) -> None:
        """Cut every connection, and refuse new ones."""
        site, self._site = self._site, None
        if site is not None:
            await site.stop()
        for connection in list(self._runner.server.connections if self._runner.server else ()):
            if connection.transport is not None:
                connection.transport.abort()

    async def close(self) -> None:
        """Let go of everything."""
        self._closing.set()
        await self.shut_out()
        await self._runner.cleanup()
        if self._port is not None:
            self._port.close()

    # The book

    def enter(self, body: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Take an order."""
        number = f"ACM-{next(self._numbers)}"
        state: dict[str, Any] = {
            "status": "WAIT" if body["stop"] else "ACK",
            "cum": 0,
            "reason": None,
            "ccy": "USD",
            "trades": [],
        }
        self.book[number] = {"id": number, **body, **state, "updated": now(), **fields}
        return self.book[number]

    def change(self, row: dict[str, Any], status: str, reason: str | None = None) -> None:
        """The order is in another state."""
        if status not in (*OPEN, "DONE"):
            self.ended[row["id"]] = status
        row.update(
            status=status, reason=reason, updated=now(), cum=int(sum(Decimal(one["qty"]) for one in row["trades"]))
        )

    def modify(self, row: dict[str, Any], **terms: str) -> None:
        """A person has the order worked on other terms: ``qty``, ``limit``, ``stop``."""
        row.update(terms)
        self.change(row, "DONE" if row["cum"] >= Decimal(row["qty"]) else row["status"], row["reason"])

    def trade(self, row: dict[str, Any], quantity: Decimal, price: Decimal) -> dict[str, Any]:
        """Execute a part of an order, whatever its state."""
        fee = None if self.withholds_fees else 1.25
        figures = {"qty": str(quantity), "px": str(price), "fee": fee, "at": now(), "rev": 0}
        row["trades"].append({"id": f"T{next(self._numbers)}", **figures})
        self.change(row, "PART" if row["status"] in ("WAIT", "ACK") else row["status"], row["reason"])
        if row["cum"] >= Decimal(row["qty"]) and row["status"] != "FROZEN":
            self.change(row, "DONE")
        found: dict[str, Any] = row["trades"][-1]
        return found

    # The answers

    @web.middleware
    async def _gate(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self.is_locked or request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": "unknown token"}, status=401)
        if request.method == "GET" and self.fails_questions:
            return web.Response(status=503, text="<html>upstream unavailable</html>")
        return await handler(request)

    async def _get_account(self, _: web.Request) -> web.Response:
        return web.json_response({"id": ACCOUNT, "ccy": "USD", "equity": "100000.10", "cash": 99000.1, "power": 200000})

    async def _get_orders(self, _: web.Request) -> web.Response:
        shown = [] if self.is_partial else list(self.book.values())
        return web.json_response({"orders": shown, "since": self.since, "partial": self.is_partial})

    async def _get_positions(self, _: web.Request) -> web.Response:
        held: dict[str, Decimal] = {}
        for row in self.book.values():
            traded = sum((Decimal(one["qty"]) for one in row["trades"]), Decimal())
            held[row["symbol"]] = held.get(row["symbol"], Decimal()) + (traded if row["side"] == "B" else -traded)
        shown = [] if self.is_partial else [{"symbol": name, "qty": str(held[name])} for name in held if held[name]]
        return web.json_response({"positions": shown, "partial": self.is_partial})

    async def _post_order(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self.refusal is not None:
            reason, self.refusal = self.refusal, None
            return web.json_response({"error": reason}, status=422)
        if self.breaks_before:
            self.breaks_before = False
            return _broken(request)
        row = self.enter(body)
        if self.breaks_after:
            self.breaks_after = False
            return _broken(request)
        if self.hangs:
            self.hangs = False
            await self._closing.wait()
        return web.json_response(row, status=201)

    async def _delete_order(self, request: web.Request) -> web.Response:
        row = self.book.get(request.match_info["id"])
        if row is None:
            return web.json_response({"error": "no such order"}, status=404)
        if row["status"] not in (*OPEN, "CXL"):
            return web.json_response({"error": f"too late: {row['status']}"}, status=409)
        if row["status"] in OPEN and not self.holds_cancels:
            self.change(row, "CXL")
        if self.breaks_cancel:
            self.breaks_cancel = False
            return _broken(request)
        return web.json_response(row, status=202)


def now() -> str:
    """The time, as Acme writes it."""
    return datetime.now(NEW_YORK).isoformat(timespec="milliseconds")


def _broken(request: web.Request) -> web.Response:
    """The line breaks before the answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
