"""Secrets, and how they are kept out of every text that leaves the process."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus, unquote, urlsplit

from pydantic import BaseModel, SecretBytes, SecretStr

MASK = "***"
# Anything shorter would blot out ordinary words, and protects nothing.
SHORTEST_SECRET = 4

_PERCENT = re.compile(r"%[0-9A-F]{2}")


class Redactor:
    """Replaces every known secret by ``***``, also where it is URL-encoded or quoted."""

    def __init__(self, secrets: Iterable[str | SecretStr] = ()) -> None:
        self._forms: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None
        self.add(*secrets)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._forms)} forms>"

    def add(self, *secrets: str | SecretStr) -> None:
        """Never let these through from now on. Values shorter than four characters are ignored."""
        values = [secret.get_secret_value() if isinstance(secret, SecretStr) else secret for secret in secrets]
        forms = self._forms | {form for value in values for form in _forms(value) if len(form) >= SHORTEST_SECRET}
        if forms == self._forms:
            return
        # The longest first: a secret that contains another must not leave its rest behind.
        longest_first = sorted(forms, key=len, reverse=True)
        self._forms, self._pattern = forms, re.compile("|".join(map(re.escape, longest_first)))

    def add_settings(self, *settings: BaseModel) -> None:
        """Never let the secret fields of these settings through from now on."""
        for model in settings:
            self.add(*secrets_of(model))

    def redact(self, text: str) -> str:
        """The text without secrets."""
        return self._pattern.sub(MASK, text) if self._pattern else text


def secrets_of(settings: object) -> Iterator[str]:
    """The value of every `SecretStr` and `SecretBytes` in a settings model, however deep."""
    match settings:
        case SecretStr():
            yield settings.get_secret_value()
        case SecretBytes():
            yield settings.get_secret_value().decode("utf-8", "replace")
        case BaseModel():
            for name in type(settings).model_fields:
                yield from secrets_of(getattr(settings, name))
        case dict():
            for value in settings.values():
                yield from secrets_of(value)
        case list() | tuple() | set() | frozenset():
            for value in settings:
                yield from secrets_of(value)


def _forms(value: str) -> Iterator[str]:
    """The ways in which a secret is written; of a URL also its password alone."""
    for spelling in {value, *_passwords(value)}:
        encoded = {quote(spelling, safe="", errors="replace"), quote(spelling, errors="replace")}
        encoded.add(quote_plus(spelling, errors="replace"))
        yield from encoded
        yield from (_PERCENT.sub(lambda match: match[0].lower(), form) for form in encoded)
        yield from (spelling, repr(spelling)[1:-1], json.dumps(spelling)[1:-1])


def _passwords(value: str) -> tuple[str, ...]:
    try:
        password = urlsplit(value).password
    except ValueError:  # not a URL, and so no password in it
        return ()
    return (password, unquote(password)) if password else ()
