"""What holds for every command: an expected error is one sentence and an exit code, never a traceback."""

from __future__ import annotations

import errno
import sys
from typing import Any

import click


class Failed(click.ClickException):
    """It did not work, or something was not found: exit code 1."""

    exit_code = 1


class Unusable(click.ClickException):
    """The configuration cannot be used: exit code 2."""

    exit_code = 2


class Program(click.Group):
    """A group of commands whose expected errors are told in one sentence. Commands are listed as they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # the base class calls it with this
        """The commands' names."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it printed has reached the reader, or the reader has gone, when this returns."""
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except Exception as error:
            told = explained(error)
            if told is None:
                raise
            raise told from error
        return result


def explained(error: Exception) -> click.ClickException | None:
    """`error` as a sentence with its exit code; None for what click knows itself, and for a mistake of ours."""
    from exec_core.errors import ConfigurationError, PluginError

    from exec_service.buses import BusError
    from exec_service.stores import StoreError, StoreMisconfigured

    match error:
        case click.ClickException():
            return None
        case ConfigurationError():
            return Unusable(_listed(error.problems))
        case PluginError() | StoreMisconfigured():
            return Unusable(str(error))
        case StoreError() | BusError():
            return Failed(str(error))
        case OSError() if error.errno != errno.EPIPE:
            return Failed(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        case _:
            return None


def _listed(problems: tuple[str, ...]) -> str:
    if len(problems) == 1:
        return problems[0]
    return "The configuration cannot be used:\n" + "\n".join(f"  {problem}" for problem in problems)
