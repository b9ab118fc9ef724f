"""The plugin's variables: ``IBKR_...``, or per account in lower case without the prefix."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar
from zoneinfo import ZoneInfo

from exec_core.settings import BrokerSettings
from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from exec_broker_ibkr.breaks import DEFAULT, Breaks, zone_named

Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
#: The client id to which TWS gives the orders that people enter by hand.
MASTER_OF_MANUAL_ORDERS = 0


class IbkrSettings(BrokerSettings):
    """How TWS or IB Gateway is reached, and how orders are handed to it."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="IBKR_")

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Where TWS or IB Gateway runs."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 4002
    """Its socket port: IB Gateway live 4001, paper 4002; TWS live 7496, paper 7497."""
    client_id: Annotated[int, Field(le=2_147_483_647)] = 1
    """Who we are to TWS: one program per id, and only the id that placed an order can cancel it. Never 0."""
    account: Annotated[str, Field(min_length=1)] | None = None
    """The account to trade for; without it, the only one that TWS manages."""
    time_zone: str | None = None
    """The zone of TWS's clock, for times that it writes without one; without it, this machine's."""
    round_prices: bool = False
    """Round a price between two steps to the nearest one, instead of refusing the order."""
    outside_rth: bool = False
    """Let orders trade and trigger outside of regular trading hours."""
    breaks: Annotated[tuple[str, ...], NoDecode] = DEFAULT
    """When IB has announced to be away: windows (see `breaks`), in a variable parted by semicolons; or ``none``."""
    connect_seconds: Seconds = 15
    """How long connecting may take."""
    answer_seconds: Seconds = 10
    """How long TWS may take to answer a question or an order."""
    heartbeat_seconds: Seconds = 15
    """How often TWS is asked for the time, so that a dead line is noticed."""
    sweep_seconds: Seconds = 60
    """How often open orders and executions are read again, in case something was not heard."""

    @field_validator("client_id")
    @classmethod
    def _not_the_master(cls, client_id: int) -> int:
        if client_id == MASTER_OF_MANUAL_ORDERS:
            raise ValueError("must not be 0, to which TWS gives the orders that people enter by hand; take 1 or more")
        if client_id < 0:
            raise ValueError("must be 1 or more")
        return client_id

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, name: str | None) -> str | None:
        if name is not None:
            zone_named(name)
        return name

    @field_validator("breaks", mode="before")
    @classmethod
    def _list_of_windows(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [] if value.strip().lower() == "none" else value.split(";")
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
            raise ValueError("must be a list of windows like 'daily 23:40-00:50 America/New_York', or 'none'")
        texts = tuple(one.strip() for one in value if one.strip())
        if [text.lower() for text in texts] == ["none"]:
            texts = ()
        Breaks(texts)
        return texts

    @property
    def zone(self) -> ZoneInfo | None:
        """`time_zone` as such."""
        return None if self.time_zone is None else zone_named(self.time_zone)

    @property
    def announced(self) -> Breaks:
        """`breaks`, read."""
        return Breaks(self.breaks)
