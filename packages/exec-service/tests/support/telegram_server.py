"""Telegram's Bot API on loopback: takes messages as Telegram does, and misbehaves on command.

    with TelegramServer() as telegram:
        service = start(TELEGRAM_ENABLED="true", **telegram.variables)
        telegram.misbehave(telegram.too_many(1), telegram.fails(502), telegram.hangs())
        telegram.until(lambda: len(telegram.texts) == 3)

What it is told to misbehave in comes one per request, in order; after that it is well again.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

TOKEN: Final = "987654321:AAF-loopback_token_0123456789abcdefg"
CHAT_ID: Final = "-1001234567890"
LONGEST_TEXT: Final = 4096


@dataclass(frozen=True)
class Answer:
    """What is sent back: a JSON body, or bytes; None closes the connection without an answer."""

    status: int | None = 200
    body: Mapping[str, Any] | bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    waits: bool = False  # until the server is told to go on, or ends


@dataclass(frozen=True)
class Request:
    """What came in."""

    verb: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def payload(self) -> dict[str, Any]:
        """The JSON in it."""
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def method(self) -> str:
        """The Bot API's method."""
        return self.path.rpartition("/")[2]


def error(code: int, description: str, headers: Mapping[str, str] | None = None, **parameters: object) -> Answer:
    """An error as Telegram spells it."""
    body: dict[str, Any] = {"ok": False, "error_code": code, "description": description}
    return Answer(code, {**body, "parameters": parameters} if parameters else body, headers or {})


class TelegramServer:
    """The server, while it is entered. `chats` are those that the bot may write to."""

    def __init__(self, token: str = TOKEN, chats: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self.token = token
        self.chats = dict(chats or {CHAT_ID: {"id": int(CHAT_ID), "type": "supergroup", "title": "Trading desk"}})
        self.requests: list[Request] = []
        self.messages: list[dict[str, Any]] = []
        self._misbehaviour: deque[Answer] = deque()
        self._changed = threading.Condition()
        self._go_on = threading.Event()
        self._hanging = 0
        self._away = False
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._go_on.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    @property
    def root(self) -> str:
        """For TELEGRAM_API_ROOT."""
        assert self._server is not None, "enter the server first"
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def variables(self) -> dict[str, str]:
        """The environment that makes the notifier talk to this server."""
        chat_id = next(iter(self.chats))
        return {
            "TELEGRAM_ENABLED": "true",
            "TELEGRAM_BOT_TOKEN": self.token,
            "TELEGRAM_CHAT_ID": chat_id,
            "TELEGRAM_API_ROOT": self.root,
        }

    @property
    def texts(self) -> list[str]:
        """The texts of the messages that were taken, in order."""
        with self._changed:
            return [message["text"] for message in self.messages]

    def misbehave(self, *answers: Answer) -> None:
        """Give these answers to the next requests, one each."""
        with self._changed:
            self._misbehaviour.extend(answers)

    def behave(self) -> None:
        """Forget what was to come; the requests that hang go on."""
        with self._changed:
            self._misbehaviour.clear()
        self._go_on.set()

    def go_away(self) -> None:
        """From now on every connection is closed without an answer, those that are open as well."""
        self._away = True

    def come_back(self) -> None:
        """Take connections again."""
        self._away = False

    @property
    def is_away(self) -> bool:
        """Whether connections are closed without an answer."""
        return self._away

    @property
    def is_hanging(self) -> bool:
        """Whether a request has come in that waits for its answer."""
        with self._changed:
            return self._hanging > 0

    def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Wait, in a thread that may block. :raises AssertionError: it never was so."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not condition():
                left = deadline - time.monotonic()
                assert left > 0, f"not within {seconds:g} s; there were {[one.method for one in self.requests]}"
                self._changed.wait(left)

    @staticmethod
    def too_many(retry_after: float | None = None, header: str | None = None) -> Answer:
        """429, with the pause in the answer, in its header, or in neither."""
        headers = {} if header is None else {"Retry-After": header}
        if retry_after is None:
            return error(429, "Too Many Requests", headers)
        return error(429, f"Too Many Requests: retry after {retry_after:g}", headers, retry_after=retry_after)

    @staticmethod
    def refuses(description: str = "Bad Request: chat not found", code: int = 400, **parameters: object) -> Answer:
        """An error of the caller's."""
        return error(code, description, None, **parameters)

    @staticmethod
    def fails(code: int = 500) -> Answer:
        """An error of Telegram's, or of what stands before it: no JSON."""
        return Answer(code, b"<html>nginx</html>")

    @staticmethod
    def redirects(to: str) -> Answer:
        """Somewhere else."""
        return Answer(302, b"", {"Location": to})

    @staticmethod
    def hangs(takes_it: bool = True) -> Answer:
        """No answer until `behave`; then a good one, or none at all."""
        return Answer(200 if takes_it else None, waits=True)

    @staticmethod
    def hangs_up() -> Answer:
        """The connection is closed without an answer."""
        return Answer(None)

    def answer(self, request: Request) -> Answer:
        """What to send back."""
        with self._changed:
            self.requests.append(request)
            planned = self._misbehaviour.popleft() if self._misbehaviour else None
            self._changed.notify_all()
        if planned is not None and planned.waits:
            with self._changed:
                self._hanging += 1
            self._go_on.wait()
            with self._changed:
                self._hanging -= 1
            planned = None if planned.status is not None else planned
        return planned or self._well_behaved(request)

    def _well_behaved(self, request: Request) -> Answer:
        prefix, _, method = request.path.rpartition("/")
        if not prefix.startswith("/bot") or ":" not in prefix:
            return error(404, "Not Found")
        if prefix != f"/bot{self.token}":
            return error(401, "Unauthorized")
        payload = request.payload if request.body else {}
        match method:
            case "getMe":
                return _good({"id": int(self.token.partition(":")[0]), "is_bot": True, "username": "desk_bot"})
            case "getChat" | "sendMessage" if str(payload.get("chat_id")) not in self.chats:
                return error(400, "Bad Request: chat not found")
            case "getChat":
                return _good(self.chats[str(payload["chat_id"])])
            case "sendMessage":
                return self._message(payload)
            case _:
                return error(404, "Not Found: method not found")

    def _message(self, payload: dict[str, Any]) -> Answer:
        text = payload.get("text") or ""
        if not text.strip():
            return error(400, "Bad Request: message text is empty")
        try:
            units = len(text.encode("utf-16-le")) // 2
        except UnicodeEncodeError:
            return error(400, "Bad Request: strings must be encoded in UTF-8")
        if units > LONGEST_TEXT:
            return error(400, "Bad Request: message is too long")
        with self._changed:
            self.messages.append(payload)
            number = len(self.messages)
            self._changed.notify_all()
        return _good({"message_id": number, "chat": self.chats[str(payload["chat_id"])], "text": text})


def _good(result: Mapping[str, Any]) -> Answer:
    return Answer(200, {"ok": True, "result": result})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, telegram: TelegramServer) -> None:
        self.telegram = telegram
        super().__init__(("127.0.0.1", 0), _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return not self.telegram.is_away

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that has gone is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        telegram = self.server.telegram
        request = Request(self.command, self.path, dict(self.headers), body)
        answer = Answer(None) if telegram.is_away else telegram.answer(request)
        if answer.status is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is written to the console."""
