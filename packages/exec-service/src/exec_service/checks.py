"""What `doctor` finds: one `Check` per thing that was looked at, with the fix where it is not as it should be.

Each component examines itself (see its `examine`); this module only says in what form it tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a check came out. A warning does not keep the service from running."""

    OK = "OK"
    WARNING = "WARNING"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: `component` and `name` say what, `detail` what was found, `fix` what to do."""

    component: str
    name: str
    outcome: Outcome
    detail: str
    fix: str | None = None
