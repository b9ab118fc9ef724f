"""``exec-service setup``: makes what the service needs of its store and bus. Doing it again is fine."""

from __future__ import annotations

import click

from exec_service.cli.options import JSON
from exec_service.cli.program import explained


@click.command(short_help="Make the topics, subscriptions and collections.")
@click.option("--embedded", is_flag=True, help="Make the files in EXEC_DATA_DIR instead.")
@JSON
def setup(embedded: bool, as_json: bool) -> None:
    """Make what is missing: Pub/Sub topics and subscriptions, MongoDB collections and indexes.

    Says what was made and what was there. It may be run again at any time, also while the service runs. No account
    needs to be configured.
    """
    import asyncio

    from exec_service.bootstrap import set_up
    from exec_service.cli.output import print_json, printable
    from exec_service.cli.warned import warnings_without_secrets
    from exec_service.redaction import Redactor
    from exec_service.settings import load_settings

    settings = load_settings(embedded=embedded)
    redactor = Redactor()
    redactor.add_settings(settings)
    try:
        with warnings_without_secrets(redactor):
            done = asyncio.run(set_up(settings))
    except Exception as error:
        told = explained(error)
        if told is None:
            raise
        raise type(told)(redactor.redact(told.message)) from error
    lines = [redactor.redact(line) for line in done]
    if as_json:
        print_json(lines)
    else:
        for line in lines:
            click.echo(printable(line))
