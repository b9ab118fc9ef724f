"""Files of orders taken apart: an object, an array of objects, or JSON lines; each object's text as it was written.

A number is passed on as its author wrote it: nothing is decoded and encoded again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from exec_service.accounts import LONGEST_NAME
from exec_service.strict_json import Unusable, escaped, load_object

_BLANK: Final = re.compile(r"[ \t\r\n]*")


class NotOrders(ValueError):
    """The file holds something else than orders; the text is one sentence that names file and line."""


@dataclass(frozen=True, slots=True)
class OrderText:
    """One object of a file. `problem`: why the service will not be able to take it as an order, if that is certain.

    `account_id` is the account as the order names it, None where it names none that could be one.
    """

    data: bytes
    signal_id: str | None = None
    problem: str | None = None
    account_id: str | None = None


def split(data: bytes, name: str) -> list[OrderText]:
    """The objects in `data`, in order. :raises NotOrders: it is not JSON, or holds something else than objects."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise NotOrders(f"{name}, line {line}: this is not UTF-8 text.") from error
    if not text.strip():
        raise NotOrders(f"{name} is empty: give an object, an array of objects, or one object per line.")
    return [_order(value, part) for value, part in _File(text, name).objects()]


class _File:
    """A text, and where in it we are."""

    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._name = name
        self._at = 0
        # Only the ends of values are looked for: numbers, however long, are not worked out.
        self._decoder = json.JSONDecoder(parse_float=_ignored, parse_int=_ignored, parse_constant=_no_constant)

    def objects(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Each object with its text: those on the top level, and those of arrays there."""
        while self._next():
            if self._next() != "[":
                yield self._object()
                continue
            self._at += 1
            if self._next() == "]":
                self._at += 1
                continue
            while True:
                yield self._object()
                separator = self._next()
                self._at += 1
                if separator == "]":
                    break
                if separator != ",":
                    raise self._refusal(self._at - 1, "this is not JSON: Expecting ',' or ']'")

    def _next(self) -> str:
        """The next character that is not blank; empty at the end."""
        found = _BLANK.match(self._text, self._at)
        self._at = found.end() if found is not None else self._at
        return self._text[self._at : self._at + 1]

    def _object(self) -> tuple[dict[str, Any], str]:
        self._next()
        start = self._at
        try:
            value, self._at = self._decoder.raw_decode(self._text, start)
        except json.JSONDecodeError as error:
            raise self._refusal(error.pos, f"this is not JSON: {error.msg}") from error
        except Unusable as error:
            raise self._refusal(start, f"this is not JSON: {error}") from error
        except RecursionError as error:
            raise self._refusal(start, "this is nested too deep") from error
        part = self._text[start : self._at]
        if not isinstance(value, dict):
            raise self._refusal(start, f"an order is a JSON object, not {escaped(part)}")
        return value, part

    def _refusal(self, at: int, what: str) -> NotOrders:
        line = self._text.count("\n", 0, at) + 1
        column = at - self._text.rfind("\n", 0, at)
        return NotOrders(f"{self._name}, line {line}, column {column}: {what}.")


def _ignored(_number: str) -> None:
    return None


def _no_constant(word: str) -> NoReturn:
    raise Unusable(f"{word} is no JSON number")


def _order(value: dict[str, Any], text: str) -> OrderText:
    data = text.encode("utf-8")
    signal_id = value.get("signal_id")
    known = signal_id if isinstance(signal_id, str) and signal_id else None
    problem = None if known else "it has no signal_id"
    try:
        load_object(data)
    except Unusable as error:
        problem = str(error)
    return OrderText(data, known, problem, _account(value))


def _account(value: dict[str, Any]) -> str | None:
    """The account, in either dialect."""
    for field in ("account_id", "account"):
        name = value.get(field)
        if isinstance(name, str) and 1 <= len(name) <= LONGEST_NAME and name.isprintable():
            return name
    return None
