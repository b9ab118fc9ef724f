"""``exec-service run --workers N``: what the parent of the workers does before, and what it starts them with."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from exec_core.errors import ConfigurationError

from exec_service.health import check_port
from exec_service.lifeline import STOP_SIGNALS
from exec_service.running import stop_takes_seconds
from exec_service.settings import Settings
from exec_service.workforce import Workforce

logger = logging.getLogger(__name__)

#: What is left to a worker that was asked to stop while it was being loaded, on a slow machine.
LOADING_SECONDS = 7.0
PORT_CHECK_SECONDS = 0.5


#: Where the mock brokers of several processes meet.
MOCK_VENUE = "MOCK_BROKER_STATE_FILE"


@contextmanager
def one_mock_venue() -> Iterator[None]:
    """Let the workers started meanwhile meet at one mock venue, where each would have one of its own in memory, and an
    account that another worker takes over would lose its orders there. It ends with them, as one in memory does."""
    with TemporaryDirectory(prefix="exec-mock-venue-", ignore_cleanup_errors=True) as place:
        os.environ[MOCK_VENUE] = str(Path(place) / "venue.sqlite3")
        try:
            logger.info("The workers share one mock venue, which ends with them; name %s to keep it", MOCK_VENUE)
            yield
        finally:
            del os.environ[MOCK_VENUE]


async def lead(settings: Settings, workers: int, options: Sequence[str]) -> int:
    """Run so many workers with these `options` of the command line until SIGTERM or SIGINT; the exit code.

    :raises ConfigurationError: a port of theirs is taken.
    """

    def name(number: int) -> str:
        return f"{settings.worker_id}-{number}"

    def command(number: int, descriptor: int) -> list[str]:
        worker = ("--as-worker", str(number), name(number), str(descriptor))
        return [*_program(), "run", *options, "--workers", str(workers), *worker]

    force = Workforce(workers, command, name, patience_seconds=stop_takes_seconds(settings) + LOADING_SECONDS)
    loop = asyncio.get_running_loop()
    for signal_number in STOP_SIGNALS:
        loop.add_signal_handler(signal_number, force.stop)
    await _ports_are_free(settings, workers, force)
    return await force.run()


def _program() -> list[str]:
    """This program again. Where we do not import from the working directory, the workers must not either."""
    from_here = sys.path[:1] in ([""], [str(Path.cwd())])
    return [sys.executable, *([] if from_here else ["-P"]), "-m", "exec_service"]


async def _ports_are_free(settings: Settings, workers: int, force: Workforce) -> None:
    """Wait for a port that is taken as long as a worker of an earlier start, whose parent was killed, may hold it."""
    if settings.health_port is None:
        return
    given_up_at = asyncio.get_running_loop().time() + stop_takes_seconds(settings)
    told = False
    for port in range(settings.health_port, settings.health_port + workers):
        while True:
            try:
                await check_port(settings.health_host, port)
                break
            except ConfigurationError as error:
                if asyncio.get_running_loop().time() > given_up_at:
                    raise
                if not told:
                    told = True
                    logger.warning("Waiting, because a worker of an earlier start may be about to end: %s", error)
            if await force.stopped_within(PORT_CHECK_SECONDS):
                return
