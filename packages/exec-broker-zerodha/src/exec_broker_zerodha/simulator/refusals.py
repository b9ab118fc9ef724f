"""What Kite answers instead of doing it: HTTP status, error type and text, as they are on the wire."""

from __future__ import annotations

from typing import Final

#: Of an order that has ended, and of one that is busy, alike (Kite forum 8106).
CANNOT_CANCEL: Final = "Order cannot be cancelled as it is being processed. Try later."
CANNOT_MODIFY: Final = "Order cannot be modified as it is being processed. Try later."
UNKNOWN_ORDER: Final = "Couldn't find that `order_id`."
NO_PROTECTION: Final = (
    "Market orders without market protection are not allowed via API. "
    "Please set market protection or use a Limit order."
)
BAD_TOKEN: Final = "Incorrect `api_key` or `access_token`."  # noqa: S105  # a message
BAD_ADDRESS: Final = "IP not allowed to place orders for this app"
TOO_MANY: Final = "Too many requests"
TIMED_OUT: Final = "Order request timed out. Please check the order book and confirm before placing again."


class Refusal(Exception):
    """An answer that says no. `error_type` None: the answer names none (pykiteconnect #73)."""

    def __init__(self, status: int, error_type: str | None, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.message = message

    @property
    def payload(self) -> dict[str, object]:
        """The JSON of the answer."""
        named = {} if self.error_type is None else {"error_type": self.error_type}
        return {"status": "error", "message": self.message, "data": None, **named}


def bad_input(message: str) -> Refusal:
    """A parameter that is missing or wrong."""
    return Refusal(400, "InputException", message)


def unknown_order() -> Refusal:
    """No order of today has this id (Kite forum 49314). The HTTP status is not documented."""
    return Refusal(404, "GeneralException", UNKNOWN_ORDER)


def bad_token() -> Refusal:
    """The access token is none, or is no longer valid."""
    return Refusal(403, "TokenException", BAD_TOKEN)


def too_many() -> Refusal:
    """More than the rate limits allow."""
    return Refusal(429, "NetworkException", TOO_MANY)
