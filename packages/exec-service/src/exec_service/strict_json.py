"""A message's bytes to a JSON object, strictly: what two readers could understand differently is refused.

It knows no field of any message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

LARGEST_MESSAGE: Final = 64 * 1024
DEEPEST_NESTING: Final = 32
LONGEST_NUMBER: Final = 400
LONGEST_ECHO: Final = 60


class Unusable(ValueError):
    """The bytes are no JSON object that can be taken; the text is one sentence."""


def load_object(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`; numbers with a fraction or an exponent are `Decimal`.

    :raises Unusable: it is too long, not UTF-8, not JSON, not an object, nested too deep, or ambiguous.
    """
    if len(data) > LARGEST_MESSAGE:
        raise Unusable(f"the message is {len(data)} bytes long: at most {LARGEST_MESSAGE} are taken")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unusable(f"the message is not UTF-8: byte {error.start} cannot be read") from error
    if not text.strip():
        raise Unusable("the message is empty: send a JSON object")
    try:
        value = json.loads(
            text,
            parse_float=_fraction,
            parse_int=_integer,
            parse_constant=_constant,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        raise Unusable(f"the message is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except RecursionError as error:
        raise Unusable(_TOO_DEEP) from error
    if not isinstance(value, dict):
        raise Unusable(f"the message must be a JSON object, got {shown(value)}")
    if _is_deeper(value, DEEPEST_NESTING):
        raise Unusable(_TOO_DEEP)
    return value


_TOO_DEEP: Final = f"the message is nested deeper than {DEEPEST_NESTING} levels"


def _integer(text: str) -> int:
    _check_length(text)
    return int(text)


def _fraction(text: str) -> Decimal:
    _check_length(text)
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise Unusable(f"the message has a number that is out of all bounds: {escaped(text)}") from error


def _check_length(text: str) -> None:
    if len(text) > LONGEST_NUMBER:
        raise Unusable(f"the message has a number of {len(text)} characters: at most {LONGEST_NUMBER} are taken")


def _constant(text: str) -> None:
    raise Unusable(f"the message is not JSON: {text} is no JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Unusable(f'the message gives "{escaped(twice)}" twice: which of them counts cannot be told')
    return found


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether `value` is nested deeper; without recursion, which deep nesting would exhaust."""
    waiting = [(value, 1)]
    while waiting:
        current, level = waiting.pop()
        if isinstance(current, dict | list):
            if level > levels:
                return True
            inner = current.values() if isinstance(current, dict) else current
            waiting += [(item, level + 1) for item in inner if isinstance(item, dict | list)]
    return False


def escaped(text: str) -> str:
    """At most 60 characters of `text`, those that cannot be printed as escapes."""
    kept = text if len(text) <= LONGEST_ECHO else text[: LONGEST_ECHO - 1] + "…"
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in kept
    )


def shown(value: Any) -> str:
    """What `value` is, for a sentence that says what was wrong with it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'the string "{escaped(value)}"' if value else "an empty string"
    if isinstance(value, int | Decimal):
        return escaped(str(value))
    return "an object" if isinstance(value, Mapping) else "a list"


def storable(value: Any) -> Any:
    """`value`, which nobody reads, so that any store can keep it: nothing in a message may make a write fail.

    Numbers beyond the stores' types become text; what UTF-8 cannot carry becomes escapes; `$` at the start of a name
    and dots in it, which mean something to MongoDB, become their full-width forms.
    """
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, Decimal):
        _, digits, exponent = value.as_tuple()
        fits = len(digits) <= 34 and isinstance(exponent, int) and -6000 <= exponent <= 6000
        return value if fits else str(value)
    if isinstance(value, Mapping):
        return {_name(name): storable(item) for name, item in value.items()}
    return [storable(item) for item in value]


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _name(name: str) -> str:
    clean = _clean(name).replace("\0", "\\0").replace(".", "．")
    return f"＄{clean[1:]}" if clean.startswith("$") else clean
