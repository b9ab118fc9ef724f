"""The conformance kit: proves that a broker plugin keeps the contract, offline, with faults, in one command.

A plugin's author writes a `Venue` (the far side, which the kit drives) and this::

    from exec_core.testing import BrokerConformance

    from acme_venue import AcmeVenue


    class TestAcme(BrokerConformance):
        plugin = "acme"
        venue = AcmeVenue

`NotifierConformance` is the same for notifiers, with a `FarSide`.

Needs the extra ``exec-core[testing]``. Each test is a numbered card; `docs/conformance.md` lists them. The cards are in
`brokers` and `notifiers`; what they play on (stage, session, follower) and what tells the outcome lies beside these.
"""

import pytest

# Before the modules with the assertions are imported: a failing card shows the values it compared.
pytest.register_assert_rewrite("exec_core.testing.brokers", "exec_core.testing.notifiers")

from exec_core.testing.brokers import BrokerConformance  # noqa: E402
from exec_core.testing.notifiers import FarAbility, FarSide, NotifierConformance  # noqa: E402
from exec_core.testing.venue import Ability, Tradable, Venue, VenueExecution, VenueOrder  # noqa: E402

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
