"""A cursor over the fields of a client's message, which says where it fails."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from exec_broker_ibkr.figures import figure, non_zero
from exec_broker_ibkr.messages import NO_REQUEST, TwsContract


class Unreadable(ValueError):
    """A message of a known kind that cannot be read; `request_id` is what it was about, where that is known."""

    def __init__(self, message: str, request_id: int = NO_REQUEST) -> None:
        super().__init__(message)
        self.request_id = request_id


class Fields:
    """The fields of one message, taken one after the other. All methods raise ValueError with a sentence."""

    def __init__(self, fields: Sequence[str], server_version: int) -> None:
        self.server_version = server_version
        self.subject = NO_REQUEST
        self._fields = fields
        self._next = 0

    def text(self) -> str:
        """The next field, as it is."""
        if self._next >= len(self._fields):
            raise ValueError(f"it ends after {len(self._fields)} fields, and more belong to it")
        self._next += 1
        return self._fields[self._next - 1]

    def integer(self) -> int:
        """The next field as a whole number; empty is 0."""
        read = self.text()
        try:
            return int(read or 0)
        except ValueError:
            raise ValueError(f"field {self._next - 1} should be a whole number and is {read!r}") from None

    def about(self) -> int:
        """The next field is the id of the request or the order that the message is about."""
        self.subject = self.integer()
        return self.subject

    def count(self) -> int:
        """The next field says how many of something follow."""
        read = self.integer()
        if not 0 <= read <= len(self._fields):
            raise ValueError(f"field {self._next - 1} counts {read} entries, which is not possible")
        return read

    def flag(self) -> bool:
        """The next field as yes or no; empty is no."""
        return self.integer() != 0

    def figure(self) -> Decimal | None:
        """The next field as a figure, None where it is not set."""
        read = self.text()
        try:
            return figure(read)
        except ValueError:
            raise ValueError(f"field {self._next - 1} should be a figure and is {read!r}") from None

    def contract(self) -> TwsContract:
        """The twelve fields of a contract, as clients write them."""
        con_id = self.integer()
        symbol = self.text()
        sec_type = self.text()
        expiry = self.text()
        strike = non_zero(self.figure())
        right = self.text()
        multiplier = non_zero(self.figure())
        return TwsContract(
            sec_type,
            symbol,
            con_id,
            expiry,
            strike,
            right,
            multiplier,
            exchange=self.text(),
            primary_exchange=self.text(),
            currency=self.text(),
            local_symbol=self.text(),
            trading_class=self.text(),
        )

    def skip(self, *names: str) -> None:
        """Pass over fields that nothing here needs; their names are for the reader of the code."""
        for _ in names:
            self.text()

    def end(self) -> None:
        """There must be no more."""
        if self._next < len(self._fields):
            raise ValueError(f"it has {len(self._fields)} fields, and only {self._next} belong to it")
