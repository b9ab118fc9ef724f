"""The simulated Kite as a process: it listens, says where, and has a second port for its desk."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import click
from aiohttp import web

from exec_broker_zerodha.simulator.commands import Commands
from exec_broker_zerodha.simulator.desk import ImpossibleAction
from exec_broker_zerodha.simulator.listening import Door
from exec_broker_zerodha.simulator.options import Options
from exec_broker_zerodha.simulator.server import Simulator


def serve(options: Options, path: Path | None, port: int, desk_port: int) -> None:
    """Run until SIGTERM or SIGINT. :raises NotABook, OSError: the book, or a port, cannot be used."""
    asyncio.run(_serve(options, path, port, desk_port))


async def _serve(options: Options, path: Path | None, port: int, desk_port: int) -> None:
    told_to_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_end.set)
    async with Simulator(options, path=path, port=port) as simulator:
        desk = Door(_desk(Commands(simulator)), desk_port)
        await desk.open()
        try:
            click.echo(f"Kite simulator: listening on {simulator.api_root}")
            click.echo(f"Kite simulator: the desk is on port {desk.port}")
            await told_to_end.wait()
        finally:
            await desk.close()


def _desk(commands: Commands) -> web.Application:
    async def handle(request: web.Request) -> web.Response:
        words = json.loads(await request.text())
        try:
            return web.json_response(await commands.run([str(word) for word in words]))
        except ImpossibleAction as error:
            return web.Response(status=400, text=str(error))

    application = web.Application()
    application.router.add_post("/", handle)
    return application
