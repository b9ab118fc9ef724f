"""Today's access token: from a file that is read again when it changes, or from the settings.

A token ends at about six in the morning, and only a person can get the next. So whoever logs in (``exec-broker-zerodha
login``) replaces the file, and every session goes on with what is in it. The file holds a JSON object with
``access_token`` (and ``user_id``), or nothing but the token; it is for its owner only.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import tempfile
import threading
from pathlib import Path
from typing import Final

from pydantic import SecretStr

logger = logging.getLogger(__name__)

HOW: Final = "log in with: exec-broker-zerodha login"


class NoToken(Exception):
    """There is no access token: a person must log in."""


class TokenSource:
    """Gives the token that holds now. May be asked by several threads."""

    def __init__(self, token: SecretStr | None, path: Path | None) -> None:
        self._given = token
        self._path = path
        self._lock = threading.Lock()
        self._read: tuple[tuple[int, int, int], SecretStr] | None = None
        self._warned = False

    def current(self) -> SecretStr:
        """The token. :raises NoToken: there is none, or its file cannot be read."""
        if self._path is None:
            return _checked(self._given, "there is no access token")
        try:
            with self._lock:
                return self._from(self._path)
        except FileNotFoundError:
            return _checked(self._given, f"the token file {self._path} does not exist")
        except (OSError, ValueError) as error:
            # Only the kind: what stands in the file is nobody's business.
            raise NoToken(f"the token file {self._path} cannot be read ({type(error).__name__}); {HOW}") from None

    def _from(self, path: Path) -> SecretStr:
        status = path.stat()
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if self._read is None or self._read[0] != seen:
            if stat.S_IMODE(status.st_mode) & 0o077 and os.name == "posix" and not self._warned:
                self._warned = True
                logger.warning("The token file %s can be read by others than its owner: chmod 600 it", path)
            self._read = (seen, _token_in(path.read_text(encoding="utf-8")))
        return self._read[1]


def _token_in(text: str) -> SecretStr:
    """:raises ValueError: there is none."""
    text = text.strip()
    if text.startswith("{"):
        token = json.loads(text).get("access_token")
        text = token.strip() if isinstance(token, str) else ""
    if not text or any(character.isspace() for character in text):
        raise ValueError("no token")
    return SecretStr(text)


def _checked(token: SecretStr | None, lack: str) -> SecretStr:
    if token is None or not token.get_secret_value().strip():
        raise NoToken(f"{lack}; {HOW}")
    return SecretStr(token.get_secret_value().strip())


def store(path: Path, access_token: str, user_id: str | None, login_time: str | None) -> None:
    """Replace the file as a whole; nobody but its owner can read it, at no moment.

    :raises OSError: that is not possible.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"access_token": access_token, "user_id": user_id, "login_time": login_time})
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # made with mode 600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{content}\n")
            file.flush()
            os.fsync(file.fileno())
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
