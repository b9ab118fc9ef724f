"""What the library's decoder calls: TWS's words become records, and go to whoever hears them and whoever asked.

The methods bear the names that both libraries (and IB's own ``EWrapper``) give them, and take their arguments in that
order. A method that raises makes its message one that could not be read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC
from types import SimpleNamespace
from typing import Any, Final

from exec_broker_ibkr.connection import reading
from exec_broker_ibkr.connection.answers import Answers, Kind
from exec_broker_ibkr.messages import AccountValueTold, ErrorTold, Told

logger = logging.getLogger(__name__)

#: The messages that are read at all, and the request whose answer would lack what is lost with one of them.
MESSAGES: Final[dict[int, tuple[str, Kind | None]]] = {
    3: ("orderStatus", None),
    4: ("error", None),
    5: ("openOrder", Kind.OPEN_ORDERS),
    9: ("nextValidId", None),
    10: ("contractDetails", Kind.CONTRACT_DETAILS),
    11: ("execDetails", Kind.EXECUTIONS),
    15: ("managedAccounts", None),
    49: ("currentTime", Kind.CURRENT_TIME),
    52: ("contractDetailsEnd", Kind.CONTRACT_DETAILS),
    53: ("openOrderEnd", Kind.OPEN_ORDERS),
    55: ("execDetailsEnd", Kind.EXECUTIONS),
    59: ("commissionReport", None),
    61: ("position", Kind.POSITIONS),
    62: ("positionEnd", Kind.POSITIONS),
    63: ("accountSummary", Kind.ACCOUNT_SUMMARY),
    64: ("accountSummaryEnd", Kind.ACCOUNT_SUMMARY),
    93: ("marketRule", Kind.MARKET_RULE),
    101: ("completedOrder", Kind.COMPLETED_ORDERS),
    102: ("completedOrdersEnd", Kind.COMPLETED_ORDERS),
}

#: Codes that say something, and leave everything going.
NOTICES: Final = range(2100, 2200)


class Ears:
    """`hear` gets all that is about orders or the line, in the order of arrival; `answers` what was asked for.

    `seen` is told of the client and order ids of every order, `next_id` and `accounts` what TWS says at the start.
    """

    # Read by the decoders for times without a zone; there are none left (see `codec`).
    ib = SimpleNamespace(TimezoneTWS="")
    defaultTimezone = UTC  # noqa: N815 - the library's name

    def __init__(
        self,
        hear: Callable[[Told], None],
        answers: Answers,
        seen: Callable[[int, int], None],
        next_id: Callable[[int], None],
        accounts: Callable[[tuple[str, ...]], None],
    ) -> None:
        self._hear = hear
        self._answers = answers
        self._seen = seen
        self._next_id = next_id
        self._accounts = accounts

    def _deliver(self, told: Told) -> None:
        try:
            self._hear(told)
        except Exception:
            # Not the message's fault, so it is not lost for whoever asked; and the next message must be heard.
            logger.exception("Hearing a message of TWS (%s) failed; the line goes on", type(told).__name__)

    # About orders

    def openOrder(self, order_id: int, contract: Any, order: Any, state: Any) -> None:  # noqa: N802
        """An order that is open, or has changed."""
        told = reading.order_shown(order_id, contract, order, state)
        self._seen(told.client_id, told.order_id)
        self._answers.item(Kind.OPEN_ORDERS, told)
        self._deliver(told)

    def openOrderEnd(self) -> None:  # noqa: N802
        """All open orders were told."""
        self._answers.end(Kind.OPEN_ORDERS)

    def orderStatus(  # noqa: N802
        self,
        order_id: int,
        status: str,
        filled: float,
        remaining: float,
        average: float,
        perm_id: int,
        _parent_id: int,
        _last_price: float,
        client_id: int,
        why_held: str,
        _cap: float = 0.0,
    ) -> None:
        """How an order stands."""
        told = reading.status_told(order_id, status, filled, remaining, average, perm_id, client_id, why_held)
        self._seen(told.client_id, told.order_id)
        self._deliver(told)

    def execDetails(self, request_id: int, contract: Any, execution: Any) -> None:  # noqa: N802
        """An execution: just now (id -1), or asked for."""
        told = reading.execution_told(contract, execution)
        self._seen(told.client_id, told.order_id)
        self._answers.item(Kind.EXECUTIONS, told, request_id)
        self._deliver(told)

    def execDetailsEnd(self, request_id: int) -> None:  # noqa: N802
        """All executions were told."""
        self._answers.end(Kind.EXECUTIONS, request_id)

    def commissionReport(self, report: Any) -> None:  # noqa: N802
        """What an execution cost."""
        self._deliver(reading.commission_told(report))

    def completedOrder(self, contract: Any, order: Any, state: Any) -> None:  # noqa: N802
        """An order that has ended."""
        told = reading.completed_shown(contract, order, state)
        self._answers.item(Kind.COMPLETED_ORDERS, told)
        self._deliver(told)

    def completedOrdersEnd(self) -> None:  # noqa: N802
        """All of them were told."""
        self._answers.end(Kind.COMPLETED_ORDERS)

    def error(self, request_id: int, code: int, text: str, advanced: str = "") -> None:
        """An error, about a request, an order or neither; or a notice in an error's clothes."""
        if not self._answers.is_request(request_id):
            self._deliver(ErrorTold(request_id, code, text, advanced))
        elif code in NOTICES:
            logger.info("TWS remarks on a request: %s (%s)", text, code)
        else:
            self._answers.refuse(request_id, code, text)

    # Answers

    def contractDetails(self, request_id: int, details: Any) -> None:  # noqa: N802
        """A contract that fits."""
        self._answers.item(Kind.CONTRACT_DETAILS, reading.details_told(details), request_id)

    def contractDetailsEnd(self, request_id: int) -> None:  # noqa: N802
        """All of them were told."""
        self._answers.end(Kind.CONTRACT_DETAILS, request_id)

    def marketRule(self, rule_id: int, increments: Sequence[Any]) -> None:  # noqa: N802
        """A market rule, whole."""
        for step in reading.price_steps(increments):
            self._answers.item(Kind.MARKET_RULE, step, rule_id)
        self._answers.end(Kind.MARKET_RULE, rule_id)

    def position(self, account: str, contract: Any, quantity: float, average: float) -> None:
        """What an account holds of one contract."""
        self._answers.item(Kind.POSITIONS, reading.position_told(account, contract, quantity, average))

    def positionEnd(self) -> None:  # noqa: N802
        """All positions were told."""
        self._answers.end(Kind.POSITIONS)

    def accountSummary(self, request_id: int, account: str, tag: str, value: str, currency: str) -> None:  # noqa: N802
        """One figure of an account."""
        self._answers.item(Kind.ACCOUNT_SUMMARY, AccountValueTold(account, tag, value, currency), request_id)

    def accountSummaryEnd(self, request_id: int) -> None:  # noqa: N802
        """All figures were told."""
        self._answers.end(Kind.ACCOUNT_SUMMARY, request_id)

    def currentTime(self, epoch: int) -> None:  # noqa: N802
        """What time it is at TWS."""
        self._answers.item(Kind.CURRENT_TIME, reading.moment(epoch))
        self._answers.end(Kind.CURRENT_TIME)

    # What TWS says first

    def nextValidId(self, order_id: int) -> None:  # noqa: N802
        """The lowest order id that TWS takes from this client."""
        self._next_id(order_id)

    def managedAccounts(self, accounts: str) -> None:  # noqa: N802
        """The accounts of the login, with commas between and sometimes behind them."""
        self._accounts(tuple(account.strip() for account in accounts.split(",") if account.strip()))
