"""What every benchmark does with its results: JSON on the output, in a file, and on the page."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from bench import checks


def parser(text: str | None) -> argparse.ArgumentParser:
    """The options that all have."""
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--sources", type=Path, help="run the service from the packages of this checkout instead")
    made.add_argument("--json", type=Path, help="put the results into this file, too, beside what others put there")
    made.add_argument("--write", action="store_true", help="put the results into docs/performance.md")
    return made


def numbers(text: str) -> list[float]:
    """Numbers separated by commas."""
    return [float(number) for number in text.split(",")]


def play(name: str, run: Callable[[], Coroutine[Any, Any, dict[str, Any]]], options: argparse.Namespace) -> int:
    """Run the benchmark of that name and tell what it found; a wrong result is a sentence and exit code 1."""
    # As where it is installed: each command would compile what it imports otherwise, a third of its time.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    begun = time.monotonic()
    try:
        found = asyncio.run(run())
    except (checks.Wrong, TimeoutError) as error:
        print(f"The result is wrong: {error}.", file=sys.stderr)
        return 1
    return tell(name, {**found, "took_seconds": round(time.monotonic() - begun)}, options)


def tell(name: str, found: Mapping[str, Any], options: argparse.Namespace) -> int:
    """Print what the benchmark of that name found, and keep it where the options say; the exit code."""
    print(json.dumps(found, indent=2))
    if options.json is not None:
        kept = json.loads(options.json.read_text()) if options.json.exists() else {}
        options.json.write_text(json.dumps({**kept, name: found}, indent=2) + "\n")
    if options.write:
        from bench import page

        page.write(name, found)
    return 0
