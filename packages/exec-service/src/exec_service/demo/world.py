"""The demo's world: one directory for bus, store, logs and the venue's book, and the settings that keep all in it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exec_service.settings import Settings

MAIN: Final = "acc_abc123"
GROWTH: Final = "acc_def456"

#: Variables of plugins: what the user has set for real work must not reach the demo.
_PLUGIN_VARIABLES: Final = ("MOCK_BROKER_", "IBKR_", "ZERODHA_", "TELEGRAM_", "CONSOLE_NOTIFIER_", "EXEC_")


class DemoFailed(Exception):
    """The demo cannot go on; the text says what was waited for, and shows the service's last lines."""


@dataclass(frozen=True, slots=True)
class World:
    """Where the demo happens. `fast`: shorter delays at the venue."""

    directory: Path
    fast: bool = False

    @property
    def book_file(self) -> Path:
        """The venue's book."""
        return self.directory / "venue.sqlite3"

    @property
    def timeout_seconds(self) -> int:
        """After how long the order that is never filled is cancelled."""
        return 1 if self.fast else 2

    def settings(self) -> Settings:
        """The settings with which the demo itself opens bus and store; no environment and no file is read."""
        return Settings(embedded=True, use_mock_broker=True, exec_data_dir=self.directory / "exec-data")

    def environment(self) -> dict[str, str]:
        """The service's environment: the user's, without any setting of ours, and with the demo's."""
        ours = {name.upper() for name in Settings.model_fields}
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.upper() not in ours and not name.upper().startswith(_PLUGIN_VARIABLES)
        }
        return kept | {
            "EXEC_DATA_DIR": "exec-data",
            "LOG_DIR": "logs",
            "ACCOUNTS": json.dumps(self.accounts()),
            "UNKNOWN_SETTLE_SECONDS": "1" if self.fast else "2",
            "MOCK_BROKER_STATE_FILE": self.book_file.name,
            "PYTHONIOENCODING": "utf-8",
        }

    def accounts(self) -> dict[str, dict[str, Any]]:
        """Two accounts at the mock venue: one is filled in one piece, the other bit by bit."""
        once = {"fill_delay_seconds": 0.05 if self.fast else 0.2}
        bit_by_bit = {
            "fill_delay_seconds": 0.2 if self.fast else 0.4,
            "partial_fills": 4,
            "commission": "2.50",
        }
        return {
            MAIN: {"name": "Main Account", "broker": "mock", "settings": once},
            GROWTH: {"name": "Growth Account", "broker": "mock", "settings": bit_by_bit},
        }
