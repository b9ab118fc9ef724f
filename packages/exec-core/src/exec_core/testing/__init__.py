"""The conformance kit: proves that a broker plugin keeps the contract, offline, with faults, in one command.

A plugin's author writes a `Venue` (the far side, which the kit drives) and this::

    from exec_core.testing import BrokerConformance

    from acme_venue import AcmeVenue


    class TestAcme(BrokerConformance):
        plugin = "acme"
        venue = AcmeVenue

`NotifierConformance` is the same for notifiers, with a `FarSide`.

Needs the extra ``exec-core[testing]``. Each test is a numbered card; `docs/conformance.md` lists them.
"""

import pytest

# Before the modules with the assertions are imported: a failing card shows the values it compared.
pytest.register_assert_rewrite(
    *(
        f"exec_core.testing.{name}"
        for name in (
            "answers",
            "base",
            "cancels",
            "discretion",
            "fills",
            "orders",
            "plugin",
            "recovery",
            "sessions",
            "views",
        )
    ),
    *(f"exec_core.testing.{name}" for name in ("machine", "machine_base")),
    *(f"exec_core.testing.{name}" for name in ("notifiers", "notifier_base", "notifier_texts", "notifier_troubles")),
)

from exec_core.testing.answers import AnswerCards  # noqa: E402
from exec_core.testing.cancels import CancelCards  # noqa: E402
from exec_core.testing.discretion import DiscretionCards  # noqa: E402
from exec_core.testing.far_side import FarAbility, FarSide  # noqa: E402
from exec_core.testing.fills import FillCards  # noqa: E402
from exec_core.testing.machine import MachineCards  # noqa: E402
from exec_core.testing.notifiers import NotifierConformance  # noqa: E402
from exec_core.testing.orders import OrderCards  # noqa: E402
from exec_core.testing.plugin import PluginCards  # noqa: E402
from exec_core.testing.recovery import RecoveryCards  # noqa: E402
from exec_core.testing.sessions import SessionCards  # noqa: E402
from exec_core.testing.venue import Ability, Tradable, Venue, VenueExecution, VenueOrder  # noqa: E402
from exec_core.testing.views import ViewCards  # noqa: E402


class BrokerConformance(
    PluginCards,
    SessionCards,
    OrderCards,
    FillCards,
    CancelCards,
    AnswerCards,
    ViewCards,
    RecoveryCards,
    DiscretionCards,
    MachineCards,
):
    """All cards. Give `plugin` and `venue`."""


__all__ = [
    "Ability",
    "BrokerConformance",
    "FarAbility",
    "FarSide",
    "NotifierConformance",
    "Tradable",
    "Venue",
    "VenueExecution",
    "VenueOrder",
]
