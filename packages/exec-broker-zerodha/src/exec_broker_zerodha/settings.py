"""The plugin's variables: ``ZERODHA_...``, or per account in lower case without the prefix."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, ClassVar, Final, Self
from urllib.parse import urlsplit

from exec_core.instruments import AssetClass
from exec_core.settings import BrokerSettings
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from exec_broker_zerodha import words

KITE: Final = "https://api.kite.trade"
_ASSET_CLASSES: Final = ("STOCK", "ETF", "OPTION", "FUTURE")


def _data_dir() -> Path:
    return Path(os.environ.get("EXEC_DATA_DIR") or "exec-data")


class ZerodhaSettings(BrokerSettings):
    """How an account reaches Kite, and what its orders become where they do not say it themselves."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="ZERODHA_")

    api_key: Annotated[SecretStr, Field(min_length=1)]
    """The key of the Kite Connect app."""
    access_token: SecretStr | None = None
    """Today's access token, where it is not kept in a file. It ends at about six in the morning, Indian time."""
    token_file: Path | None = None
    """Where the access token is kept; ``exec-broker-zerodha login`` writes it, and it is read again when it changes."""
    api_secret: SecretStr | None = None
    """The app's secret: needed to log in, never by a session."""
    user_id: str | None = None
    """Kite's user id of the account: a session whose token is another user's is refused."""
    api_root: str | None = None
    """Where Kite's interface is; without it, Kite's own."""
    ws_root: str | None = None
    """Where Kite's order updates are (``wss://ws.kite.trade``); without it they are not listened to, only polled."""
    poll_seconds: Annotated[float, Field(ge=0.01, le=60, allow_inf_nan=False)] | None = None
    """How often the order book is looked at; without it, as often as there is something to expect."""
    request_seconds: Annotated[float, Field(gt=0, le=20, allow_inf_nan=False)] = 10
    """How long an answer of Kite is waited for."""
    requests_per_second: Annotated[int, Field(ge=1, le=1000)] = 10
    """How many orders, and how many questions, Kite gets in a second: its own limits for an account, which are to be
    lowered where other programs use the same account."""
    product: dict[str, str] | str | None = None
    """The product of orders that name none: one of Kite's words, or one by instrument type as a JSON object. What is
    not said: CNC for shares, NRML for derivatives."""
    market_protection: Annotated[Decimal, Field(ge=-1, le=100, allow_inf_nan=False)] = Decimal(-1)
    """How far, in per cent, a market order may run from the last price; -1: as far as the exchange's guidelines say."""
    stop_offset: Annotated[Decimal, Field(gt=0, lt=1, allow_inf_nan=False)] = Decimal("0.02")
    """Where an exchange knows no stop-market orders: how far beyond its trigger the limit lies, as a fraction."""
    data_dir: Path = Field(default_factory=_data_dir)
    """Where the day's lists of instruments are kept: ``EXEC_DATA_DIR``, else ``exec-data``."""

    @field_validator("token_file", "data_dir")
    @classmethod
    def _expand(cls, path: Path | None) -> Path | None:
        return path.expanduser() if path is not None else None

    @field_validator("api_root")
    @classmethod
    def _check_api_root(cls, root: str | None) -> str | None:
        return None if root is None else _root(root, "http", "https")

    @field_validator("ws_root")
    @classmethod
    def _check_ws_root(cls, root: str | None) -> str | None:
        return None if root is None else _root(root, "ws", "wss")

    @field_validator("market_protection")
    @classmethod
    def _check_protection(cls, per_cent: Decimal) -> Decimal:
        if per_cent != -1 and per_cent <= 0:
            raise ValueError("must be -1 (automatic), or above 0 and at most 100: Kite takes no order without it")
        return per_cent

    @field_validator("product")
    @classmethod
    def _check_product(cls, product: dict[str, str] | str | None) -> dict[str, str] | str | None:
        known = ", ".join(sorted(words.PRODUCTS))
        chosen = product if isinstance(product, dict) else {} if product is None else {"": product}
        if any(word.upper() not in words.PRODUCTS for word in chosen.values()):
            raise ValueError(f"must be one of {known}, or an object of these by instrument type")
        if isinstance(product, dict) and any(key.upper() not in _ASSET_CLASSES for key in product):
            raise ValueError(f"must be by instrument type: {', '.join(_ASSET_CLASSES)}")
        return product

    @model_validator(mode="after")
    def _check_token(self) -> Self:
        if self.access_token is None and self.token_file is None:
            raise ValueError("give token_file (ZERODHA_TOKEN_FILE) or access_token (ZERODHA_ACCESS_TOKEN)")
        return self

    @property
    def root(self) -> str:
        """Where Kite's interface is."""
        return self.api_root or KITE

    @property
    def is_kite(self) -> bool:
        """Whether that is Kite itself, where every order is real."""
        return urlsplit(self.root).hostname == urlsplit(KITE).hostname

    @property
    def products(self) -> Mapping[AssetClass, str]:
        """The product of orders that name none, by the kind of instrument."""
        found = dict(words.USUAL_PRODUCTS)
        if isinstance(self.product, str):
            return dict.fromkeys(found, self.product.upper())
        for key, word in (self.product or {}).items():
            found[AssetClass(key.upper())] = word.upper()
        return found


def _root(root: str, plain: str, encrypted: str) -> str:
    """An address without a path, encrypted unless it is this machine's own: the access token goes there."""
    parts = urlsplit(root.rstrip("/"))
    if parts.scheme not in (plain, encrypted) or not parts.hostname:
        raise ValueError(f"must be an address that begins with {encrypted}://")
    if parts.path or parts.query or parts.fragment or parts.username:
        # The library joins its own absolute paths to it, and would lose this one without a word.
        raise ValueError("must be scheme, host and port only")
    if parts.scheme == plain and not _is_this_machine(parts.hostname):
        raise ValueError(f"must begin with {encrypted}://, since the access token is sent there")
    return root.rstrip("/")


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
