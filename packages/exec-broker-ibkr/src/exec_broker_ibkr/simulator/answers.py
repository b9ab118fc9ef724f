"""What the simulated TWS answers to questions: requests -> the fields of its messages, from the book. It sends nothing.

Today's only: executions and completed orders of an earlier day are gone, and what is open stays.
"""

from __future__ import annotations

from collections.abc import Iterator

from exec_broker_ibkr.messages import ErrorTold, ExecutionTold, Told
from exec_broker_ibkr.simulator import life, outbound, requests
from exec_broker_ibkr.simulator.checks import READ_ONLY, Refused, invalid
from exec_broker_ibkr.simulator.exchange import Exchange
from exec_broker_ibkr.simulator.listing import RULES
from exec_broker_ibkr.simulator.rows import ExecutionRow, OrderRow, moment
from exec_broker_ibkr.simulator.times import TimeStyle, spelled

Message = list[str]

_GARBLED = "not what belongs here"
_NO_DEFINITION = "No security definition has been found for the request"


class Answers:
    """The answers of one TWS. `style` is how it spells times."""

    def __init__(self, exchange: Exchange, style: TimeStyle = TimeStyle.ZONE) -> None:
        self.style = style
        self._exchange = exchange
        self._book = exchange.book

    def encoded(self, told: Told, request_id: int = -1) -> Message:
        """Anything about orders, with the time of an execution spelled as it is set up here."""
        time = spelled(told.time, self.style) if isinstance(told, ExecutionTold) else None
        return outbound.encode(told, request_id, time)

    def greeting(self, client_id: int) -> Iterator[Message]:
        """What a client hears when it has said who it is."""
        yield outbound.managed_accounts(self._exchange.terms.accounts)
        yield outbound.next_valid_id(self._book.next_order_id(client_id))

    def to(self, request: requests.Request, client_id: int) -> Iterator[Message]:
        """The whole answer to a question; none to what is no question, or is not known here."""
        match request:
            case requests.OpenOrders():
                yield from self._open_orders(self._book.open_orders(client_id))
            case requests.AllOpenOrders():
                yield from self._open_orders(self._book.open_orders())
            case requests.CompletedOrders(api_only=api_only):
                yield from self._completed(api_only)
            case requests.Executions():
                yield from self._executions(request)
            case requests.ContractDetails():
                yield from self._details(request)
            case requests.MarketRule(rule_id=rule_id):
                yield self._market_rule(rule_id)
            case requests.CurrentTime():
                yield outbound.current_time(self._book.now)
            case requests.NextIds():
                yield outbound.next_valid_id(self._book.next_order_id(client_id))
            case requests.ManagedAccounts():
                yield outbound.managed_accounts(self._exchange.terms.accounts)
            case requests.Positions():
                yield from map(outbound.position, self._exchange.holdings.positions())
                yield outbound.position_end()
            case requests.AccountSummary():
                yield from self._summary(request)
            case requests.AccountUpdates(subscribe=True, account=account):
                yield from self._account(account)
            case requests.AccountUpdatesMulti(request_id=request_id, account=account):
                for value in self._exchange.holdings.values(account):
                    yield outbound.account_update_multi(value, request_id)
                yield outbound.account_update_multi_end(request_id)

    def in_part(self, request: requests.Request) -> Iterator[Message] | None:
        """The answer of a TWS that has lost its line to IB: nothing, and then the end. None where it knows better."""
        match request:
            case requests.OpenOrders() | requests.AllOpenOrders():
                return iter([outbound.open_order_end()])
            case requests.CompletedOrders():
                return iter([outbound.completed_orders_end()])
            case requests.Executions(request_id=request_id):
                return iter([outbound.exec_details_end(request_id)])
            case requests.Positions():
                return iter([outbound.position_end()])
            case requests.AccountSummary(request_id=request_id):
                return iter([outbound.account_summary_end(request_id)])
            case _:
                return None

    def failed(self, request: requests.Request, *, in_silence: bool) -> Iterator[Message] | None:
        """How a question fails: by an error where it has an id, else by rows that nobody can read, or in silence.

        None for what is no question about orders, positions or money.
        """
        match request:
            case requests.OpenOrders() | requests.AllOpenOrders():
                return iter(() if in_silence else (["5", _GARBLED], outbound.open_order_end()))
            case requests.CompletedOrders():
                return iter(() if in_silence else (["101", _GARBLED], outbound.completed_orders_end()))
            case requests.Positions():
                return iter(() if in_silence else (["61", "3", _GARBLED], outbound.position_end()))
            case requests.Executions(request_id=request_id) | requests.AccountSummary(request_id=request_id):
                text = "Error processing request.-'bS' : cause - The simulator was told to fail"
                return iter([outbound.error(ErrorTold(request_id, 322, text))])
            case _:
                return None

    def read_only(self, request: requests.Request) -> Message | None:
        """What a TWS in read-only mode answers to what it then refuses (`ib_insync#1`); None to all else."""
        match request:
            case requests.CancelOrder(order_id=subject):
                where = "bY"
            case requests.OpenOrders() | requests.AllOpenOrders() | requests.AutoOpenOrders() | requests.GlobalCancel():
                subject, where = -1, "bZ"
            case requests.CompletedOrders():
                subject, where = -1, "cO"
            case _:
                return None
        return outbound.error(refusal(subject, invalid(where, READ_ONLY)))

    def _open_orders(self, orders: list[OrderRow]) -> Iterator[Message]:
        for order in orders:
            yield outbound.encode(life.shown(order))
            yield outbound.order_status(life.status(order), parent_id=order.parent_id)
        yield outbound.open_order_end()

    def _completed(self, api_only: bool) -> Iterator[Message]:
        for order in self._book.ended_today():
            if order.client_id or not api_only:
                yield outbound.encode(life.completed(order, spelled(moment(order.changed_at), self.style)))
        yield outbound.completed_orders_end()

    def _executions(self, asked: requests.Executions) -> Iterator[Message]:
        orders = {order.number: order for order in self._book.orders()}
        for row in self._book.executions_of_today():
            order = orders[row.order_number]
            if not _fits(row, order, asked):
                continue
            execution_id = self._book.execution_id(row)
            yield self.encoded(life.execution(order, row, execution_id), asked.request_id)
            if row.is_billed:
                yield outbound.encode(life.commission(row, execution_id))
        yield outbound.exec_details_end(asked.request_id)

    def _details(self, asked: requests.ContractDetails) -> Iterator[Message]:
        if asked.contract.sec_type == "BAG":
            # Which in one of the libraries hangs for ever (`pysystemtrade#1659`).
            cause = invalid("bR", "Invalid security type for a contract details request")
            yield outbound.error(refusal(asked.request_id, cause))
            return
        found = self._exchange.market.listing.details(asked.contract)
        if not found:
            yield outbound.error(ErrorTold(asked.request_id, 200, _NO_DEFINITION))
            return
        for one in found:
            yield outbound.contract_details(one, asked.request_id)
        yield outbound.contract_details_end(asked.request_id)

    def _market_rule(self, rule_id: int) -> Message:
        if rule_id not in RULES:
            return outbound.error(ErrorTold(-1, 321, f"Error validating request.-'cu' : cause - No rule {rule_id}"))
        return outbound.market_rule(rule_id, RULES[rule_id])

    def _summary(self, asked: requests.AccountSummary) -> Iterator[Message]:
        for account in self._exchange.terms.accounts:
            for value in self._exchange.holdings.values(account):
                if value.tag in asked.tags:
                    yield outbound.account_summary(value, asked.request_id)
        yield outbound.account_summary_end(asked.request_id)

    def _account(self, account: str) -> Iterator[Message]:
        known = self._exchange.terms.accounts
        account = account if account in known else known[0]
        for value in self._exchange.holdings.values(account):
            yield outbound.account_value(value)
        yield outbound.account_download_end(account)


def refusal(subject: int, refused: Refused) -> ErrorTold:
    """A refusal as the error message about an order or a request."""
    return ErrorTold(subject, refused.code, refused.text)


def _fits(row: ExecutionRow, order: OrderRow, asked: requests.Executions) -> bool:
    said = (
        (asked.client_id, order.client_id),
        (asked.account, row.account),
        (asked.symbol, row.contract.symbol),
        (asked.sec_type, row.contract.sec_type),
        (asked.exchange, row.contract.exchange),
        (asked.side, "BUY" if row.side == "BOT" else "SELL"),
    )
    return all(not wanted or wanted == known for wanted, known in said)
