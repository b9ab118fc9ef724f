"""All engines that are broken on purpose."""

from __future__ import annotations

from crash import broken, broken_sharing
from crash.engines import table

__all__ = ["BROKEN", "table"]

BROKEN = {**broken.ENGINES, **broken_sharing.ENGINES}
