"""Who may come in: request tokens, the access token, and the addresses from which orders are taken."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

from exec_broker_zerodha.simulator.options import Options
from exec_broker_zerodha.simulator.refusals import BAD_ADDRESS, BAD_TOKEN, Refusal, bad_input, bad_token

_EXCHANGES = ["NSE", "NFO", "BFO", "CDS", "BSE", "MCX", "BCD", "MF"]
_PRODUCTS = ["CNC", "NRML", "MIS", "BO", "CO"]
_TYPES = ["MARKET", "LIMIT", "SL", "SL-M"]


class Sessions:
    """One user, one app, one access token at a time; it dies when it is told to, or when another one is made."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.access_token: str | None = options.access_token
        self.is_address_allowed = True
        self._request_tokens: set[str] = set()

    def request_token(self) -> str:
        """What a person gets by logging in on Kite's page: good for one use."""
        token = secrets.token_hex(16)
        self._request_tokens.add(token)
        return token

    def expire(self) -> None:
        """The access token is no longer good, as at about six in the morning."""
        self.access_token = None

    def renew(self, access_token: str | None = None) -> str:
        """Another access token, made up unless given; the one before is no longer good."""
        self.access_token = access_token or secrets.token_hex(16)
        return self.access_token

    def check(self, authorization: str) -> None:
        """:raises Refusal: this header (``token api_key:access_token``) lets nobody in."""
        good = f"token {self._options.api_key}:{self.access_token}"
        if self.access_token is None or not hmac.compare_digest(authorization.encode(), good.encode()):
            raise bad_token()

    def check_address(self) -> None:
        """:raises Refusal: orders are not taken from this address."""
        if not self.is_address_allowed:
            raise Refusal(403, "PermissionException", BAD_ADDRESS)

    def create(self, api_key: str, request_token: str, checksum: str, login_time: str) -> dict[str, Any]:
        """POST /session/token: a new access token for a request token. :raises Refusal: something does not fit."""
        if api_key != self._options.api_key:
            raise bad_input("Invalid `api_key`.")
        good = hashlib.sha256(f"{api_key}{request_token}{self._options.api_secret}".encode()).hexdigest()
        if not hmac.compare_digest(checksum.encode(), good.encode()):
            raise Refusal(403, "TokenException", "Invalid `checksum`.")
        if request_token not in self._request_tokens:
            raise Refusal(403, "TokenException", "Token is invalid or has expired.")
        self._request_tokens.remove(request_token)
        known = {"api_key": api_key, "access_token": self.renew(), "public_token": secrets.token_hex(16)}
        made = {"enctoken": "", "refresh_token": "", "silo": "", "login_time": login_time}
        return self.profile() | known | made

    def end(self, api_key: str, access_token: str) -> bool:
        """DELETE /session/token. :raises Refusal: there is no such session."""
        if api_key != self._options.api_key or access_token != self.access_token:
            raise Refusal(403, "TokenException", BAD_TOKEN)
        self.expire()
        return True

    def profile(self) -> dict[str, Any]:
        """GET /user/profile."""
        return {
            "user_id": self._options.user_id,
            "user_type": "individual",
            "email": "simulated@example.com",
            "user_name": self._options.user_name,
            "user_shortname": self._options.user_name.split()[0],
            "broker": "ZERODHA",
            "exchanges": _EXCHANGES,
            "products": _PRODUCTS,
            "order_types": _TYPES,
            "avatar_url": None,
            "meta": {"demat_consent": "consent"},
        }
