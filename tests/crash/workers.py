"""One process: the service behind its seams, from its start until it ends, is stopped dead, or is taken away."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from exec_broker_mock.broker import PLUGIN, MockBroker
from exec_core.broker import BrokerConfig, BrokerPlugin
from exec_service import bootstrap, delivery
from exec_service.service import Service
from exec_service.stores import Lease, LeaseLost

from crash.seams import Choice, Seams
from crash.virtual import Process
from crash.world import CONFIRMATIONS, World
from crash.wrapped import SeamBroker, SeamBus, SeamNotifier, SeamStore

logger = logging.getLogger(__name__)

#: The mock venue is asked sooner than a person would wait.
SETTLE_SECONDS: Final = 1.0
ABSENCE_VIEW_SECONDS: Final = 0.25
LOOK_SECONDS: Final = 0.1


class Worker:
    """See the module's text. As `exec-service run` does, it starts over when it has lost its lease."""

    def __init__(self, world: World, worker_id: str, choose: Choice, dice: random.Random) -> None:
        self.world = world
        self.worker_id = worker_id
        self.process = Process()
        self.seams = Seams(self.process, dice, choose)
        self.service: Service | None = None
        self.is_stop_asked = False
        #: How often it has said that it had lost its lease, and started over.
        self.losses = 0
        #: Whether it ever stood still: only then may its lease be lost.
        self.was_halted = False
        #: Whether somebody has looked at it since it stands still.
        self.was_seen_halted = False
        #: Its lease, and how many it had lost, when it went on after having stood still.
        self.lease_when_woken: Lease | None = None
        self.losses_when_woken = 0
        self.running = self.process.spawn(self._run(), worker_id)
        world.witness.dead.discard(worker_id)
        world.workers.append(self)

    @property
    def is_disturbed(self) -> bool:
        """Whether heartbeats of it may have been missing."""
        return bool(self.seams.met)

    @property
    def is_ready(self) -> bool:
        """Whether it takes messages in."""
        return self.service is not None and self.service.ready

    def stop(self) -> None:
        """Ask it to stop in good order."""
        self.is_stop_asked = True
        if self.service is not None:
            self.service.stop()

    async def _run(self) -> None:
        while True:
            try:
                await self._serve()
                return
            except LeaseLost as error:
                self.losses += 1
                self.seams.lease = self.service = None
                logger.error("%s wrote and sent nothing more, and starts over: %s", self.worker_id, error)

    async def _serve(self) -> None:
        world, seams = self.world, self.seams
        store = await world.store().__aenter__()
        try:
            bus = await world.bus(self.worker_id).__aenter__()
            try:
                seam_store, seam_bus = SeamStore(store, seams, world.witness), SeamBus(bus, seams, world.witness)
                channels = [
                    delivery.confirmations(seam_bus, CONFIRMATIONS),
                    delivery.signals(seam_store),
                    delivery.notifications("listener", SeamNotifier(world.heard, seams, world.witness), 5.0),
                ]
                with self._plugin_through_seams():
                    service = self.service = bootstrap.assemble(
                        world.settings(self.worker_id), seam_store, seam_bus, channels, ["listener"], lambda text: text
                    )
                if self.is_stop_asked:
                    service.stop()
                await service.run()
            finally:
                await bus.__aexit__(None, None, None)
        finally:
            await store.__aexit__(None, None, None)

    async def bury(self) -> None:
        """Take away what is left of the process, without any effect."""
        self.seams.buried = True
        while rest := {task for task in self.process.tasks if not task.done()}:
            for task in rest:
                task.cancel()
            self.process.thaw()
            await asyncio.wait(rest, timeout=LOOK_SECONDS)
        for broker in self.seams.brokers:
            await broker.__aexit__(None, None, None)  # type: ignore[attr-defined]

    @contextmanager
    def _plugin_through_seams(self) -> Iterator[None]:
        """The service finds the mock, as it is, behind a seam."""

        def create(config: BrokerConfig, settings: Any) -> Any:
            return SeamBroker(MockBroker(config, settings, self.world.clock.now), self.seams, self.world.witness)

        plugin = dataclasses.replace(
            PLUGIN,
            create=create,
            unknown_settle_seconds=SETTLE_SECONDS,
            absence_view_seconds=ABSENCE_VIEW_SECONDS,
        )

        def load(name: str) -> BrokerPlugin:
            if name != PLUGIN.name:
                raise LookupError(f"only the mock is played with, not {name}")
            return plugin

        original = bootstrap.load_broker_plugin
        bootstrap.load_broker_plugin = load
        try:
            yield
        finally:
            bootstrap.load_broker_plugin = original
