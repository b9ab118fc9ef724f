"""``resume``: starts an account again that reconciliation has stopped; its owner carries it out."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import click

from exec_service.cli.asking import QUEUED, WAIT, user
from exec_service.cli.options import EMBEDDED, JSON
from exec_service.cli.program import Failed
from exec_service.cli.reading import chosen_settings, existing_store

if TYPE_CHECKING:
    from exec_service.settings import Settings
    from exec_service.stores import Document, Store


@click.command(short_help="Start an account again that was stopped.")
@click.argument("account_id", metavar="ACCOUNT")
@click.option("--reason", metavar="TEXT", help="What you found; kept with your name.")
@WAIT
@EMBEDDED
@JSON
def resume(account_id: str, reason: str | None, wait: float, embedded: bool, as_json: bool) -> None:
    """Start ACCOUNT again, which was stopped because more was at the broker than was asked.

    Look at the account's orders at the broker first. What stands now is accepted with it and does not stop the account
    again; anything more does.
    """
    import asyncio

    from exec_service.cli.output import print_json, printable
    from exec_service.commands import OPEN, REFUSED

    command = asyncio.run(_resume(chosen_settings(embedded), account_id, reason, wait))
    answer = command["answer"]
    if as_json:
        names = ("account_id", "state", "answer")
        print_json([{"command_id": command["_id"], **{name: command[name] for name in names}}])
    if command["state"] == REFUSED:
        raise Failed(printable(f"{account_id}: refused: {answer}."))
    if command["state"] == OPEN and answer is None and wait > 0:
        raise Failed(
            printable(
                f"{account_id}: the service has not answered yet; it is queued. See `exec-service status` and its log."
            )
        )
    if not as_json:
        click.echo(printable(f"{answer or 'Asked for; the service will carry it out'}."))


async def _resume(settings: Settings, account_id: str, reason: str | None, wait: float) -> Document:
    from exec_core.clock import utc_now

    from exec_service.commands import RESUME, command_document
    from exec_service.stores import ACCOUNTS, COMMANDS, FINDINGS, Write

    async with existing_store(settings) as store:
        rows = await store.load(ACCOUNTS, {"_id": account_id})
        if not rows:
            raise Failed(f"There is no account {account_id} that a service has ever served.")
        if not rows[0].get("halted"):
            raise Failed(f"The account {account_id} is not stopped: there is nothing to do.")
        standing = await store.load(FINDINGS, {"account_id": account_id, "cleared_at": None})
        seen = [
            {"id": finding["_id"], "total": finding["figures"]["total"]}
            for finding in standing
            if finding["figures"].get("total") is not None
        ]
        arguments: dict[str, Any] = {"reason": reason, "findings": seen}
        name = uuid.uuid4().hex
        command = command_document(name, RESUME, None, account_id, arguments, user(), utc_now())
        await store.commit([Write(COMMANDS, name, 0, command)])
        return await _answered(store, name, wait)


async def _answered(store: Store, name: str, wait: float) -> Document:
    """The command once it is answered, or as it is when nobody will answer it now, or the time is over."""
    import asyncio

    from exec_service.commands import OPEN
    from exec_service.stores import COMMANDS

    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while True:
        (command,) = await store.load(COMMANDS, {"_id": name})
        if command["state"] != OPEN:
            return command
        if not any(not worker.is_gone for worker in await store.workers()):
            return {**command, "answer": QUEUED}
        remaining = deadline - loop.time()
        if remaining <= 0:
            return command
        await store.wait_for_change(min(remaining, 1.0))
