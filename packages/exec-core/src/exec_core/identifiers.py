"""The identifiers of an order, and how ours is derived.

A `ClientOrderId` is a digest of the order key, never random: a redelivery, a restart and a reconciliation all
compute the same one. Twenty characters of ``[A-Z2-7]`` fit the narrowest venue field we know (Kite's ``tag``: 20
alphanumerics; IBKR's ``orderRef`` is wider).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import NewType

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
    hasher = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        hasher.update(len(encoded).to_bytes(8, "big"))
        hasher.update(encoded)
    return base64.b32encode(hasher.digest()).decode("ascii")[:length]
