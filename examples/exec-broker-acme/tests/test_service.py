"""The service uses the plugin as it uses every other: a process of its own, an account in exec.toml, an order."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from exec_broker_acme.conformance import AcmeVenue

PATIENCE = 120.0
ORDER = {
    "signal_id": "sig_1",
    "account_id": "acme_1",
    "strategy_name": "Trend",
    "symbol": "AAPL",
    "side": "BUY",
    "quantity": 100,
    "order_type": "LIMIT",
    "limit_price": 187.5,
}


class Service:
    """`exec-service` in a directory with an exec.toml for the venue."""

    def __init__(self, directory: Path, settings: Mapping[str, Any]) -> None:
        self.directory = directory
        ours = ("ACME_", "EXEC_", "MONGODB_", "PUBSUB_", "ACCOUNTS", "USE_MOCK_BROKER")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        lines = ["[accounts.acme_1]", 'broker = "acme"', 'mode = "paper"', "", "[accounts.acme_1.settings]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        (directory / "exec.toml").write_text("\n".join(lines), encoding="utf-8")
        (directory / "order.json").write_text(json.dumps(ORDER), encoding="utf-8")

    async def start(self, *arguments: str, output: int) -> asyncio.subprocess.Process:
        command = [sys.executable, "-m", "exec_service", *arguments]
        return await asyncio.create_subprocess_exec(
            *command, cwd=self.directory, env=self.environment, stdout=output, stderr=asyncio.subprocess.STDOUT
        )

    async def run(self, *arguments: str) -> str:
        """What the command prints."""
        process = await self.start(*arguments, output=asyncio.subprocess.PIPE)
        printed = (await process.communicate())[0].decode()
        assert process.returncode == 0, printed
        return printed

    async def order(self, status: str) -> dict[str, Any]:
        """The order, once it has this status."""

        async def shown() -> tuple[bool, Any]:
            orders = json.loads(await self.run("orders", "sig_1", "--embedded", "--json"))
            return [order["status"] for order in orders] == [status], orders

        found: list[dict[str, Any]] = await until(shown, f"the order is {status}")
        return found[0]


async def until(look: Callable[[], Awaitable[tuple[bool, Any]]], what: str) -> Any:
    """What `look` saw once it was content."""
    deadline = time.monotonic() + PATIENCE
    while True:
        content, seen = await look()
        if content:
            return seen
        assert time.monotonic() < deadline, f"it did not come true that {what}; seen: {seen}"
        await asyncio.sleep(0.05)


def written(directory: Path) -> str:
    """What the service has printed and logged."""
    return "".join(path.read_text(errors="replace") for path in directory.rglob("*") if path.suffix in (".txt", ".log"))


async def test_an_order_is_placed_filled_and_booked(tmp_path: Path) -> None:
    console = tmp_path / "console.txt"

    async def ready() -> tuple[bool, str]:
        text = console.read_text(encoding="utf-8")
        return "Execution service ready" in text or running.returncode is not None, text

    async with AcmeVenue() as venue:
        service = Service(tmp_path, venue.config.settings)
        with console.open("wb") as output:
            running = await service.start("run", "--embedded", output=output.fileno())
        try:
            await until(ready, "the service is ready")
            await service.run("submit", "order.json", "--embedded")
            order = await service.order("SUBMITTED")
            (known,) = await venue.orders()
            assert order["broker_order_ids"] == [known.broker_order_id]
            assert (known.quantity, known.limit_price) == (Decimal(100), Decimal("187.5"))
            await venue.fill(known.broker_order_id, Decimal(40), Decimal("187.45"))
            await venue.fill(known.broker_order_id, Decimal(60), Decimal("187.50"))
            order = await service.order("FILLED")
        finally:
            if running.returncode is None:
                running.terminate()
            async with asyncio.timeout(PATIENCE):
                ended = await running.wait()
        assert ended == 0, console.read_text(encoding="utf-8")
        figures = [order[name] for name in ("filled_quantity", "remaining_quantity", "avg_fill_price", "commission")]
        assert figures == [100, 0, 187.48, 2.5]
        assert len(await venue.orders()) == 1
        assert all(secret not in written(tmp_path) for secret in venue.secrets)
