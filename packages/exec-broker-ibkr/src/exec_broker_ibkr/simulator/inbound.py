"""What a client says, read: the fields of its message -> a `requests.Request`.

The layouts are those of IB's own clients (``ibapi/client.py``) at the server versions that both client libraries speak;
the numbers are IB's (``ibapi/message.py``, class OUT). The order message is in `placing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from exec_broker_ibkr.simulator import placing, requests
from exec_broker_ibkr.simulator.fields import Fields, Unreadable

Reader = Callable[[Fields], requests.Request]


def decode(fields: Sequence[str], server_version: int) -> requests.Request:
    """One message of a client, as a record; `NotUnderstood` for a kind that the simulator does not know.

    :raises Unreadable: a ValueError: the message is of a known kind, but its fields are not those of that kind, or it
        asks for something that no record carries. `Unreadable.request_id` is the request or order it was about.
    """
    if not fields or fields[0] not in _READERS:
        return requests.NotUnderstood(tuple(fields))
    cursor = Fields(fields, server_version)
    try:
        request = _READERS[cursor.text()](cursor)
        cursor.end()
    except Unreadable:
        raise
    except ValueError as problem:
        raise Unreadable(f"message {fields[0]}: {problem}", cursor.subject) from None
    return request


def _start(fields: Fields) -> requests.Request:
    fields.skip("version")
    client_id = fields.integer()
    fields.skip("optional capabilities")
    return requests.StartApi(client_id)


def _cancel(fields: Fields) -> requests.Request:
    fields.skip("version")
    order_id = fields.about()
    if fields.server_version >= 169:
        fields.skip("manual cancel time")
    return requests.CancelOrder(order_id)


def _account_updates(fields: Fields) -> requests.Request:
    fields.skip("version")
    return requests.AccountUpdates(fields.flag(), fields.text())


def _executions(fields: Fields) -> requests.Request:
    fields.skip("version")
    return requests.Executions(
        fields.about(),
        client_id=fields.integer(),
        account=fields.text(),
        time=fields.text(),
        symbol=fields.text(),
        sec_type=fields.text(),
        exchange=fields.text(),
        side=fields.text(),
    )


def _details(fields: Fields) -> requests.Request:
    fields.skip("version")
    request_id = fields.about()
    contract = fields.contract()
    fields.skip("includeExpired", "secIdType", "secId")
    if fields.server_version >= 176:
        fields.skip("issuerId")
    return requests.ContractDetails(request_id, contract)


def _auto_open(fields: Fields) -> requests.Request:
    fields.skip("version")
    return requests.AutoOpenOrders(fields.flag())


def _summary(fields: Fields) -> requests.Request:
    fields.skip("version")
    request_id = fields.about()
    group = fields.text()
    tags = tuple(tag for tag in fields.text().split(",") if tag)
    return requests.AccountSummary(request_id, group, tags)


def _summary_end(fields: Fields) -> requests.Request:
    fields.skip("version")
    return requests.CancelAccountSummary(fields.about())


def _updates_multi(fields: Fields) -> requests.Request:
    fields.skip("version")
    request_id = fields.about()
    account = fields.text()
    fields.skip("modelCode", "ledgerAndNLV")
    return requests.AccountUpdatesMulti(request_id, account)


def _next_ids(fields: Fields) -> requests.Request:
    fields.skip("version", "numIds")
    return requests.NextIds()


def _bare(request: requests.Request) -> Reader:
    """A message of its number and a version, nothing else."""

    def read(fields: Fields) -> requests.Request:
        fields.skip("version")
        return request

    return read


_READERS: Final[dict[str, Reader]] = {
    "3": placing.place,
    "4": _cancel,
    "5": _bare(requests.OpenOrders()),
    "6": _account_updates,
    "7": _executions,
    "8": _next_ids,
    "9": _details,
    "15": _auto_open,
    "16": _bare(requests.AllOpenOrders()),
    "17": _bare(requests.ManagedAccounts()),
    "49": _bare(requests.CurrentTime()),
    "58": _bare(requests.GlobalCancel()),
    "61": _bare(requests.Positions()),
    "62": _summary,
    "63": _summary_end,
    "64": _bare(requests.CancelPositions()),
    "71": _start,
    "76": _updates_multi,
    "91": lambda fields: requests.MarketRule(fields.integer()),
    "99": lambda fields: requests.CompletedOrders(fields.flag()),
}
