"""The identifiers of an order, and how ours is derived.

A `ClientOrderId` is a digest of the order key, never random: a redelivery, a restart and a reconciliation all
compute the same one. Twenty characters of ``[A-Z2-7]`` fit the narrowest venue field we know (Kite's ``tag``: 20
alphanumerics; IBKR's ``orderRef`` is wider).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, NewType

ClientOrderId = NewType("ClientOrderId", str)
BrokerOrderId = NewType("BrokerOrderId", str)
ExecutionId = NewType("ExecutionId", str)
SignalId = NewType("SignalId", str)
AccountId = NewType("AccountId", str)

CLIENT_ORDER_ID_LENGTH = 20


@dataclass(frozen=True, slots=True, order=True)
class OrderKey:
    """What makes an order one order: the signal, and which leg of it."""

    signal_id: SignalId
    leg_index: int = 0

    def client_order_id(self) -> ClientOrderId:
        """The id that the venue is given; equal keys give equal ids, on every machine and release."""
        return ClientOrderId(digest(self.signal_id, str(self.leg_index)))


def digest(*parts: str, length: int = CLIENT_ORDER_ID_LENGTH) -> str:
    """A stable name for `parts`: `length` characters of ``[A-Z2-7]``.

    The parts are length-prefixed, so that ("ab", "c") and ("a", "bc") differ.
    """
    hashed = bytearray()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        hashed += len(encoded).to_bytes(8, "big")
        hashed += encoded
    number = int.from_bytes(hashlib.sha256(hashed).digest(), "big") << 4  # 260 bits: 52 characters
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(250, 250 - 5 * length, -10)])[:length]


#: Base 32 (RFC 4648), two characters for each ten bits: `base64.b32encode` takes five times as long.
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_PAIRS: Final = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
