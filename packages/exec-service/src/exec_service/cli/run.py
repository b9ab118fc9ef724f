"""``exec-service run``: the service, until SIGTERM or SIGINT, in one process or in several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from exec_service.cli.program import Failed, explained

if TYPE_CHECKING:
    from exec_service.lifeline import Lifeline
    from exec_service.redaction import Redactor
    from exec_service.settings import Settings

#: More are a slip of the finger rather than a wish.
MOST_WORKERS = 64


@click.command(short_help="Run the service.")
@click.option("--use-mock-broker", is_flag=True, help="Let the mock broker serve every account: no real money.")
@click.option("--embedded", is_flag=True, help="Use the bus and the store in EXEC_DATA_DIR; needs no server.")
@click.option(
    "--workers", type=click.IntRange(1, MOST_WORKERS), default=1, metavar="N",
    help="How many processes share the accounts.",
)  # fmt: skip
@click.option(
    "--as-worker", type=(int, str, int), default=None, hidden=True,
    help="How the parent of several workers starts each: its number, its WORKER_ID, the descriptor of its lifeline.",
)  # fmt: skip
def run(use_mock_broker: bool, embedded: bool, workers: int, as_worker: tuple[int, str, int] | None) -> None:
    """Run the service.

    It is ready when it says so. SIGTERM and SIGINT end it in good order: orders resting at the broker stay there.
    """
    from exec_service.settings import load_settings

    options = {"embedded": embedded, "use_mock_broker": use_mock_broker or None}
    if as_worker is not None:
        from exec_service.lifeline import Lifeline

        number, worker_id, descriptor = as_worker
        lifeline = Lifeline(descriptor)
        settings = load_settings(serving=True, worker_id=worker_id, **options)
        if settings.health_port is not None:
            settings = settings.model_copy(update={"health_port": settings.health_port + number - 1})
        _work(settings, number=number, workers=workers, lifeline=lifeline)
        return
    settings = load_settings(serving=True, **options)
    if workers == 1:
        _work(settings)
        return
    code = _lead(settings, workers, [*(["--embedded"] * embedded), *(["--use-mock-broker"] * use_mock_broker)])
    click.get_current_context().exit(code)


def _work(settings: Settings, *, number: int = 1, workers: int = 1, lifeline: Lifeline | None = None) -> None:
    """Be the service; with a `lifeline`, as one of several workers."""
    import asyncio
    import logging
    from itertools import chain, count

    from exec_service import bootstrap, logs, running

    bootstrap.check(settings)
    # A worker's files carry its number, else one that no other worker of its parent is going to ask for.
    numbers = count(1) if lifeline is None else chain([number], count(workers + 1))
    with _logging(settings, numbers) as (redactor, place):
        try:
            asyncio.run(running.run(settings, redactor.redact, expected_workers=workers, lifeline=lifeline))
        except Exception as error:
            told = explained(error)
            if told is not None:
                logging.getLogger("exec_service").error("The service cannot go on: %s", told.message)
                raise type(told)(redactor.redact(told.message)) from error
            logging.getLogger("exec_service").exception("The service failed")
            where = settings.log_dir / logs.file_name(logs.SERVICE_FILE, place)
            text = redactor.redact(f"{type(error).__name__}: {error}")
            raise Failed(f"The service failed: {text}. The traceback is in {where}.") from error


def _lead(settings: Settings, workers: int, options: list[str]) -> int:
    """Be the parent of so many workers, until all have ended; the exit code."""
    import asyncio
    from itertools import count

    from exec_service import bootstrap
    from exec_service.leading import lead, one_mock_venue

    bootstrap.check(settings, workers=workers)
    with ExitStack() as entered:
        entered.enter_context(_logging(settings, count(1), parent=True))
        if bootstrap.has_mock_in_memory(settings):
            entered.enter_context(one_mock_venue())
        return asyncio.run(lead(settings, workers, options))


@contextmanager
def _logging(settings: Settings, numbers: Iterable[int], *, parent: bool = False) -> Iterator[tuple[Redactor, int]]:
    """Log while entered, under the first of `numbers` that is free; who masks secrets in it, and the number."""
    from exec_service import logs
    from exec_service.redaction import Redactor

    redactor = Redactor()
    packages = _learn(settings, redactor)
    with ExitStack() as entered:
        place = entered.enter_context(_free_number(settings.log_dir, "workers" if parent else "worker", numbers))
        entered.enter_context(
            logs.configure(
                settings.log_dir, settings.log_level,
                worker_number=place, parent=parent, redactor=redactor, packages=packages,
            )
        )  # fmt: skip
        yield redactor, place


@contextmanager
def _free_number(log_dir: Path, what: str, numbers: Iterable[int]) -> Iterator[int]:
    """The first number that no live process logs under in this directory: two must not write to one file."""
    from exec_core.errors import ConfigurationError

    from exec_service.process_locks import ProcessLock, lock_path

    for number in numbers:
        lock = ProcessLock(lock_path(log_dir, f"{what}-{number}"))
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
