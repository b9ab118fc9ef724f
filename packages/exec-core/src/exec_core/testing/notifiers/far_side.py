"""The far side of a notifier, as the conformance kit drives it. A notifier's author writes one of these.

Like the `Venue` of a broker it may be a server on loopback that speaks the far side's wire, or a file, or a list. It
runs in the event loop of the card, or in threads of its own. What it cannot do at all stands in `cannot`, with the
reason; the cards that need it are then skipped, and the summary says why.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType, TracebackType
from typing import Any, ClassVar, Self


class FarAbility(StrEnum):
    """What a far side may be unable to do; the text completes the sentence "the far side cannot ..."."""

    SWITCH_OFF = "be switched off by a setting"
    REFUSE = "refuse a notification for good"
    DELAY = "ask for a pause"
    FAIL = "answer that something is wrong with itself"
    GO_AWAY = "be out of reach"
    HANG = "take a notification and never answer"


class FarSide(ABC):
    """The far side. Made without arguments, entered for one card, left after it: each card meets an empty one."""

    cannot: ClassVar[Mapping[FarAbility, str]] = MappingProxyType({})
    """What this far side cannot do, each with the reason in one sentence."""
    marks_of_shortening: ClassVar[tuple[str, ...]] = ("…", "...")
    """What tells a person that a text was shortened; one of them will do."""

    async def __aenter__(self) -> Self:
        """Open; the default does nothing."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Let go of everything; a notifier may still be connected. The default does nothing."""
        return

    # What the kit needs to know

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, Any]:
        """The fields of the plugin's settings with which a notifier reaches this far side."""

    @property
    def settings_off(self) -> Mapping[str, Any]:
        """The same, switched off (`SWITCH_OFF`); the default sets ``enabled`` to False."""
        return {**self.settings, "enabled": False}

    @property
    def secrets(self) -> tuple[str, ...]:
        """What nobody may read in a log, a repr or an error, beside the secret fields of the settings.

        The far side itself must not log them: what is logged in its process counts.
        """
        return ()

    @abstractmethod
    async def received(self) -> tuple[str, ...]:
        """The texts that were taken, in the order in which they came, each as a person reads it."""

    # Trouble

    async def refuse_next(self) -> None:
        """The next notification is answered: never (`REFUSE`)."""
        raise NotImplementedError(_not_written(FarAbility.REFUSE))

    async def delay_next(self, seconds: int) -> None:
        """The next notification is answered: not before so many seconds have passed (`DELAY`)."""
        raise NotImplementedError(_not_written(FarAbility.DELAY))

    async def fail_next(self) -> None:
        """The next notification is answered by an error that says nothing about the notification (`FAIL`)."""
        raise NotImplementedError(_not_written(FarAbility.FAIL))

    async def go_away(self) -> None:
        """From now on nobody gets through (`GO_AWAY`)."""
        raise NotImplementedError(_not_written(FarAbility.GO_AWAY))

    async def come_back(self) -> None:
        """It can be reached again, in the same place (`GO_AWAY`)."""
        raise NotImplementedError(_not_written(FarAbility.GO_AWAY))

    async def hang_next(self) -> None:
        """The next notification comes in, and is not answered before `go_on` (`HANG`)."""
        raise NotImplementedError(_not_written(FarAbility.HANG))

    async def is_hanging(self) -> bool:
        """Whether a notification has come in that is not answered (`HANG`)."""
        raise NotImplementedError(_not_written(FarAbility.HANG))

    async def go_on(self) -> None:
        """What hangs is answered, and so is everything that comes (`HANG`)."""
        raise NotImplementedError(_not_written(FarAbility.HANG))


def _not_written(ability: FarAbility) -> str:
    """What the author of a far side is told who left a method out."""
    return f"cannot {ability}: write the method, or name FarAbility.{ability.name} in `cannot`, with the reason"
