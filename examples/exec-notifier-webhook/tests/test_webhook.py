"""The webhook notifier passes the conformance kit, at a chat on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import exec_notifier_webhook
from exec_core.testing import FarSide, NotifierConformance

PATH = "/hooks/kept-from-everybody"


class Chat(FarSide):
    """A server that takes posts, and misbehaves as it is told."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.next_answer: tuple[int, Mapping[str, str]] | None = None
        self.hanging = threading.Semaphore(0)
        self.hangs_next = False
        self.is_held = False
        self.port = 0

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def open(self) -> None:
        self.server = Server(("127.0.0.1", self.port), Handler)
        self.server.chat = self
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"url": f"http://127.0.0.1:{self.port}{PATH}"}

    @property
    def settings_off(self) -> Mapping[str, Any]:
        return {"url": None}

    @property
    def secrets(self) -> tuple[str, ...]:
        return (PATH,)  # also without the rest of the URL

    async def received(self) -> tuple[str, ...]:
        return tuple(self.texts)

    async def refuse_next(self) -> None:
        self.next_answer = (400, {})

    async def delay_next(self, seconds: int) -> None:
        self.next_answer = (429, {"Retry-After": str(seconds)})

    async def fail_next(self) -> None:
        self.next_answer = (502, {})

    async def go_away(self) -> None:
        self.close()

    async def come_back(self) -> None:
        self.open()

    async def hang_next(self) -> None:
        self.hangs_next = True

    async def is_hanging(self) -> bool:
        return self.is_held

    async def go_on(self) -> None:
        self.hanging.release()


class Server(ThreadingHTTPServer):
    """Knows its chat."""

    daemon_threads = True
    block_on_close = False
    chat: Chat

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that has gone is no error."""


class Handler(BaseHTTPRequestHandler):
    """One post."""

    server: Server

    def do_POST(self) -> None:
        chat = self.server.chat
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if chat.hangs_next:
            chat.hangs_next, chat.is_held = False, True
            chat.hanging.acquire()
        (status, headers), chat.next_answer = chat.next_answer or (200, {}), None
        if status == 200:
            chat.texts.append(body["text"])
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is written to the console."""


class TestWebhook(NotifierConformance):
    """The webhook, at the chat."""

    plugin = exec_notifier_webhook.exec_register_notifier()
    far_side = Chat
