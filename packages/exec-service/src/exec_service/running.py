"""The service as a process: until a signal, a lost lease, or the end of whoever started it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress

from exec_core.plugins import installed_plugins

from exec_service import bootstrap
from exec_service.health import serve_health
from exec_service.lifeline import STOP_SIGNALS, Lifeline, stop_signals_heeded
from exec_service.service import Service
from exec_service.settings import Settings
from exec_service.stores import LeaseLost, WorkerAlive
from exec_service.watchdog import LoopWatchdog

logger = logging.getLogger(__name__)

#: What a stop may take beyond SHUTDOWN_TIMEOUT_SECONDS before the process ends itself.
LAST_RESORT_SECONDS = 1.0
#: What a worker that has ended at last needs beyond that until the system has taken back what it held.
GONE_SECONDS = 2.0
#: Objects made since, by generation, before cycles among them are looked for.
COLLECT_AFTER = (20_000, 20, 20)
#: How often is looked whether a worker of an earlier start has ended.
PREDECESSOR_SECONDS = 0.5


async def run(
    settings: Settings, redact: Callable[[str], str], *, expected_workers: int = 1, lifeline: Lifeline | None = None
) -> None:
    """Run the service until SIGTERM or SIGINT; a lost lease means starting over as a new worker.

    `redact` takes secrets out of a text: what brokers say goes into documents and to people. One of several workers of
    a command (`expected_workers`) has a `lifeline` to the process that started it, and stops too when that ends.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop.set)
    with ExitStack() as attached:
        if lifeline is not None:
            attached.enter_context(stop_signals_heeded())
            attached.enter_context(lifeline.watched(stop.set))
        await _serve(settings, redact, stop, expected_workers, lifeline)


async def _serve(
    settings: Settings, redact: Callable[[str], str], stop: asyncio.Event, workers: int, lifeline: Lifeline | None
) -> None:
    plugins = {plugin.entry_point.module: name for name, plugin in installed_plugins().items()}
    if not settings.embedded:
        # Loads the clients' packages, which takes a second, before the watchdog looks.
        bootstrap.make_store(settings)
        bootstrap.make_bus(settings)
    _collect_seldom()
    last_resort = asyncio.create_task(_leave_at_last(stop, settings.shutdown_timeout_seconds))
    service: Service | None = None
    health = serve_health(settings.health_host, settings.health_port, lambda: service)
    predecessor = _Predecessor(settings, stop) if lifeline is not None else None
    async with health, LoopWatchdog(plugins):
        while not stop.is_set():
            try:
                async with bootstrap.open_service(settings, redact, stop, expected_workers=workers) as service:
                    helping = [asyncio.create_task(_stop_when(stop, service))]
                    if lifeline is not None:
                        helping.append(asyncio.create_task(_tell_when_ready(service, lifeline)))
                    try:
                        await service.run()
                    finally:
                        for task in helping:
                            task.cancel()
                break
            except bootstrap.Stopped:
                logger.info("Stopped before everything was open: nothing was under way")
            except LeaseLost as error:
                logger.error("This worker wrote and sent nothing more, and starts over: %s", error)
            except WorkerAlive as error:
                if predecessor is None or not await predecessor.may_end(error):
                    raise
    last_resort.cancel()


def _collect_seldom() -> None:
    """Look for reference cycles less often: what is kept of thousands of orders has none, and is looked through each
    time (measured: 5 to 8 % of the time that an order takes)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


class _Predecessor:
    """A process under our id that is still alive where a parent starts workers under ids that stay.

    It may be one of an earlier parent, which was killed: that one stops by itself, and is waited for as long as a stop
    may take. One that does not stop was started by somebody else.
    """

    def __init__(self, settings: Settings, stop: asyncio.Event) -> None:
        self._stop = stop
        self._given_up_at = asyncio.get_running_loop().time() + stop_takes_seconds(settings)
        self._told = False

    async def may_end(self, error: WorkerAlive) -> bool:
        """Wait a moment; False when that has been tried for long enough."""
        if asyncio.get_running_loop().time() > self._given_up_at:
            return False
        if not self._told:
            self._told = True
            logger.warning("Waiting, because a worker of an earlier start may be about to end: %s", error)
        with suppress(TimeoutError):
            async with asyncio.timeout(PREDECESSOR_SECONDS):
                await self._stop.wait()
        return True


def stop_takes_seconds(settings: Settings) -> float:
    """How long a worker that was asked to stop may still be there."""
    return settings.shutdown_timeout_seconds + LAST_RESORT_SECONDS + GONE_SECONDS


async def _tell_when_ready(service: Service, lifeline: Lifeline) -> None:
    await service.opened.wait()
    lifeline.tell_ready()


async def _stop_when(stop: asyncio.Event, service: Service) -> None:
    await stop.wait()
    service.stop()


async def _leave_at_last(stop: asyncio.Event, seconds: float) -> None:
    """End the process where a good end takes longer than it may; that loses no more than a `kill -9`: nothing."""
    await stop.wait()
    await asyncio.sleep(seconds + LAST_RESORT_SECONDS)
    logger.error(
        "The stop took longer than SHUTDOWN_TIMEOUT_SECONDS (%g s): ending now; the next start goes on", seconds
    )
    logging.shutdown()
    os._exit(1)
