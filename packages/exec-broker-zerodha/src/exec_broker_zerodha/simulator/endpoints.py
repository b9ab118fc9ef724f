"""What each endpoint answers when nothing is wrong: from a request to the data of the answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from exec_broker_zerodha.simulator import faults
from exec_broker_zerodha.simulator.catalogue import EXCHANGES
from exec_broker_zerodha.simulator.charges import contract_note
from exec_broker_zerodha.simulator.refusals import bad_input
from exec_broker_zerodha.simulator.showing import number
from exec_broker_zerodha.simulator.times import ist_text

if TYPE_CHECKING:
    from exec_broker_zerodha.simulator.server import Simulator

Answer = Callable[["Simulator", web.Request], Awaitable[Any]]
_MOST_ASKED: Final = {"quote": 500, "ohlc": 1000, "ltp": 1000}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint; `name` is that under which it is counted. `is_open`: no access token is needed."""

    method: str
    path: str
    name: str
    answer: Answer
    is_open: bool = False


async def _create_session(simulator: Simulator, request: web.Request) -> Any:
    form = await _form(request)
    now = ist_text(simulator.book.now) or ""
    api_key, request_token, checksum = (form.get(name, "") for name in ("api_key", "request_token", "checksum"))
    return simulator.sessions.create(api_key, request_token, checksum, now)


async def _end_session(simulator: Simulator, request: web.Request) -> Any:
    return simulator.sessions.end(request.query.get("api_key", ""), request.query.get("access_token", ""))


async def _profile(simulator: Simulator, _request: web.Request) -> Any:
    return simulator.sessions.profile()


async def _margins(simulator: Simulator, request: web.Request) -> Any:
    margins = simulator.portfolio.margins()
    segment = request.match_info.get("segment")
    if segment is None:
        return margins
    if segment not in margins:
        raise bad_input("Invalid `segment`.")
    return margins[segment]


async def _place(simulator: Simulator, request: web.Request) -> Any:
    order = simulator.counter.place(request.match_info["variety"], await _form(request))
    return {"order_id": order.order_id}


async def _modify(simulator: Simulator, request: web.Request) -> Any:
    where = request.match_info
    return {"order_id": simulator.counter.modify(where["variety"], where["order_id"], await _form(request)).order_id}


async def _cancel(simulator: Simulator, request: web.Request) -> Any:
    where = request.match_info
    return {"order_id": simulator.counter.cancel(where["variety"], where["order_id"]).order_id}


async def _orders(simulator: Simulator, _request: web.Request) -> Any:
    return simulator.listed_orders()


async def _history(simulator: Simulator, request: web.Request) -> Any:
    return simulator.book.history(simulator.counter.order(request.match_info["order_id"]).number)


async def _trades(simulator: Simulator, _request: web.Request) -> Any:
    return simulator.listed_trades()


async def _order_trades(simulator: Simulator, request: web.Request) -> Any:
    return simulator.listed_trades(simulator.counter.order(request.match_info["order_id"]))


async def _positions(simulator: Simulator, _request: web.Request) -> Any:
    return simulator.portfolio.positions()


async def _holdings(simulator: Simulator, _request: web.Request) -> Any:
    return simulator.portfolio.holdings()


async def _charges(_simulator: Simulator, request: web.Request) -> Any:
    try:
        asked = json.loads(await request.text())
    except ValueError:
        raise bad_input("Invalid JSON.") from None
    if not isinstance(asked, list):
        raise bad_input("Invalid order parameters.")
    return [contract_note(order) for order in asked]


async def _instruments(simulator: Simulator, request: web.Request) -> Any:
    exchange = request.match_info.get("exchange")
    if exchange is not None and exchange not in EXCHANGES:
        raise bad_input("Invalid `exchange`.")
    dump = simulator.counter.catalogue.dump(exchange)
    return web.Response(text=dump, content_type="text/csv", charset="utf-8")


def _quotes(name: str) -> Answer:
    async def answer(simulator: Simulator, request: web.Request) -> Any:
        asked = request.query.getall("i", [])
        if not asked or len(asked) > _MOST_ASKED[name]:
            raise bad_input("Invalid `i`.")
        found = {}
        for one in asked:
            exchange, _, symbol = one.partition(":")
            listed = simulator.counter.catalogue.find(exchange, symbol)
            if listed is not None:  # what is unknown is simply not there
                found[one] = _quote(simulator, listed.token, exchange, symbol, name)
        return found

    return answer


def _quote(simulator: Simulator, token: int, exchange: str, symbol: str, name: str) -> dict[str, Any]:
    price = number(simulator.market.price_of(exchange, symbol))
    quote: dict[str, Any] = {"instrument_token": token, "last_price": price}
    if name != "ltp":
        quote["ohlc"] = dict.fromkeys(("open", "high", "low", "close"), price)
    if name == "quote":
        now = ist_text(simulator.book.now)
        limits = {"lower_circuit_limit": round(price * 0.8, 2), "upper_circuit_limit": round(price * 1.2, 2)}
        quote |= {"timestamp": now, "last_trade_time": now, "volume": 0, "net_change": 0, "oi": 0, **limits}
    return quote


async def _form(request: web.Request) -> dict[str, str]:
    form = await request.post()
    return {name: value for name, value in form.items() if isinstance(value, str)}


ALL: Final = (
    Endpoint("POST", "/session/token", "session.token", _create_session, is_open=True),
    Endpoint("DELETE", "/session/token", "session.end", _end_session, is_open=True),
    Endpoint("GET", "/user/profile", "profile", _profile),
    Endpoint("GET", "/user/margins", "margins", _margins),
    Endpoint("GET", "/user/margins/{segment}", "margins", _margins),
    Endpoint("POST", "/orders/{variety}", faults.PLACE, _place),
    Endpoint("PUT", "/orders/{variety}/{order_id}", faults.MODIFY, _modify),
    Endpoint("DELETE", "/orders/{variety}/{order_id}", faults.CANCEL, _cancel),
    Endpoint("GET", "/orders", "orders", _orders),
    Endpoint("GET", "/orders/{order_id}", "order.history", _history),
    Endpoint("GET", "/orders/{order_id}/trades", "order.trades", _order_trades),
    Endpoint("GET", "/trades", "trades", _trades),
    Endpoint("GET", "/portfolio/positions", "positions", _positions),
    Endpoint("GET", "/portfolio/holdings", "holdings", _holdings),
    Endpoint("POST", "/charges/orders", "charges", _charges),
    Endpoint("GET", "/instruments", "instruments", _instruments, is_open=True),
    Endpoint("GET", "/instruments/{exchange}", "instruments", _instruments, is_open=True),
    Endpoint("GET", "/quote", "quote", _quotes("quote")),
    Endpoint("GET", "/quote/ohlc", "ohlc", _quotes("ohlc")),
    Endpoint("GET", "/quote/ltp", "ltp", _quotes("ltp")),
)
