"""The plugin's variables: ``ACME_...``, or per account in lower case without the prefix."""

from typing import Annotated, ClassVar

from exec_core import BrokerSettings
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class AcmeSettings(BrokerSettings):
    """How one account at Acme is reached, and how often its book is looked at: while something happens, and not."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="ACME_")

    url: str = "https://api.acme.example"
    token: SecretStr
    account: str
    fastest_look_seconds: Seconds = 0.5
    slowest_look_seconds: Seconds = 5.0
    timeout_seconds: Seconds = 10.0
