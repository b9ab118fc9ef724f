"""The Telegram notifier's variables, checked only where it is switched on."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final, TypeVar
from urllib.parse import urlsplit

from exec_core import PluginSettings
from pydantic import BeforeValidator, Field, SecretStr, field_validator
from pydantic_core.core_schema import ValidationInfo
from pydantic_settings import SettingsConfigDict

API_ROOT: Final = "https://api.telegram.org"

_MISSING = "is missing: set it, or leave TELEGRAM_ENABLED out"
# Telegram's are 123456789:AA..., but what follows the colon has grown over the years.
_TOKEN = re.compile(r"[A-Za-z0-9:_-]+")

T = TypeVar("T")


def _as_text(value: object) -> object:
    """A chat's id stands as a number in ``exec.toml``."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class TelegramSettings(PluginSettings):
    """``TELEGRAM_ENABLED``, ``TELEGRAM_BOT_TOKEN``, ``TELEGRAM_CHAT_ID``, ``TELEGRAM_API_ROOT``.

    `chat_id` is a numeric id (that of a group is negative) or ``@channelname``.
    """

    model_config = SettingsConfigDict(env_prefix="TELEGRAM_")

    enabled: bool = False
    bot_token: SecretStr | None = Field(default=None, validate_default=True)
    chat_id: Annotated[str | None, BeforeValidator(_as_text)] = Field(default=None, validate_default=True)
    api_root: str = API_ROOT

    @field_validator("bot_token")
    @classmethod
    def _token_is_usable(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if not info.data.get("enabled"):
            return value
        # A token that was read from a file often brings its line's end along.
        token = _given(value).get_secret_value().strip()
        if not _TOKEN.fullmatch(token):
            raise ValueError("must be the token that @BotFather gave: letters, digits and any of :_-")
        return SecretStr(token)

    @field_validator("chat_id")
    @classmethod
    def _chat_is_usable(cls, value: str | None, info: ValidationInfo) -> str | None:
        if not info.data.get("enabled"):
            return value
        chat_id = _given(value).strip()
        if not chat_id or not chat_id.isprintable() or " " in chat_id:
            raise ValueError("must be a numeric chat id or @channelname")
        return chat_id

    @field_validator("api_root")
    @classmethod
    def _root_is_usable(cls, value: str, info: ValidationInfo) -> str:
        if not info.data.get("enabled"):
            return value
        try:
            root = urlsplit(value.strip())
            usable = root.scheme in ("http", "https") and bool(root.hostname) and root.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(f"must be a URL that begins with https:// or http://, such as {API_ROOT}")
        if root.query or root.fragment or root.username is not None:
            raise ValueError("must be a URL without user, query and fragment")
        return value.strip().rstrip("/")

    @property
    def is_readable_on_the_way(self) -> bool:
        """Whether the token, which is part of each request's path, crosses a network unencrypted."""
        root = urlsplit(self.api_root)
        return root.scheme == "http" and not _is_loopback(root.hostname or "")


def _given(value: T | None) -> T:
    if value is None:
        raise ValueError(_MISSING)
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
