"""Brokers that bring a token to the venue, and let it be seen."""

from __future__ import annotations

import logging
from typing import Any, ClassVar, Self

from exec_broker_mock.conformance import MockVenue
from exec_core.broker import BrokerConfig
from exec_core.errors import AuthenticationFailed
from pydantic import SecretStr

from teeth.wrapping import GivenSettings, Wrapper, broken, right

TOKEN = "token-6c1f0a2b9e"


class TokenSettings(GivenSettings):
    """The mock's settings, and a token as other venues want one."""

    api_token: SecretStr


class OpenSettings(GivenSettings):
    """The same with a token that everybody can read."""

    api_token: str


class TokenVenue(MockVenue):
    """The mock's venue, to which a token must be brought."""

    secrets: ClassVar[tuple[str, ...]] = (TOKEN,)

    @property
    def config(self) -> BrokerConfig:
        config = super().config
        return BrokerConfig(config.broker, config.account_id, settings={**config.settings, "api_token": TOKEN})


class TokenBroker(Wrapper):
    """Knows the token."""

    @property
    def token(self) -> str:
        return self.settings.api_token.get_secret_value()


TOKENS: dict[str, Any] = {"settings": TokenSettings, "venue": TokenVenue}


@right(oddity="brings a token, and tells nobody", **TOKENS)
class BringsAToken(TokenBroker):
    pass


@broken(40, 800, fault="shows its token in its repr", **TOKENS)
class ShowsTheToken(TokenBroker):
    def __repr__(self) -> str:
        return f"<Acme {self.token}>"


@broken(800, fault="writes its token into the log when it connects", **TOKENS)
class LogsTheToken(TokenBroker):
    async def __aenter__(self) -> Self:
        logging.getLogger("acme.http").debug("GET /session?token=%s", self.token)
        return await super().__aenter__()


@broken(800, fault="shows its token in the error when a login is refused", **TOKENS)
class RaisesTheToken(TokenBroker):
    async def __aenter__(self) -> Self:
        try:
            return await super().__aenter__()
        except AuthenticationFailed as error:
            raise AuthenticationFailed(f"{error}: {self.token}") from error
