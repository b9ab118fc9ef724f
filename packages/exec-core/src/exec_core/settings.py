"""Where a plugin's variables come from: the account's own settings, environment, ``.env``, ``exec.toml``.

In ``exec.toml`` (``EXEC_CONFIG``, else ``./exec.toml``) a variable stands at the top level under its environment
name in lower case. The later sources in the list above give way to the earlier ones.
"""

from __future__ import annotations

from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from exec_core.config_file import read_config_file


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
