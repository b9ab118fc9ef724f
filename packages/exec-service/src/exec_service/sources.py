"""Where the service's own variables are read: the environment and ``.env``; ``exec.toml`` the core reads.

Names count whatever their case, and an empty value is none. All values are text, which the settings check. The plugins'
settings read their variables by pydantic-settings, to the same rules; it takes longer to import than all of this, and
commands that only look into the store do without.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

DOTENV = Path(".env")


def from_environment() -> dict[str, str]:
    """The environment's variables by their names in lower case."""
    return _given(os.environ)


def from_dotenv() -> dict[str, str]:
    """The variables of ``.env`` in the working directory by their names in lower case; none where there is no file.

    :raises OSError: the file cannot be read.
    :raises UnicodeDecodeError: it is not UTF-8 text.
    """
    if not (DOTENV.is_file() or DOTENV.is_fifo()):
        return {}
    from dotenv import dotenv_values  # most have no such file

    return _given(dotenv_values(DOTENV, encoding="utf-8"))


def _given(variables: Mapping[str, str | None]) -> dict[str, str]:
    return {name.lower(): value for name, value in variables.items() if value}
