"""The live smoke test, rehearsed at the simulator: it is run so rarely that nobody would notice that it is broken."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from exec_broker_zerodha.simulator.desk import Desk
from exec_broker_zerodha.simulator.options import Options
from exec_broker_zerodha.simulator.server import Simulator

HERE = Path(__file__).parent


async def test_the_live_test_passes_at_a_kite_that_answers_and_only_reads(tmp_path: Path) -> None:
    options = Options()
    async with Simulator(options) as simulator:
        desk = Desk(simulator)
        asked = {
            "ZERODHA_LIVE_TEST": "1",
            "ZERODHA_LIVE_MODE": "paper",
            "ZERODHA_API_ROOT": simulator.api_root,
            "ZERODHA_API_KEY": options.api_key,
            "ZERODHA_ACCESS_TOKEN": options.access_token,
            "ZERODHA_DATA_DIR": str(tmp_path),
        }
        others = {name: value for name, value in os.environ.items() if not name.startswith(("ZERODHA_", "PYTEST_"))}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(HERE / "test_zerodha_live.py")),
            env=others | asked,
            cwd=HERE.parents[2],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        assert b"1 passed" in output
        assert desk.requests["orders"]
        assert not [name for name in desk.requests if name.startswith("order.")]
