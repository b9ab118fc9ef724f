"""What libraries warn of while a command runs, on standard error: only `run` has a log.

Without this Python would print it as it stands, and an address that is tried again may hold a token.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from exec_service.redaction import Redactor


class _StandardError(logging.Handler):
    """Prints the line that the log would have."""

    def __init__(self, redactor: Redactor) -> None:
        from exec_service.logs import LineFormatter

        super().__init__(logging.WARNING)
        self._lines = LineFormatter(redactor)

    def emit(self, record: logging.LogRecord) -> None:
        """Print it; a broken record must not end its caller."""
        try:
            click.echo(self._lines.line(record), err=True)
        except Exception:  # noqa: BLE001  # an exception's own text runs foreign code, too
            self.handleError(record)


@contextmanager
def warnings_without_secrets(redactor: Redactor) -> Iterator[None]:
    """Print warnings as the log would, for as long as this is entered."""
    handler = _StandardError(redactor)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
