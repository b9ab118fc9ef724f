"""The plugin's variables: ``MOCK_BROKER_...``, or per account in lower case without the prefix."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, ClassVar

from exec_core.settings import BrokerSettings
from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

Seconds = Annotated[float, Field(ge=0, le=31_536_000, allow_inf_nan=False)]
Price = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]


class MockBrokerSettings(BrokerSettings):
    """How the venue treats the orders of an account. An order keeps what held when it was accepted."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="MOCK_BROKER_")

    fill_delay_seconds: Seconds = 0
    """The delay before each fill."""
    reject_probability: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0
    """The chance that an order is rejected; whether and why follows from `seed` and the client order id."""
    partial_fills: Annotated[int, Field(ge=1, le=10_000)] = 1
    """In how many fills an order is filled."""
    seed: int = 0
    """What the rejections derive from, with the client order id."""
    commission: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)] = Decimal("1.00")
    """What an order costs, charged on its first fill."""
    prices: dict[str, Price] = Field(default_factory=dict)
    """The price of a symbol for orders that bring none."""
    state_file: Path | None = None
    """Where the book is kept; without it, in memory, for as long as the process lives."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3,5}$")] = "USD"
    """The currency of the account, and of an instrument that names none."""
    cancel_delay_seconds: Seconds = 0
    """The delay before a cancel takes effect."""
    cash: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)] = Decimal(1_000_000)
    """What the account held before its first fill, in `currency`."""

    @field_validator("state_file")
    @classmethod
    def _expand(cls, path: Path | None) -> Path | None:
        return path.expanduser() if path is not None else None
