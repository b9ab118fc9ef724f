"""The mock broker, which besides notes when each order was handed to it: the plugin `timed`, for the benchmarks only.

It is found like every plugin, by an entry point: `install` writes the few lines that a wheel would bring. One line per
order goes into a buffered file, which costs about a microsecond; the file is complete when the process has ended.
"""

from __future__ import annotations

import atexit
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Final, TextIO

from exec_broker_mock.broker import PLUGIN as MOCK
from exec_broker_mock.broker import MockBroker
from exec_broker_mock.settings import MockBrokerSettings
from exec_core.broker import BrokerConfig, BrokerPlugin, Placed
from exec_core.hookspecs import hookimpl
from exec_core.orders import Order

NAME: Final = "timed"
#: Where the notes go: a directory.
VARIABLE: Final = "BENCH_NOTES"
_open: dict[str, TextIO] = {}


def _notes() -> TextIO:
    """This process's file."""
    if NAME not in _open:
        path = Path(os.environ[VARIABLE]) / f"placed-{os.getpid()}.txt"
        _open[NAME] = path.open("w", buffering=1 << 20)
        atexit.register(_open[NAME].close)
    return _open[NAME]


class TimedBroker(MockBroker):
    """See the module's text."""

    async def place_order(self, order: Order) -> Placed:
        """As the mock does."""
        _notes().write(f"{order.client_order_id} {time.time():.6f}\n")
        return await super().place_order(order)


def _create(config: BrokerConfig, settings: MockBrokerSettings) -> TimedBroker:
    return TimedBroker(config, settings)


PLUGIN: Final = replace(MOCK, name=NAME, create=_create)


@hookimpl
def exec_register_broker() -> BrokerPlugin:
    """The mock under another name."""
    return PLUGIN


def install(directory: Path) -> None:
    """Make `directory` one that, on the path, brings the plugin."""
    information = directory / "exec_bench-0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: exec-bench\nVersion: 0\n")
    (information / "entry_points.txt").write_text(f"[exec_core]\n{NAME} = bench.broker\n")
