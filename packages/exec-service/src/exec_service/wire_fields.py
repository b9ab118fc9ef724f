"""Reads single fields of a message: each as one type, and every mistake as a sentence that names the field.

It does not know which fields there are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final, TypeVar

from exec_service.strict_json import escaped, shown

LARGEST: Final = Decimal("1e12")
#: No field of an order has a number of more digits before or after its point.
LARGEST_EXPONENT: Final = 1_000
SMALLEST: Final = Decimal("1e-18")
MOST_DIGITS: Final = 34
LONGEST_TEXT: Final = 128

T = TypeVar("T")


class Zero(Enum):
    """What a zero means in a field."""

    REFUSED = "REFUSED"
    ABSENT = "ABSENT"
    KEPT = "KEPT"


class Fields:
    """The fields of one object of a message. What is wrong is collected in `problems`, not raised.

    Every method returns None for a field that is absent, null, empty (where text is read) or wrong; `bad` tells the
    last apart. `used` are the names that were asked for.
    """

    def __init__(self, values: Mapping[str, Any], prefix: str = "", problems: list[str] | None = None) -> None:
        self.values = values
        self.prefix = prefix
        self.problems: list[str] = [] if problems is None else problems
        self.bad: set[str] = set()
        self.used: set[str] = set()

    def refuse(self, name: str, sentence: str) -> None:
        """Remember that `name` is wrong; `sentence` goes on after its name."""
        self.bad.add(name)
        self.problems.append(f"{self.prefix}{name} {sentence}")

    def require(self, name: str, value: T | None, wanted: str) -> T | None:
        """`value`; when there is none and that was not said already, say that it is missing."""
        if value is None and name not in self.bad:
            self.refuse(name, f"is missing: {wanted}")
        return value

    def take(self, name: str) -> Any:
        """The raw value; from now on the field counts as read."""
        self.used.add(name)
        return self.values.get(name)

    def text(self, name: str, longest: int = LONGEST_TEXT) -> str | None:
        """Printable text."""
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self.refuse(name, f"must be text, got {shown(value)}")
        elif len(value) > longest:
            self.refuse(name, f"must be at most {longest} characters long, got {len(value)}")
        elif not value.isprintable():
            self.refuse(name, f"must be printable characters, got {shown(value)}")
        elif value.strip():
            return value
        return None

    def upper(self, name: str, longest: int = LONGEST_TEXT) -> str | None:
        """A venue's word: text, case-insensitive."""
        value = self.text(name, longest)
        return None if value is None else value.strip().upper()

    def word(self, name: str, words: Mapping[str, T]) -> T | None:
        """One of `words`, case-insensitive."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, str):
            word = value.strip()
            found = words.get(word.upper())
            if found is not None or not word:
                return found
        self.refuse(name, f"must be one of {', '.join(words)}, got {shown(value)}")
        return None

    def number(
        self,
        name: str,
        *,
        zero: Zero = Zero.REFUSED,
        negative: bool = False,
        highest: Decimal = LARGEST,
    ) -> Decimal | None:
        """A JSON number that can be kept exactly; a numeric string is none."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            self.refuse(name, f"must be a JSON number, got {shown(value)}")
            return None
        number = Decimal(value)
        if number and abs(number.adjusted()) > LARGEST_EXPONENT:  # arithmetic on it would overflow
            self.refuse(name, f"is out of all bounds: {shown(value)}")
            return None
        problem = _number_problem(number, value, zero, negative, highest)
        if problem is not None:
            self.refuse(name, problem)
            return None
        if not number:
            return Decimal(0) if zero is Zero.KEPT else None
        return number

    def whole(self, name: str, lowest: int, highest: int) -> int | None:
        """A whole JSON number from `lowest` to `highest`; 1.0 is one."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            self.refuse(name, f"must be a JSON number, got {shown(value)}")
        elif Decimal(value) and abs(Decimal(value).adjusted()) > LARGEST_EXPONENT:
            self.refuse(name, f"is out of all bounds: {shown(value)}")
        elif not lowest <= value <= highest or value != int(value):
            self.refuse(name, f"must be a whole number from {lowest} to {highest}, got {shown(value)}")
        else:
            return int(value)
        return None

    def time(self, name: str) -> datetime | None:
        """A moment in ISO 8601; without an offset it is UTC."""
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self.refuse(name, f"{_ISO_8601}, got {shown(value)}")
            return None
        found = _moment(value.strip())
        if found is None:
            self.refuse(name, f"{_ISO_8601}, got {shown(value)}")
        return found

    def expiry(self, name: str, *, months: bool) -> str | None:
        """YYYYMMDD from ``YYYYMMDD`` or ``YYYY-MM-DD``; with `months` also a contract month, YYYYMM."""
        value = self.text(name)
        if value is None:
            return None
        digits = value.replace("-", "")
        if _EXPIRY.fullmatch(value) and (months or len(digits) == 8):
            try:
                date(int(digits[:4]), int(digits[4:6]), int(digits[6:] or "1"))
            except ValueError:
                self.refuse(name, f"is not a date of the calendar, got {shown(value)}")
                return None
            return digits
        shapes = "YYYYMMDD, YYYY-MM-DD or YYYYMM" if months else "YYYYMMDD or YYYY-MM-DD"
        self.refuse(name, f"must look like {shapes}, got {shown(value)}")
        return None


_ISO_8601: Final = "must be a time in ISO 8601 like 2026-01-03T12:51:53Z"
_EXPIRY: Final = re.compile(r"[0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{6}|[0-9]{4}-[0-9]{2}")


def _number_problem(number: Decimal, value: int | Decimal, zero: Zero, negative: bool, highest: Decimal) -> str | None:
    """What is wrong with `number`; None if nothing is."""
    lowest = "above zero" if zero is Zero.REFUSED else "zero or above"
    if (number < 0 and not negative) or (not number and zero is Zero.REFUSED):
        return f"must be {lowest}, got {shown(value)}"
    if abs(number) > highest:
        return f"must be at most {_bound(highest)}, got {shown(value)}"
    if number and abs(number) < SMALLEST:
        return f"must not be closer to zero than {_bound(SMALLEST)}, got {shown(value)}"
    if len(number.as_tuple().digits) > MOST_DIGITS:
        return f"must have at most {MOST_DIGITS} digits, got {escaped(str(value))}"
    return None


def _bound(value: Decimal) -> str:
    return f"{value:g}".replace("+", "")


def _moment(text: str) -> datetime | None:
    """The moment that `text` names; a date alone names none: its order would be as old as midnight."""
    try:
        found = datetime.fromisoformat(text)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return None if _is_date(text) else found


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
