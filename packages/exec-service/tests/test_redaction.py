"""A secret that is known is in no text, however it is spelt."""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus

import pytest
from exec_service.redaction import Redactor
from pydantic import BaseModel, SecretStr

SECRET = "p/ss w&rd\\'é\n1"


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        quote(SECRET, safe="").lower().replace("p/ss", "p%2fss"),
        repr(SECRET)[1:-1],
        json.dumps(SECRET)[1:-1],
    ],
)
def test_every_spelling_of_a_secret_is_masked(shown: str) -> None:
    assert Redactor([SECRET]).redact(f"before {shown} after") == "before *** after"


def test_the_password_of_a_url_is_masked_alone_too() -> None:
    redactor = Redactor([SecretStr("mongodb://trader:s%40cret-1@h1:1,h2:2/?replicaSet=rs0")])
    assert redactor.redact("s%40cret-1 and s@cret-1 at h1:1") == "*** and *** at h1:1"


def test_a_secret_inside_another_leaves_no_rest() -> None:
    assert Redactor(["token", "token-and-more"]).redact("token-and-more token") == "*** ***"


def test_short_values_are_ignored() -> None:
    assert Redactor(["abc", ""]).redact("abcabc") == "abcabc"
    assert Redactor().redact("text") == "text"


def test_the_secret_fields_of_settings_are_found_however_deep() -> None:
    class Inner(BaseModel):
        token: SecretStr

    class Outer(BaseModel):
        inner: list[Inner]
        name: str = "visible"
        absent: SecretStr | None = None

    redactor = Redactor()
    redactor.add_settings(Outer(inner=[Inner(token=SecretStr("deep-secret"))]))
    assert redactor.redact("visible deep-secret") == "visible ***"
    assert "deep-secret" not in repr(redactor)
