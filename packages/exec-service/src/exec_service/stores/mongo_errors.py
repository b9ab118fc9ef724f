"""What the driver's errors mean for the store: passing, or not; without a secret, and short enough to be read."""

from __future__ import annotations

import re
from typing import Final

from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)

from exec_service.stores import StoreError, StoreUnavailable

TRANSIENT: Final = "TransientTransactionError"
UNKNOWN_COMMIT: Final = "UnknownTransactionCommitResult"

UNAUTHORIZED: Final = 13
AUTHENTICATION_FAILED: Final = 18
#: Atlas says this of both.
ATLAS: Final = 8000
DUPLICATE_KEY: Final = 11000
TOO_LARGE: Final = frozenset({10334, 17419, 17420})

#: What waiting mends: no primary, shutting down, interrupted, overtaken by another transaction, a full disk.
_PASSING: Final = frozenset(
    {
        6,  # HostUnreachable
        7,  # HostNotFound
        24,  # LockTimeout
        43,  # CursorNotFound
        46,  # LockBusy
        50,  # MaxTimeMSExpired
        64,  # WriteConcernFailed
        79,  # UnknownReplWriteConcern
        89,  # NetworkTimeout
        91,  # ShutdownInProgress
        100,  # UnsatisfiableWriteConcern
        112,  # WriteConflict
        133,  # FailedToSatisfyReadPreference
        134,  # ReadConcernMajorityNotAvailableYet
        175,  # QueryPlanKilled
        189,  # PrimarySteppedDown
        202,  # NetworkInterfaceExceededTimeLimit
        211,  # KeyNotFound: keys that sign cluster times, right after a start
        225,  # TransactionTooOld
        237,  # CursorKilled
        246,  # SnapshotUnavailable
        251,  # NoSuchTransaction
        262,  # ExceededTimeLimit
        290,  # TransactionExceededLifetimeLimitSeconds
        317,  # ConnectionPoolExpired
        365,  # TemporarilyUnavailable
        371,  # UserWritesBlocked: data is being moved to another cluster
        384,  # ConnectionError
        9001,  # SocketException
        10107,  # NotWritablePrimary
        11600,  # InterruptedAtShutdown
        11601,  # Interrupted
        11602,  # InterruptedDueToReplStateChange
        13435,  # NotPrimaryNoSecondaryOk
        13436,  # NotPrimaryOrSecondary
        14031,  # OutOfDiskSpace
        16500,  # too many requests, in services that speak MongoDB's protocol
    }
)
_PASSING_LABELS: Final = (TRANSIENT, UNKNOWN_COMMIT, "RetryableWriteError")
#: The driver adds what it has tried with, and servers repeat the whole command.
_CHATTER: Final = re.compile(
    r"(,? \(configured timeouts:|, Timeout: |, full error: | to execute command ).*", re.DOTALL
)
_LONGEST_TEXT: Final = 300


def is_passing(error: PyMongoError) -> bool:
    """Whether the same may well succeed later."""
    if isinstance(error, ConnectionFailure | ExecutionTimeout | WTimeoutError | InvalidOperation):
        return True  # an InvalidOperation is a client that was closed while it was used
    if any(error.has_error_label(label) for label in _PASSING_LABELS):
        return True
    if isinstance(error, BulkWriteError):
        details = error.details or {}
        codes = {item.get("code") for item in details.get("writeErrors", ())} - {DUPLICATE_KEY}
        return codes <= _PASSING
    return isinstance(error, OperationFailure) and error.code in _PASSING


def is_refusal_of_user(error: PyMongoError) -> bool:
    """Whether the credentials are wrong."""
    if not isinstance(error, OperationFailure):
        return False
    return error.code == AUTHENTICATION_FAILED or (error.code == ATLAS and "auth" in str(error))


def lacks_privilege(error: PyMongoError) -> bool:
    """Whether the user may not do that."""
    return isinstance(error, OperationFailure) and (
        error.code == UNAUTHORIZED or (error.code == ATLAS and not is_refusal_of_user(error))
    )


def text_of(error: BaseException) -> str:
    """What went wrong, in a line."""
    text = str(error)
    if isinstance(error, OperationFailure) and error.details and error.details.get("errmsg"):
        text = str(error.details["errmsg"])
    text = " ".join(_CHATTER.sub("", text).split())
    return (text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}...") or type(error).__name__


def translate(error: PyMongoError, doing: str) -> StoreError | ValueError:
    """The store's error for the driver's, in a sentence that begins with `doing`, which is what was being done."""
    if is_passing(error):
        return StoreUnavailable(f"MongoDB could not {doing}: {text_of(error)}")
    if is_refusal_of_user(error):
        # It was let in before: somebody is changing passwords, or the server is short of what it checks them with.
        return StoreUnavailable(f"MongoDB could not {doing}: it refuses the user or the password of MONGODB_URI")
    if lacks_privilege(error):
        return StoreError(
            f"MongoDB will not {doing}: the user of MONGODB_URI lacks a privilege ({text_of(error)}); "
            "give it the role readWrite on the database"
        )
    if isinstance(error, OperationFailure) and error.code in TOO_LARGE:
        return ValueError(f"MongoDB cannot {doing}: a document would become larger than 16 MB")
    return StoreError(f"MongoDB could not {doing}: {text_of(error)}")
