"""Where a plugin's variables come from: the account's own settings, environment, ``.env``, ``exec.toml``.

In ``exec.toml`` (``EXEC_CONFIG``, else ``./exec.toml``) a variable stands at the top level under its environment
name in lower case. The later sources in the list above give way to the earlier ones.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from exec_core.errors import ConfigurationError


def config_file() -> Path | None:
    """The ``exec.toml`` to read, or None where there is none.

    :raises ConfigurationError: ``EXEC_CONFIG`` names a file that does not exist.
    """
    named = os.environ.get("EXEC_CONFIG")
    path = Path(named) if named else Path("exec.toml")
    if path.is_file():
        return path
    if named:
        raise ConfigurationError(f"EXEC_CONFIG names {named}, which is not a file")
    return None


def read_config_file() -> dict[str, Any]:
    """The tables of ``exec.toml``, empty where there is none.

    :raises ConfigurationError: it cannot be read, or is not TOML.
    """
    path = config_file()
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error


class PluginSettings(BaseSettings):
    """The base of a plugin's settings. Give it an ``env_prefix``; make secrets `pydantic.SecretStr`."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True, env_ignore_empty=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # the base class calls it by this name
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Add ``exec.toml`` after the environment and ``.env``."""
        prefix = str(settings_cls.model_config.get("env_prefix") or "").lower()
        from_file = {
            key.lower().removeprefix(prefix): value
            for key, value in read_config_file().items()
            if key.lower().startswith(prefix)
        }
        known = {key: value for key, value in from_file.items() if key in settings_cls.model_fields}
        return init_settings, env_settings, dotenv_settings, InitSettingsSource(settings_cls, init_kwargs=known)


class BrokerSettings(PluginSettings):
    """The base of a broker's settings: its fields may also be given per account."""


def problems(error: ValidationError, where: str = "", *, prefix: str = "") -> list[str]:
    """One sentence per mistake, naming the variable and what was wrong, and never its value."""
    found = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        name = ".".join(str(part) for part in item["loc"]) or "settings"
        variable = f"{prefix}{name}".upper() if prefix else name
        found.append(f"{where}{variable}: {item['msg']}")
    return found
