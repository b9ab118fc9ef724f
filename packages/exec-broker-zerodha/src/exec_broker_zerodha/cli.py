"""``exec-broker-zerodha login``: a person logs in on Kite's page, and today's access token is kept in a file.

Kite wants a person with a password and a second factor each day; that is not automated here, and must not be.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import click
from exec_core.config_file import problems
from exec_core.errors import ConfigurationError
from pydantic import ValidationError

from exec_broker_zerodha import tokens
from exec_broker_zerodha.client import LOGIN_PAGE, log_in
from exec_broker_zerodha.settings import ZerodhaSettings


@click.group()
def main() -> None:
    """Zerodha (Kite Connect) as a broker."""


@main.command()
@click.option("--token-file", type=click.Path(dir_okay=False, path_type=Path), help="Instead of ZERODHA_TOKEN_FILE.")
def login(token_file: Path | None) -> None:
    """Get today's access token, and keep it in ZERODHA_TOKEN_FILE.

    Prints the address of Kite's login page, and takes the address to which Kite leads after the login (or only the
    request_token in it). Sessions that run take the new token by themselves.
    """
    settings = _settings(token_file)
    path = settings.token_file
    if path is None:
        raise click.UsageError("where to keep the token? Set ZERODHA_TOKEN_FILE, or give --token-file")
    click.echo("Log in with a browser here:")
    click.echo(f"  {LOGIN_PAGE}{quote(settings.api_key.get_secret_value())}")
    request_token = request_token_in(click.prompt("The address that Kite led to, or the request_token in it"))
    if settings.api_secret is not None:
        api_secret = settings.api_secret.get_secret_value()
    else:
        api_secret = click.prompt("The app's secret (ZERODHA_API_SECRET)", hide_input=True)
    try:
        told = asyncio.run(log_in(settings, api_secret, request_token))
        user_id = _checked(told, settings)
        tokens.store(path, str(told["access_token"]), user_id, str(told.get("login_time") or "") or None)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{path} cannot be written: {error.strerror}") from None
    click.echo(f"Logged in as {user_id}; the access token is in {path}, good until about 06:00 Indian time.")


def request_token_in(text: str) -> str:
    """The request token, out of the address that Kite led to, or as it is.

    :raises click.UsageError: there is none.
    """
    text = text.strip()
    token = text
    if "?" in text or "/" in text:
        token = parse_qs(urlsplit(text).query).get("request_token", [""])[0]
    if not token.isalnum():
        raise click.UsageError("that is neither a request_token nor an address with one")
    return token


def _checked(told: object, settings: ZerodhaSettings) -> str:
    """The user who logged in. :raises ConfigurationError: no token came, or it is another user's."""
    if not isinstance(told, dict) or not told.get("access_token"):
        raise ConfigurationError("Kite did not log in: its answer holds no access token")
    user_id = str(told.get("user_id") or "")
    if settings.user_id is not None and user_id.upper() != settings.user_id.upper():
        raise ConfigurationError(f"{user_id} has logged in, and ZERODHA_USER_ID is {settings.user_id}: nothing is kept")
    return user_id


def _settings(token_file: Path | None) -> ZerodhaSettings:
    given = {} if token_file is None else {"token_file": token_file}
    try:
        # A login is what gets the token: that there is none yet is no mistake.
        settings = ZerodhaSettings(**given)  # type: ignore[arg-type]  # fields come from the environment as well
    except ValidationError as error:
        raise click.ClickException("\n".join(problems(error, prefix="ZERODHA_"))) from None
    return settings
