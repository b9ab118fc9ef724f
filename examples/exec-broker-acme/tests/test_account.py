"""What the kit cannot know of: a token that belongs to another account than the one configured."""

from dataclasses import replace

import pytest
from exec_broker_acme.conformance import AcmeVenue
from exec_core import BrokerFactory, ConfigurationError


async def test_a_token_of_another_account_opens_no_session() -> None:
    async with AcmeVenue() as venue:
        config = replace(venue.config, settings={**venue.config.settings, "account": "A-999"})
        broker = BrokerFactory.create_broker(config)
        with pytest.raises(ConfigurationError, match="belongs to account A-100234, not A-999"):
            await broker.__aenter__()
        assert not broker.availability().is_ready
