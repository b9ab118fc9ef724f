"""Every error of this framework, and what to do next about each.

::

    ExecError
    ├── BrokerError               something about one order or one session at a broker
    │   ├── OrderRejected         final: the broker refused it; record, notify, never retry
    │   ├── OrderUnsupported      final: refused before sending, the plugin does not declare it
    │   ├── NotSent               proven not to have reached the venue: safe to send again
    │   │   ├── ConnectionFailed       the venue is out of reach
    │   │   │   └── AnnouncedBreak     as it announced: hold orders until it is back
    │   │   └── AuthenticationFailed   the venue wants a login: a person must act
    │   └── OutcomeUnknown        the order may be live: never send again, ask
    ├── CancelRejected            the broker would not cancel; says nothing of the order's state
    ├── PluginError               a plugin is missing, doubled or broken
    ├── ConfigurationError        a setting is missing or wrong
    ├── NotificationRefused       the notifier's far side will never take this text: drop it
    └── NotificationDelayed       the far side wants us to wait: it says for how long

An adapter that does not recognise an error raises (or lets through) anything else, and the core takes that as
`OutcomeUnknown`. The question at every ``except`` around a broker call: *could the order be live?*
"""

from __future__ import annotations


class ExecError(Exception):
    """The base of all errors raised here on purpose."""


class BrokerError(ExecError):
    """A broker call did not succeed. Abstract: raise one that says what is known of the order."""

    def __new__(cls, *_args: object, **_kwargs: object) -> BrokerError:
        if cls is BrokerError:
            raise TypeError("raise a subclass of BrokerError that says what is known of the order")
        return super().__new__(cls)

    def __init__(self, message: str, *, broker: str | None = None, client_order_id: str | None = None) -> None:
        super().__init__(message)
        self.broker = broker
        self.client_order_id = client_order_id


class OrderRejected(BrokerError):
    """The broker refused the order; the message is its reason, in its own words. Final.

    `broker_order_id`: under which id the broker has the refused order, where it has one and the answer says so.
    """

    def __init__(
        self,
        message: str,
        *,
        broker: str | None = None,
        client_order_id: str | None = None,
        broker_order_id: str | None = None,
    ) -> None:
        super().__init__(message, broker=broker, client_order_id=client_order_id)
        self.broker_order_id = broker_order_id


class OrderUnsupported(BrokerError):
    """The plugin does not declare what the order needs; nothing was sent. Final."""


class NotSent(BrokerError):
    """Proven: nothing of the order reached the venue. Sending again is safe."""


class ConnectionFailed(NotSent):
    """The venue cannot be reached, so nothing was sent."""


class AnnouncedBreak(ConnectionFailed):
    """The venue is closed to us as it announced (a nightly restart, a weekend): nothing was sent; hold orders."""


class AuthenticationFailed(NotSent):
    """The venue wants a (new) login, so nothing was sent."""


class OutcomeUnknown(BrokerError):
    """The order may be live: no usable answer came after bytes may have left."""


class CancelRejected(ExecError):
    """The broker would not cancel. The order may be filled, finished, unknown to it, or busy: read its state again."""


class PluginError(ExecError):
    """A plugin is not installed, claims a name twice, or does not do what its hook promises."""


class ConfigurationError(ExecError):
    """The settings cannot be used; `problems` lists all of them, one sentence each."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def __reduce__(self) -> tuple[type[ConfigurationError], tuple[str, ...]]:
        return (type(self), self.problems)


class NotificationRefused(ExecError):
    """The far side answered that it will never take this notification; trying again is useless."""


class NotificationDelayed(ExecError):
    """The far side asks for a pause (HTTP 429): try again after `retry_after_seconds`, not before."""

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
