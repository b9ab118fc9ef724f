"""``exec-service run``: the service, until SIGTERM or SIGINT."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exec_service.cli.program import Failed, explained

if TYPE_CHECKING:
    from exec_service.redaction import Redactor
    from exec_service.settings import Settings


@click.command(short_help="Run the service.")
@click.option("--use-mock-broker", is_flag=True, help="Let the mock broker serve every account: no real money.")
@click.option("--embedded", is_flag=True, help="Use the bus and the store in EXEC_DATA_DIR; needs no server.")
@click.option("--workers", type=click.IntRange(min=1), default=1, metavar="N", help="How many processes.")
def run(use_mock_broker: bool, embedded: bool, workers: int) -> None:
    """Run the service.

    It is ready when it says so. SIGTERM and SIGINT end it in good order: orders resting at the broker stay there.
    """
    if workers > 1:
        raise click.UsageError(
            "This release runs one worker per command: start `exec-service run` once per worker, "
            "each with a WORKER_ID of its own or none."
        )
    import asyncio
    import logging

    from exec_service import bootstrap, logs
    from exec_service.redaction import Redactor
    from exec_service.settings import load_settings

    settings = load_settings(serving=True, embedded=embedded, use_mock_broker=use_mock_broker or None)
    bootstrap.check(settings)
    redactor = Redactor()
    packages = _learn(settings, redactor)
    with (
        _worker_number(settings.log_dir) as number,
        logs.configure(
            settings.log_dir, settings.log_level, worker_number=number, redactor=redactor, packages=packages
        ),
    ):
        try:
            asyncio.run(bootstrap.run(settings, redactor.redact))
        except Exception as error:
            told = explained(error)
            if told is not None:
                logging.getLogger("exec_service").error("The service cannot go on: %s", told.message)
                raise type(told)(redactor.redact(told.message)) from error
            logging.getLogger("exec_service").exception("The service failed")
            where = settings.log_dir / f"{logs.SERVICE_FILE}.log"
            text = redactor.redact(f"{type(error).__name__}: {error}")
            raise Failed(f"The service failed: {text}. The traceback is in {where}.") from error


@contextmanager
def _worker_number(log_dir: Path) -> Iterator[int]:
    """The first number that no live worker logs under in this directory: two must not write to one file."""
    from itertools import count

    from exec_core.errors import ConfigurationError

    from exec_service.process_locks import ProcessLock, lock_path

    for number in count(1):
        lock = ProcessLock(lock_path(log_dir, f"worker-{number}"))
        try:
            taken = lock.acquire(patience_seconds=0.1)
        except OSError as error:
            raise ConfigurationError(f"LOG_DIR: {log_dir} cannot be made or written: {error.strerror}") from error
        if taken:
            try:
                yield number
            finally:
                lock.release()
            return


def _learn(settings: Settings, redactor: Redactor) -> set[str]:
    """Tell `redactor` every secret that the settings hold; the packages of the plugins, which log as we do."""
    from exec_core.plugins import installed_plugins, load_broker_plugin, load_notifier_plugins, plugin_settings

    redactor.add_settings(settings)
    used = {"mock"} if settings.serves_any_account else set()
    for account in settings.accounts_or_mock.values():
        config = settings.broker_config(account)
        used.add(config.broker)
        redactor.add_settings(plugin_settings(load_broker_plugin(config.broker), config))
    for notifier in load_notifier_plugins():
        used.add(notifier.name)
        redactor.add_settings(notifier.settings())
    plugins = installed_plugins()
    return {plugins[name].entry_point.module.partition(".")[0] for name in used if name in plugins}
