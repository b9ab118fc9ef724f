"""The desk's commands as words: what ``tell PORT COMMAND`` sends, and a person types."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from exec_broker_zerodha.simulator.desk import Desk, ImpossibleAction
from exec_broker_zerodha.simulator.printing import contents, order_data
from exec_broker_zerodha.simulator.refusals import Refusal
from exec_broker_zerodha.simulator.rows import OrderRow, TradeRow
from exec_broker_zerodha.simulator.server import Simulator

#: What each command is called with; square brackets: may be left out.
USAGE: Final = {
    "orders": "",
    "requests": "[reset]",
    "fill": "ORDER [QUANTITY] [PRICE]",
    "cancel": "ORDER",
    "reject": "ORDER REASON...",
    "expire": "ORDER",
    "modify": "ORDER NAME=VALUE...",
    "say": "ORDER [STATUS...]",
    "hand": "BUY|SELL QUANTITY EXCHANGE:SYMBOL [NAME=VALUE...]",
    "open-market": "",
    "reject-next": "REASON...",
    "refuse-next": "REASON...",
    "hold-cancels": "[on|off]",
    "price": "SYMBOL PRICE",
    "rest": "[on|off]",
    "new-day": "[DAYS]",
    "hide-orders": "[on|off]",
    "hide-trades": "[on|off]",
    "lag": "orders|trades SECONDS",
    "reorder": "[on|off]",
    "repeat": "[on|off]",
    "trouble": "KIND ENDPOINT [after] [count=N] [status=N] [type=WORD] [text=WORDS...]",
    "no-trouble": "",
    "cut": "",
    "away": "",
    "back": "",
    "expire-token": "",
    "new-token": "[TOKEN]",
    "login": "",
    "address": "allow|forbid",
    "limits": "[on|off]",
}


class Commands:
    """Carries out commands. The answer is data that JSON can say."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._desk = Desk(simulator)

    async def run(self, words: list[str]) -> Any:
        """One command. :raises ImpossibleAction: it is none, or it cannot be done; the message is a sentence."""
        name, *arguments = words or ["help"]
        if name == "help":
            return dict(USAGE)
        act: Callable[..., Any] | None = getattr(self, f"_{name.replace('-', '_')}", None) if name in USAGE else None
        if act is None:
            raise ImpossibleAction(f"there is no command {name}; there are: {', '.join(USAGE)}")
        try:
            answer = act(*arguments)
            answer = await answer if isinstance(answer, Awaitable) else answer
        except TypeError:
            raise ImpossibleAction(f"it is called: {name} {USAGE[name]}".rstrip()) from None
        except (Refusal, ValueError, InvalidOperation) as error:
            raise ImpossibleAction(f"{name}: {error}") from error
        return self._shown(answer)

    @staticmethod
    def _shown(answer: Any) -> Any:
        if isinstance(answer, OrderRow):
            return order_data(answer)
        if isinstance(answer, TradeRow):
            return {"execution_id": answer.trade_id, "quantity": answer.quantity, "price": str(answer.price)}
        if isinstance(answer, list):
            return [order_data(one) for one in answer if isinstance(one, OrderRow)]
        return answer

    def _orders(self) -> Any:
        return contents(self._simulator.book)

    def _requests(self, reset: str | None = None) -> Any:
        counted = {"requests": dict(self._desk.requests), "refused": self._desk.refused_requests}
        if reset is not None:
            self._desk.reset_requests()
        return counted

    def _fill(self, name: str, quantity: str | None = None, price: str | None = None) -> Any:
        return self._desk.fill(
            name, None if quantity is None else int(quantity), None if price is None else Decimal(price)
        )

    def _cancel(self, name: str) -> Any:
        return self._desk.cancel(name)

    def _reject(self, name: str, *reason: str) -> Any:
        return self._desk.reject(name, " ".join(reason) or "Rejected at the exchange")

    def _expire(self, name: str) -> Any:
        return self._desk.expire(name)

    def _modify(self, name: str, *terms: str) -> Any:
        return self._desk.modify(name, **_named(terms))

    def _say(self, name: str, *word: str) -> Any:
        return self._desk.say(name, " ".join(word) or None)

    def _hand(self, side: str, quantity: str, instrument: str, *terms: str) -> Any:
        return self._desk.trade_by_hand(side.upper(), int(quantity), instrument, **_named(terms))

    def _open_market(self) -> Any:
        return self._desk.open_market()

    def _reject_next(self, *reason: str) -> None:
        self._desk.reject_next(" ".join(reason))

    def _refuse_next(self, *reason: str) -> None:
        self._desk.refuse_next(" ".join(reason))

    def _hold_cancels(self, switch: str = "on") -> None:
        self._desk.hold_cancels(_is_on(switch))

    def _price(self, symbol: str, price: str) -> None:
        self._desk.set_price(symbol, Decimal(price))

    def _rest(self, switch: str = "on") -> None:
        self._simulator.market.is_resting = _is_on(switch)

    def _new_day(self, days: str = "1") -> None:
        self._desk.new_day(int(days))

    def _hide_orders(self, switch: str = "on") -> None:
        self._desk.hide_new_orders(_is_on(switch))

    def _hide_trades(self, switch: str = "on") -> None:
        self._desk.hide_new_trades(_is_on(switch))

    def _lag(self, which: str, seconds: str) -> None:
        if which not in ("orders", "trades"):
            raise ValueError(f"orders or trades lag, not {which}")
        self._desk.lag(**{which: float(seconds)})

    def _reorder(self, switch: str = "on") -> None:
        self._desk.reorder(_is_on(switch))

    def _repeat(self, switch: str = "on") -> None:
        self._desk.repeat(_is_on(switch))

    def _trouble(self, kind: str, endpoint: str, *more: str) -> None:
        given: dict[str, Any] = {**_named(one for one in more if one != "after")}
        answer: dict[str, Any] = {name: int(given.pop(name)) for name in ("count", "status") if name in given}
        if "type" in given:
            answer["error_type"] = given.pop("type")
        self._desk.arm(kind, endpoint, is_after="after" in more, **answer, **given)

    def _no_trouble(self) -> None:
        self._desk.disarm()

    async def _cut(self) -> None:
        await self._desk.cut_lines()

    async def _away(self) -> None:
        await self._desk.go_away()

    async def _back(self) -> None:
        await self._desk.come_back()

    def _expire_token(self) -> None:
        self._desk.expire_token()

    def _new_token(self, token: str | None = None) -> str:
        return self._desk.renew_token(token)

    def _login(self) -> str:
        return self._desk.log_in()

    def _address(self, which: str) -> None:
        self._desk.allow_address(which == "allow")

    def _limits(self, switch: str = "on") -> None:
        self._desk.keep_limits(_is_on(switch))


def _is_on(switch: str) -> bool:
    if switch not in ("on", "off"):
        raise ValueError(f"on or off, not {switch}")
    return switch == "on"


def _named(words: Any) -> dict[str, str]:
    """``name=value`` words; one without a name goes on with the value before it."""
    found: dict[str, str] = {}
    name = ""
    for word in words:
        before, sign, value = word.partition("=")
        if sign and before.isidentifier():
            name = before
            found[name] = value
        elif name:
            found[name] += f" {word}"
        else:
            raise ValueError(f"{word} is no NAME=VALUE")
    return found
