"""What the service is made of: the parts that `bootstrap` wires together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from exec_core.broker import BrokerPlugin
from exec_core.clock import Clock

from exec_service.commands import Commands
from exec_service.execution import Execution
from exec_service.ledger import Ledger
from exec_service.outbox import Outbox
from exec_service.ownership import Owner
from exec_service.projections import Projector
from exec_service.settings import Account, Settings
from exec_service.stores import Store


@dataclass(frozen=True, slots=True)
class Parts:
    """What the service is made of. `expected_workers`: how many were started together, this one included."""

    settings: Settings
    store: Store
    owner: Owner
    ledger: Ledger
    execution: Execution
    projector: Projector
    outbox: Outbox
    commands: Commands
    clock: Clock
    plugins: Callable[[str], BrokerPlugin]
    account: Callable[[str], Account | None]
    redact: Callable[[str], str]
    expected_workers: int = 1
