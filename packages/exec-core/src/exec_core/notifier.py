"""The notifier contract: something that tells people. It never delays or changes an order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    from exec_core.settings import PluginSettings


@dataclass(frozen=True, slots=True)
class Notification:
    """One thing to tell. `id` is stable across retries, so that a far side that can drop repeats may do so.

    `title` is the first line without the mode's prefix; `fields` are the ``Name: value`` lines. `prefix` is
    ``[PAPER]`` or ``[MOCK]`` where no real money is at stake, else empty.
    """

    id: str
    title: str
    fields: tuple[tuple[str, str], ...] = ()
    prefix: str = ""

    @property
    def text(self) -> str:
        """The whole text: title line, blank line, ``Name: value`` lines."""
        head = f"{self.prefix} {self.title}" if self.prefix else self.title
        if not self.fields:
            return head
        return head + "\n\n" + "\n".join(f"{name}: {value}" for name, value in self.fields)


@runtime_checkable
class Notifier(Protocol):
    """Tells people. Entered once at start, left at the end."""

    async def __aenter__(self) -> Self:
        """Get ready; must not fail because the far side is away."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Let go of connections and threads."""
        ...

    async def send(self, notification: Notification) -> None:
        """Deliver it, or raise: any exception means "try again later".

        :raises NotificationRefused: it will never be taken; it is logged and dropped.
        :raises NotificationDelayed: the far side asks for a pause; it is tried again after that.
        """
        ...


@runtime_checkable
class CheckableNotifier(Notifier, Protocol):
    """A notifier that can prove itself without telling anybody anything; ``exec-service doctor`` asks it to."""

    async def check(self) -> str:
        """One sentence on what was found to work, or raise with a sentence on what does not and how to fix it."""
        ...


@dataclass(frozen=True, slots=True)
class NotifierPlugin:
    """What a notifier plugin hands over. `create` returns None where the settings leave it switched off.

    Where more than `digest_above` notifications wait, they are sent as one; None never does that.
    """

    name: str
    settings: type[PluginSettings]
    create: Callable[[Any], Notifier | None]
    send_timeout_seconds: float = 10.0
    digest_above: int | None = None
