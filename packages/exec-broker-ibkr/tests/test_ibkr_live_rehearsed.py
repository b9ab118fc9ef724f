"""The live smoke test, rehearsed at the simulator: it is run so rarely that nobody would notice that it is broken."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from exec_broker_ibkr.simulator.server import Simulator

HERE = Path(__file__).parent


async def test_the_live_test_passes_at_a_tws_that_does_what_it_should() -> None:
    async with Simulator() as simulator:
        asked = {"IBKR_LIVE_TEST": "1", "IBKR_PORT": str(simulator.port), "IBKR_LIVE_SYMBOL": "AAPL"}
        others = {name: value for name, value in os.environ.items() if not name.startswith(("IBKR_", "PYTEST_"))}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(HERE / "test_ibkr_live.py")),
            env=others | asked | {"IBKR_BREAKS": "none"},
            cwd=HERE.parents[2],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        assert b"1 passed" in output
        bought, sold = [row for row in simulator.book.orders() if row.order_type == "MKT"]
        assert (bought.filled, sold.filled) == (1, 1)
