"""The conformance kit: proves that a broker plugin keeps the contract, offline, with faults, in one command.

A plugin's author writes a `Venue` (the far side, which the kit drives) and this::

    from exec_core.testing import BrokerConformance

    from acme_venue import AcmeVenue


    class TestAcme(BrokerConformance):
        plugin = "acme"
        venue = AcmeVenue

Needs the extra ``exec-core[testing]``. Each test is a numbered card; `docs/conformance.md` lists them.
"""

import pytest

# Before the modules with the assertions are imported: a failing card shows the values it compared.
pytest.register_assert_rewrite(
    *(
        f"exec_core.testing.{name}"
        for name in ("answers", "base", "cancels", "discretion", "fills", "orders", "plugin", "sessions", "views")
    )
)

from exec_core.testing.answers import AnswerCards  # noqa: E402
from exec_core.testing.cancels import CancelCards  # noqa: E402
from exec_core.testing.discretion import DiscretionCards  # noqa: E402
from exec_core.testing.fills import FillCards  # noqa: E402
from exec_core.testing.orders import OrderCards  # noqa: E402
from exec_core.testing.plugin import PluginCards  # noqa: E402
from exec_core.testing.sessions import SessionCards  # noqa: E402
from exec_core.testing.venue import Ability, Tradable, Venue, VenueExecution, VenueOrder  # noqa: E402
from exec_core.testing.views import ViewCards  # noqa: E402


class BrokerConformance(
    PluginCards, SessionCards, OrderCards, FillCards, CancelCards, AnswerCards, ViewCards, DiscretionCards
):
    """All cards. Give `plugin` and `venue`."""


__all__ = [
    "Ability",
    "BrokerConformance",
    "Tradable",
    "Venue",
    "VenueExecution",
    "VenueOrder",
]
