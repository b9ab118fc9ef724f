"""The demo's day, from the first order to the closing check. Every wait has a condition and a deadline."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from exec_service import bootstrap
from exec_service.demo import day
from exec_service.demo.checks import Evidence, run_checks
from exec_service.demo.processes import ServiceProcess, VenueDesk, together
from exec_service.demo.showing import Screen, counted
from exec_service.demo.watching import CONFIRMATIONS_SUBSCRIPTION, ENDED, Orders, Watch, all_ended, all_in
from exec_service.demo.world import World

AT_THE_BROKER = ("SUBMITTED", "PARTIALLY_FILLED", "FILLED")

Condition = Callable[[Orders], bool]


def run_demo(directory: Path | None = None, *, fast: bool = False, as_json: bool = False) -> bool:
    """Play the day in `directory`, which is kept, or in a temporary one; whether everything is as it must be.

    :raises DemoFailed: it cannot be played to its end.
    """
    screen = Screen(silent=as_json)
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        return asyncio.run(_play(World(directory.resolve(), fast), screen))
    with tempfile.TemporaryDirectory(prefix="exec-demo-") as temporary:
        return asyncio.run(_play(World(Path(temporary).resolve(), fast), screen))


async def _play(world: World, screen: Screen) -> bool:
    settings = world.settings()
    confirmations = {CONFIRMATIONS_SUBSCRIPTION: settings.execution_confirmations_topic}
    service = ServiceProcess(world, screen.service_line)
    playing = asyncio.current_task()
    if playing is not None:
        # Ended like by Ctrl-C: the service must not outlive the demo.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(service.kill)
        store = await stack.enter_async_context(bootstrap.make_store(settings))
        bus = await stack.enter_async_context(bootstrap.make_bus(settings, confirmations))
        watch = Watch(settings, store, bus, service)
        stack.push_async_callback(watch.stop_collecting)
        watch.start_collecting()
        return await Story(world, screen, service, VenueDesk(world), watch).tell()


class Story:
    """The day, part by part."""

    def __init__(self, world: World, screen: Screen, service: ServiceProcess, venue: VenueDesk, watch: Watch) -> None:
        self._world = world
        self._screen = screen
        self._service = service
        self._venue = venue
        self._watch = watch

    async def tell(self) -> bool:
        """All of it; whether the closing check passes."""
        self._screen.chapter(
            "exec-service: a day of orders",
            f"The service runs as a process of its own, with the mock broker, in {self._world.directory}",
        )
        with self._screen.waiting("the service is ready"):
            await together(self._service.start(), *(self._venue.script(*fault) for fault in day.FAULTS))
        await self._opening()
        await self._morning()
        await self._afternoon()
        await self._lost_on_the_wire()
        await self._bad_messages()
        await self._crash()
        return await self._closing()

    async def _opening(self) -> None:
        self._screen.chapter(
            "1. The first order", "BUY 100 SPY at market, with exits (which this release does not place)"
        )
        await self._watch.publish(day.SPY)
        await self._until("SPY is filled", all_in([day.SPY], "FILLED"))

    async def _morning(self) -> None:
        self._screen.chapter("2. The morning", "Market orders, partial fills, an option, a limit that waits, a refusal")
        message = {**day.TIMED_OUT.message, "timeout_seconds": self._world.timeout_seconds}
        timed_out = replace(day.TIMED_OUT, message=message)
        await self._watch.publish(*(timed_out if item is day.TIMED_OUT else item for item in day.MORNING))
        await self._until("AAPL rests at the broker", all_in([day.RESTING_LIMIT], "SUBMITTED"))
        rest = [item for item in day.MORNING if item not in (day.RESTING_LIMIT, day.TIMED_OUT)]
        await self._until("the entries are filled", all_ended(rest))

    async def _afternoon(self) -> None:
        self._screen.chapter("3. The afternoon", "An exit with profit, a flip from long to short, a stop that triggers")
        await self._watch.publish(*day.AFTERNOON)
        await self._until("the stop is at the broker", all_in([day.STOP], "SUBMITTED"))
        self._screen.note("TSLA falls to 237.80, through the stop at 238.00")
        await self._venue.price("TSLA", "237.80")
        await self._until("the afternoon's orders have ended", all_ended(day.AFTERNOON))

    async def _lost_on_the_wire(self) -> None:
        self._screen.chapter(
            "4. Lost on the wire", "No answer is never taken for no: the broker is asked, and nothing is sent again"
        )
        await self._watch.publish(day.LOST_ANSWER, day.LOST_ORDER)
        await self._until("AMD is found at the broker", all_in([day.LOST_ANSWER], "FILLED"))

    async def _bad_messages(self) -> None:
        self._screen.chapter("5. Bad messages", "A repetition, a conflict, no JSON, quantity 0, too old, unknown words")
        await self._watch.publish(day.DUPLICATE, day.CONFLICT, day.MALFORMED, *day.BAD)
        await self._until("they are refused", all_ended(day.BAD))
        with self._screen.waiting("the rest is kept as dead letters"):
            await self._watch.until_dead_letters(day.DEAD_LETTERS)
        await self._until("MSFT has timed out", all_ended([day.TIMED_OUT]))

    async def _crash(self) -> None:
        self._screen.chapter(
            "6. kill -9", f"{len(day.BUSY)} orders are being filled bit by bit, AAPL rests at the broker"
        )
        await self._watch.publish(*day.BUSY)
        await self._until("they are at work", _are_at_work)
        self._screen.note("SIGKILL")
        await self._service.kill()
        before = await self._watch.orders()
        self._screen.note("AAPL falls to 187.30 while nobody watches, and the venue goes on filling orders")
        await self._venue.price("AAPL", "187.30")
        self._screen.note("META is ordered while no service runs: the message waits")
        await self._watch.publish(day.WHILE_DOWN)
        unfinished = Counter(order["status"] for order in before.values() if order["status"] not in ENDED)
        self._screen.note("restart, with these orders unfinished: " + counted(unfinished))
        with self._screen.waiting("the service is ready again"):
            await self._service.start()
        await self._until("everything has ended", all_ended(day.ALL))

    async def _closing(self) -> bool:
        self._screen.chapter("7. The close")
        with self._screen.waiting("everything is delivered"):
            await self._watch.until_delivered()
        await self._service.stop()
        book = await self._venue.book()
        evidence = Evidence(await self._watch.everything(), book, self._watch.confirmations)
        checks = run_checks(evidence, day.ALL)
        self._screen.result(evidence, checks)
        return all(check.passed for check in checks)

    async def _until(self, what: str, condition: Condition) -> None:
        with self._screen.waiting(what):
            await self._watch.until(what, condition)


def _are_at_work(orders: Orders) -> bool:
    """All at the broker, some not complete; or, on a machine so slow that this cannot be seen, all complete."""
    if not all_in(day.BUSY, *AT_THE_BROKER)(orders):
        return False
    statuses = {orders[item.signal_id]["status"] for item in day.BUSY}
    return "PARTIALLY_FILLED" in statuses or statuses == {"FILLED"}
