"""One table: what Google's clients raise -> what a bus raises, as a sentence that names the thing and the fix.

What may pass by itself becomes `BusUnavailable`; what needs somebody becomes `BusError`. Anything the table does not
know is a `BusError` too: it is logged and tried again by whoever asked, but nobody may think that it is a short outage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from google.api_core import exceptions as api
from google.auth import exceptions as auth

from exec_service.buses import BusError, BusUnavailable

#: It may pass by itself. UNKNOWN, INTERNAL and a CANCELLED of the server's are what restarts of its parts look like.
TRANSIENT: Final = (
    api.Aborted,
    api.BadGateway,
    api.Cancelled,
    api.GatewayTimeout,  # DEADLINE_EXCEEDED is one
    api.InternalServerError,
    api.ServiceUnavailable,
    api.TooManyRequests,  # RESOURCE_EXHAUSTED is one
    api.Unknown,
)
LOGIN: Final = (
    "run `gcloud auth application-default login`, or let GOOGLE_APPLICATION_CREDENTIALS name the key file of a service "
    "account, or run on a machine of Google Cloud that has a service account"
)
#: gRPC reports credentials that could not be refreshed as UNAVAILABLE, with this in the details.
_PLUGIN_FAILED: Final = "Getting metadata from plugin failed"
#: Words in those details which say that trying again will not help.
_LOGIN_NEEDED: Final = ("invalid_grant", "Reauthentication", "invalid_client", "unauthorized_client")
_LONGEST_DETAILS: Final = 300


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about: `kind` is topic or subscription, `role` what its user needs to be granted on it."""

    kind: str
    name: str
    project_id: str
    role: str

    def __str__(self) -> str:
        return f"the {self.kind} {self.name} of the project {self.project_id}"


def topic_target(project_id: str, name: str, role: str = "roles/pubsub.publisher") -> Target:
    """A topic, as its publisher sees it unless another `role` is meant."""
    return Target("topic", name, project_id, role)


def subscription_target(project_id: str, name: str, role: str = "roles/pubsub.subscriber") -> Target:
    """A subscription, as its subscriber sees it unless another `role` is meant."""
    return Target("subscription", name, project_id, role)


@contextmanager
def told(doing: str, target: Target) -> Iterator[None]:
    """Turn what Google's client raises inside into a `BusError`; `doing` as in "publishing to"."""
    try:
        yield
    except (api.GoogleAPIError, auth.GoogleAuthError) as error:
        raise translated(error, doing, target) from error
    except asyncio.CancelledError as error:
        # A channel that is closed cancels the calls on it, though nobody has cancelled the task that waits for them.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise BusUnavailable(f"The connection was closed while {doing} {target}") from error


def translated(error: Exception, doing: str, target: Target) -> BusError:
    """The bus's error for one of Google's.

    >>> gone = translated(api.NotFound("no"), "pulling from", subscription_target("p", "orders-sub"))
    >>> str(gone)
    'While pulling from the subscription orders-sub of the project p: it does not exist (no); run `exec-service setup`'
    """
    found = explained(error, target)
    sentence = f"While {doing} {target}: {found.problem}"
    return found.kind(sentence if found.fix is None else f"{sentence}; {found.fix}")


@dataclass(frozen=True, slots=True)
class Explanation:
    """The `kind` of the bus's error, what is wrong, and what to do about it, if it takes anybody to do something."""

    kind: type[BusError]
    problem: str
    fix: str | None = None


def explained(error: Exception, target: Target) -> Explanation:
    """What an error of Google's means: the table."""
    details = _details(error)
    match error:
        case api.ServiceUnavailable() if _PLUGIN_FAILED in details:
            if any(word in details for word in _LOGIN_NEEDED):
                return Explanation(BusError, "Google does not accept the credentials any more", LOGIN)
            return Explanation(BusUnavailable, f"the credentials could not be refreshed ({details})")
        case api.RetryError() | auth.TransportError() | auth.TimeoutError():
            return Explanation(BusUnavailable, details)
        case api.GoogleAPICallError() if isinstance(error, TRANSIENT):
            return Explanation(BusUnavailable, f"Pub/Sub did not answer as it should ({_code(error)}: {details})")
        case api.NotFound():
            return Explanation(BusError, f"it does not exist ({details})", "run `exec-service setup`")
        case api.Unauthenticated():
            return Explanation(BusError, f"Google does not accept the credentials ({details})", LOGIN)
        case api.Forbidden():
            grant = f"grant their owner the role {target.role} on it"
            return Explanation(BusError, f"the credentials do not allow it ({details})", grant)
        case api.BadRequest():
            return Explanation(BusError, f"Pub/Sub refused the request ({_code(error)}: {details})")
        case auth.GoogleAuthError():
            return Explanation(BusError, f"the credentials cannot be used ({details})", LOGIN)
        case _:
            return Explanation(BusError, f"{_code(error)}: {details}")


def _code(error: Exception) -> str:
    code = getattr(error, "grpc_status_code", None)
    return str(code.name) if code is not None else type(error).__name__


def _details(error: Exception) -> str:
    """The far side's own words, on one line, cut to a length that a log line bears."""
    text = " ".join(str(getattr(error, "message", None) or str(error) or type(error).__name__).split())
    return text if len(text) <= _LONGEST_DETAILS else f"{text[:_LONGEST_DETAILS]}..."
