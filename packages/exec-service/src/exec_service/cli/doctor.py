"""``exec-service doctor``: tries every component for real, and names the fix of what is wrong."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from exec_service.cli.options import JSON
from exec_service.cli.program import Failed, Unusable

if TYPE_CHECKING:
    import threading

    from exec_service.checks import Check
    from exec_service.doctor import Diagnosis

#: How long threads of plugins may take to end when all is told.
PATIENCE_SECONDS: Final = 3.0
_MARKS: Final = {"OK": "✓", "WARNING": "!", "FAILED": "✗"}


@click.command(short_help="Try every component, and name what to mend.")
@click.option("--embedded", is_flag=True, help="Look at what `run --embedded` would use.")
@click.option("--use-mock-broker", is_flag=True, help="Look at what `run --use-mock-broker` would use.")
@JSON
def doctor(embedded: bool, use_mock_broker: bool, as_json: bool) -> None:
    """Try what `run` with the same options would use: configuration, store, bus, brokers, notifiers, this machine.

    No order is sent and nobody is notified. An account that a worker serves is not connected to a second time: what
    that worker says is shown.

    Exit code 0 if nothing failed, 1 if something did, 2 if the configuration cannot be used; all else is tried even
    then.
    """
    import asyncio
    import threading

    from exec_service.cli.output import print_json
    from exec_service.cli.warned import warnings_without_secrets
    from exec_service.doctor import diagnose
    from exec_service.redaction import Redactor

    before = set(threading.enumerate())
    redactor = Redactor()
    with warnings_without_secrets(redactor):
        diagnosis = asyncio.run(diagnose(redactor, embedded=embedded, use_mock_broker=use_mock_broker or None))
    if as_json:
        print_json({"ok": not diagnosis.failed, "checks": [_as_row(check) for check in diagnosis.checks]})
    else:
        _print(diagnosis)
    error = _verdict(diagnosis)
    if _left_behind(before):
        _leave(error)
    if error is not None:
        raise error


def _as_row(check: Check) -> dict[str, str | None]:
    return {
        "component": check.component,
        "name": check.name,
        "outcome": check.outcome.value,
        "detail": check.detail,
        "fix": check.fix,
    }


def _print(diagnosis: Diagnosis) -> None:
    from exec_service.cli.output import print_table, printable

    rows = [(_MARKS[check.outcome], check.component, check.name, _line(check.detail)) for check in diagnosis.checks]
    print_table("Checks", ("", "component", "name", "found"), rows)
    to_do = [check for check in diagnosis.checks if check.fix is not None]
    if not to_do:
        click.echo("All is well.")
        return
    click.echo("What to do:")
    for check in to_do:
        line = f"{_MARKS[check.outcome]} {check.component}, {check.name}: {_line(check.fix or '')}"
        click.echo(printable(f"  {line}"))


def _line(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())


def _verdict(diagnosis: Diagnosis) -> click.ClickException | None:
    failed = len(diagnosis.failed)
    if not failed:
        return None
    text = f"{failed} of {len(diagnosis.checks)} checks failed."
    return Failed(text) if diagnosis.is_usable else Unusable(f"{text} The configuration cannot be used as it is.")


def _left_behind(before: set[threading.Thread]) -> bool:
    """Whether a thread that began meanwhile goes on: a plugin hangs in it, and the process would wait for it."""
    import threading
    import time

    deadline = time.monotonic() + PATIENCE_SECONDS
    ours = [thread for thread in threading.enumerate() if thread not in before and not thread.daemon]
    for thread in ours:
        thread.join(max(0.0, deadline - time.monotonic()))
    return any(thread.is_alive() for thread in ours)


def _leave(error: click.ClickException | None) -> None:
    """End the process now, whoever hangs."""
    import os

    if error is not None:
        error.show()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(0 if error is None else error.exit_code)
