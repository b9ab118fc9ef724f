"""The cards on notifiers, and the far side that they drive."""

from exec_core.testing.notifiers.far_side import FarAbility, FarSide
from exec_core.testing.notifiers.suite import NotifierConformance

__all__ = ["FarAbility", "FarSide", "NotifierConformance"]
