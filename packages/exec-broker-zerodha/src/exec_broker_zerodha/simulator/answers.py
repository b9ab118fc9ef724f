"""Answers as bytes on the wire: the right ones, and those that a `Fault` asks for."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from aiohttp import web

from exec_broker_zerodha.simulator.faults import Fault, Trouble
from exec_broker_zerodha.simulator.refusals import TIMED_OUT, TOO_MANY, Refusal

_JSON: Final = "application/json"
_PAGE: Final = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
)


def success(data: Any) -> web.Response:
    """What Kite answers when all is well."""
    return _json({"status": "success", "data": data})


def refused(refusal: Refusal) -> web.Response:
    """What Kite answers when it will not."""
    return _json(refusal.payload, refusal.status)


async def spoilt(request: web.Request, right: web.Response, fault: Fault, closing: asyncio.Event) -> web.Response:
    """What the sender of the request sees in place of the right answer."""
    match fault.trouble:
        case Trouble.ERROR:
            return refused(Refusal(fault.status, fault.error_type, fault.text))
        case Trouble.HTML:
            return web.Response(status=502, text=_PAGE, content_type="text/html")
        case Trouble.EMPTY:
            return web.Response(body=b"", content_type=_JSON)
        case Trouble.GARBLED:
            return web.Response(body=b'{"status": "succ', content_type=_JSON)
        case Trouble.NULL:
            return success(None)
        case Trouble.UNTYPED:
            return refused(Refusal(400, None, fault.text))
        case Trouble.TIMED_OUT:
            return refused(Refusal(400, "OrderException", TIMED_OUT))
        case Trouble.LIMITED:
            return _json(Refusal(200, "NetworkException", TOO_MANY).payload, 200)
        case Trouble.HANG:
            await closing.wait()
    return _broken(request, right, fault)


def _broken(request: web.Request, right: web.Response, fault: Fault) -> web.Response:
    """Answers that the server's own code would not make: what is written here is all that is sent."""
    transport = request.transport
    if transport is None:
        return right
    body = right.body if isinstance(right.body, bytes) else b""
    if fault.trouble is Trouble.NO_TYPE:
        transport.write(_head(len(body)) + b"\r\n" + body)
        transport.close()
    elif fault.trouble is Trouble.CUT:
        typed = b"Content-Type: application/json\r\n\r\n"
        transport.write(_head(len(body) + 2) + typed + body[: max(len(body) // 2, 1)])
        transport.close()
    else:
        transport.abort()
    return right


def _head(length: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n".encode()


def _json(payload: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, body=json.dumps(payload).encode(), content_type=_JSON)
