"""The cards on brokers, a module for each group, and the state machine over all of it."""

from exec_core.testing.brokers.answers import AnswerCards
from exec_core.testing.brokers.cancels import CancelCards
from exec_core.testing.brokers.discretion import DiscretionCards
from exec_core.testing.brokers.fills import FillCards
from exec_core.testing.brokers.machine import MachineCards
from exec_core.testing.brokers.open_orders import OpenOrderCards
from exec_core.testing.brokers.orders import OrderCards
from exec_core.testing.brokers.plugin import PluginCards
from exec_core.testing.brokers.recovery import RecoveryCards
from exec_core.testing.brokers.sessions import SessionCards
from exec_core.testing.brokers.views import ViewCards


class BrokerConformance(
    PluginCards,
    SessionCards,
    OrderCards,
    FillCards,
    CancelCards,
    AnswerCards,
    ViewCards,
    OpenOrderCards,
    RecoveryCards,
    DiscretionCards,
    MachineCards,
):
    """All cards. Give `plugin` and `venue`."""


__all__ = ["BrokerConformance"]
