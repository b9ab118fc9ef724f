"""``exec.toml``, and what is wrong with settings, in sentences. Whoever has settings of another kind uses it, too."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exec_core.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic import ValidationError


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


def problems(error: ValidationError, where: str = "", *, prefix: str = "") -> list[str]:
    """One sentence per mistake, naming the variable and what was wrong, and never its value."""
    found = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        name = ".".join(str(part) for part in item["loc"]) or "settings"
        variable = f"{prefix}{name}".upper() if prefix else name
        found.append(f"{where}{variable}: {item['msg']}")
    return found
