"""``exec-service status``: what runs, what is open, what waits, what needs a person; all of it from the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from exec_service.cli.brief import brief
from exec_service.cli.options import EMBEDDED, JSON
from exec_service.cli.reading import chosen_settings, existing_store, place

if TYPE_CHECKING:
    from exec_service.settings import Settings
    from exec_service.stores import Document, Store, WorkerState

#: What `status` says of an order that needs a look.
_BRIEF: Final = (
    "signal_id",
    "leg_index",
    "client_order_id",
    "account_id",
    "symbol",
    "side",
    "quantity",
    "status",
    "order_id",
    "submitted_at",
    "attention",
)


@click.command(short_help="Show what runs, what waits and what needs a person.")
@EMBEDDED
@JSON
@brief()
def status(embedded: bool, as_json: bool) -> None:
    """Show workers, accounts, orders by status, what is unknown or needs a person, and what waits for delivery."""
    import asyncio

    from exec_service.cli.output import print_json

    found = asyncio.run(_status(chosen_settings(embedded)))
    if as_json:
        print_json(found)
    else:
        _print(found)


async def _status(settings: Settings) -> dict[str, Any]:
    from exec_core.clock import utc_now

    from exec_service.commands import OPEN
    from exec_service.findings import newest_first
    from exec_service.stores import ACCOUNTS, COMMANDS, DEAD_LETTERS, FINDINGS, ORDERS, Not

    async with existing_store(settings) as store:
        workers = {worker.worker_id: worker for worker in await store.workers()}
        rows = await store.load(ACCOUNTS)
        accounts = _accounts(rows, settings, workers)
        owned = Counter(account["worker_id"] for account in accounts)
        last = {document.get("served_last_by") for document in rows}
        unknown = await store.load(ORDERS, {"status": "UNKNOWN"}, order_by="sequence")
        attention = await store.load(ORDERS, {"attention": Not(None)}, order_by="sequence")
        commands = await store.load(COMMANDS, {"state": OPEN}, order_by="created_at")
        return {
            **place(settings),
            "workers": [
                _worker(worker, owned[worker.worker_id])
                for worker in workers.values()
                if not worker.is_gone or worker.worker_id in owned or worker.worker_id in last
            ],
            "accounts": accounts,
            "orders": await _orders_by_status(store),
            "unknown": [_brief(order) for order in unknown],
            "attention": [_brief(order) for order in attention],
            "findings": [
                _finding(finding, utc_now())
                for finding in newest_first(await store.load(FINDINGS, {"cleared_at": None}))
            ],
            "outbox": await _outbox(store, utc_now()),
            "dead_letters": await store.count(DEAD_LETTERS),
            "open_commands": [_command(command) for command in commands],
        }


def _worker(worker: WorkerState, accounts: int) -> dict[str, Any]:
    return {
        "worker_id": worker.worker_id,
        "state": _state(worker),
        "alive": not worker.is_gone,
        "since": worker.started_at,
        "heartbeat_age_seconds": round(worker.heartbeat_age_seconds, 1),
        "accounts": accounts,
        "host": worker.host,
        "process_id": worker.process_id,
    }


def _state(worker: WorkerState) -> str:
    if not worker.is_gone:
        return "running"
    if worker.released:
        return "stopped"
    return "died" if worker.proven_dead else "silent"


def _accounts(rows: Sequence[Document], settings: Settings, workers: Mapping[str, WorkerState]) -> list[dict[str, Any]]:
    """The accounts that a worker has owned, and those that are configured. What a gone worker said counts no more."""
    owned = {document["_id"]: document for document in rows}
    found = []
    for account_id in sorted({*owned, *settings.accounts}):
        document: Mapping[str, Any] = owned.get(account_id, {})
        configured = settings.account(account_id)
        owner = workers.get(document.get("worker_id", ""))
        alive = owner is not None and not owner.is_gone
        found.append(
            {
                "account_id": account_id,
                "name": None if configured is None else configured.name,
                "broker": None if configured is None else configured.broker,
                "worker_id": document.get("worker_id"),
                "owner_alive": alive,
                "availability": document.get("availability") if alive else None,
                "availability_since": document.get("availability_since") if alive else None,
                "availability_reason": document.get("availability_reason") if alive else None,
                "halted": document.get("halted"),
            }
        )
    return found


async def _orders_by_status(store: Store) -> dict[str, int]:
    from exec_core.orders import OrderStatus

    from exec_service.stores import ORDERS

    return {name.value: await store.count(ORDERS, {"status": name.value}) for name in OrderStatus}


async def _outbox(store: Store, now: datetime) -> list[dict[str, Any]]:
    """What waits to be delivered, per channel. A document may hold many rows; it is read for as long as one waits."""
    from exec_service.outbox_rows import rows_of
    from exec_service.stores import OUTBOX

    oldest: dict[str, datetime] = {}
    waiting: Counter[str] = Counter()
    for document in await store.load(OUTBOX, {"delivered_at": None}):
        channel, since = document["channel"], document["created_at"]
        waiting[channel] += len(rows_of(document))
        oldest[channel] = min(since, oldest.get(channel, since))
    return [
        {
            "channel": channel,
            "waiting": waiting[channel],
            "oldest_created_at": since,
            "oldest_age_seconds": round(max(0.0, (now - since).total_seconds()), 1),
        }
        for channel, since in sorted(oldest.items())
    ]


def _finding(finding: Document, now: datetime) -> dict[str, Any]:
    names = (
        "severity",
        "kind",
        "account_id",
        "subject",
        "signal_id",
        "text",
        "figures",
        "first_seen_at",
        "last_seen_at",
        "accepted",
    )
    age = max(0.0, (now - finding["first_seen_at"]).total_seconds())
    return {**{name: finding[name] for name in names}, "age_seconds": round(age, 1)}


def _brief(order: Document) -> dict[str, Any]:
    return {name: order.get(name) for name in _BRIEF}


def _command(command: Document) -> dict[str, Any]:
    names = ("kind", "client_order_id", "account_id", "arguments", "who", "created_at")
    return {"command_id": command["_id"], **{name: command[name] for name in names}}


def _print(found: Mapping[str, Any]) -> None:
    from exec_service.cli.output import print_table

    click.echo(f"{_where(found)}\n")
    print_table(
        "Workers",
        ("worker", "state", "since", "accounts", "heartbeat"),
        [
            (
                row["worker_id"],
                row["state"],
                row["since"],
                row["accounts"] if row["alive"] else None,
                f"{row['heartbeat_age_seconds']:g} s ago" if row["alive"] else None,
            )
            for row in found["workers"]
        ],
        empty=f"No worker runs: start `exec-service run{' --embedded' if found['data_dir'] else ''}`.",
    )
    print_table(
        "Accounts",
        ("account", "name", "broker", "worker", "availability", "since", "reason"),
        [
            (
                row["account_id"],
                row["name"],
                row["broker"],
                row["worker_id"] if row["owner_alive"] else None,
                row["availability"],
                row["availability_since"],
                row["availability_reason"],
            )
            for row in found["accounts"]
        ],
    )
    print_table("Orders", ("status", "count"), [(name, count) for name, count in found["orders"].items() if count])
    for title, name in (("Unknown outcome", "unknown"), ("Needs attention", "attention")):
        if found[name]:
            columns = (
                "signal",
                "account",
                "side",
                "quantity",
                "symbol",
                "status",
                "order id",
                "submitted",
                "attention",
            )
            print_table(title, columns, [_attention_row(row) for row in found[name]])
    for row in found["accounts"]:
        if row["halted"]:
            click.echo(f"{_stopped(row)}\n")
    if found["findings"]:
        print_table(
            "Differences from the broker",
            ("severity", "account", "age", "found"),
            [(row["severity"], row["account_id"], _age(row["age_seconds"]), _found(row)) for row in found["findings"]],
        )
    print_table(
        "Waiting for delivery",
        ("channel", "waiting", "oldest"),
        [(row["channel"], row["waiting"], f"{row['oldest_age_seconds']} s") for row in found["outbox"]],
        empty="Waiting for delivery: nothing",
    )
    print_table(
        "Open commands",
        ("asked", "who", "command", "order", "account"),
        [
            (row["created_at"], row["who"], row["kind"], row["client_order_id"], row["account_id"])
            for row in found["open_commands"]
        ],
        empty="Open commands: none",
    )
    click.echo(f"Dead letters: {found['dead_letters']}")


def _stopped(account: Mapping[str, Any]) -> str:
    from exec_service.cli.output import moment, printable

    halted = account["halted"]
    return printable(
        f"Account {account['account_id']} is stopped since {moment(halted['since'])} UTC: {halted['reason']}. "
        f"Cancels go on, nothing is sent. When you have looked: exec-service resume {account['account_id']}"
    )


def _found(finding: Mapping[str, Any]) -> str:
    accepted = finding["accepted"]
    return finding["text"] if accepted is None else f"{finding['text']} (accepted by {accepted['who']})"


def _age(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h``, ``2 days``."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def _where(found: Mapping[str, Any]) -> str:
    """Which store was looked at."""
    from exec_service.cli.output import printable

    database = found["database"]
    if database is None:
        return printable(f"Data directory: {found['data_dir']}")
    return printable(f"Database: {database['name']} on {', '.join(database['hosts']) or 'the host in MONGODB_URI'}")


def _attention_row(row: Mapping[str, Any]) -> tuple[object, ...]:
    from exec_service.cli.output import quantity

    return (
        row["signal_id"],
        row["account_id"],
        row["side"],
        quantity(row["quantity"]),
        row["symbol"],
        row["status"],
        row["order_id"],
        row["submitted_at"],
        row["attention"],
    )
