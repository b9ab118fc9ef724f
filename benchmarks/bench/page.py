"""Puts results on the page `docs/performance.md`, between markers, beside those of before the work on speed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "performance.md"
#: What the same benchmarks said of the service when they were written: a run of its own, so only its ratios compare.
BEFORE = ROOT / "benchmarks" / "before.json"

Found = Mapping[str, Any]


def write(name: str, found: Found, page: Path = PAGE, before: Path = BEFORE) -> None:
    """Put what the benchmark of that name found on the page, and make its plot."""
    from bench import plots

    earlier = json.loads(before.read_text()).get(name) if before.exists() else None
    section = SECTIONS[name](found, earlier)
    plot = plots.draw(name, found, page.parent)
    if plot is not None:
        section += f"\n\n![{CAPTIONS[name]}]({plot.name})"
    page.write_text(replaced(page.read_text(), name, section))


def replaced(text: str, name: str, section: str) -> str:
    """The page with another text between the markers of that name.

    :raises ValueError: they are not there, once each.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"the page must have the lines {begin} and {end}, in this order, once each")
    head, tail = text[: text.index(begin)], text[text.index(end) :]
    return f"{head}{begin}\n{section.strip()}\n{tail}"


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of the page. What is not known is empty."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join("" if cell is None else str(cell) for cell in line) + " |" for line in lines)


def machine(found: Found) -> str:
    """One line on where the figures come from."""
    one = found["machine"]
    return (
        f"{one['date']}; {one['processor']}; Python {one['python']}, mongod {one['mongod']}, "
        f"Pub/Sub emulator {one['emulator']}."
    )


def pipeline(found: Found, before: Found | None) -> str:
    """Saturated, and at each rate."""
    text = [machine(found), "", *_saturated(found, before), "", *_rates(found)]
    if before is not None:
        text += ["", f"Before: {machine(before)} At steady rates then:", "", *_rates(before)]
    return "\n".join(text)


def _saturated(found: Found, before: Found | None) -> list[str]:
    columns = [found["service"], found["reference"]]
    rows: list[list[object]] = []

    def row(what: str, value: Callable[[Found], Any], *, by_reference: bool = True, digits: int = 2) -> None:
        mine, reference = value(columns[0]), value(columns[1])
        old = None if before is None else value(before["service"])
        old_ratio = None if before is None else _ratio(old, value(before["reference"]))
        ratios = [_ratio(mine, reference), old_ratio] if by_reference else [None, None]
        rows.append(
            [what, *(_number(one, digits) for one in (mine, reference)), ratios[0], _number(old, digits), ratios[1]]
        )

    row("orders/s", lambda one: one["saturated"]["per_second"], digits=0)
    row("CPU of its process, s per 1,000 orders", lambda one: _own(one["saturated"]["cpu_per_thousand"]))
    row("CPU of mongod", lambda one: one["saturated"]["cpu_per_thousand"]["mongod"])
    row("CPU of the emulator", lambda one: one["saturated"]["cpu_per_thousand"]["emulator"])
    row("CPU of the load generator", lambda one: one["saturated"]["cpu_per_thousand"]["load"])
    row("most memory, MB", lambda one: one["peak_mb"], digits=0)
    row("processors that others kept busy", lambda one: one["saturated"].get("others_processors"), by_reference=False)
    heads = ["saturated", "service", "reference", "ratio", "before", "ratio to its reference"]
    commit = f"One durable commit (a transaction of 3 updates, alone, idle): {found['commit_ms']:g} ms"
    earlier = "" if before is None else f"; before: {before['commit_ms']:g} ms"
    return [table(heads, rows), "", f"{commit}{earlier}."]


def _own(cpu: Mapping[str, float]) -> float:
    """Of the subject's process."""
    return next(value for name, value in cpu.items() if name in ("service", "reference"))


def _rates(found: Found) -> list[str]:
    rows = []
    for name, mine in found["service"]["rates"].items():
        reference = found["reference"]["rates"][name]
        both = mine["carried"] and reference["carried"]
        rows.append(
            [
                name,
                *(_pair(one, "p50_ms", "p99_ms") for one in (mine, reference)),
                _ratio(mine["p50_ms"], reference["p50_ms"]) if both else None,
                *(_pair(one, "called_p50_ms", "called_p99_ms") for one in (mine, reference)),
                _number(mine["called_p50_ms"] - found["commit_ms"], 1) if mine["carried"] else None,
                _number(_own(mine["cpu_per_thousand"]), 2) if mine["carried"] else None,
            ]
        )
    heads = [
        "orders/s",
        "publish to confirmation, service, p50 / p99 ms",
        "reference",
        "ratio of p50",
        "received to broker called, service, p50 / p99 ms",
        "reference",
        "p50 above a commit, ms",
        "CPU of the service, s per 1,000",
    ]
    return [table(heads, rows)]


def _pair(found: Found, low: str, high: str) -> str:
    return f"{found[low]:g} / {found[high]:g}" if found["carried"] else "not carried"


def _ratio(mine: float | None, reference: float | None) -> str | None:
    return f"{mine / reference:.2f}" if mine is not None and reference else None


def _number(value: float | None, digits: int) -> str | None:
    return None if value is None else f"{value:,.{digits}f}"


def growth(found: Found, before: Found | None) -> str:
    """A row for each size."""
    sets = [("", found)] if before is None else [("", found), ("before: ", before)]
    rows = [[f"{label}{row['orders']:,}", *_growth_row(row)] for label, one in sets for row in one["rows"]]
    heads = [
        "finished orders stored",
        "start to ready, s",
        "kill -9 to ready, s",
        "kill -9 to all settled, s",
        "`status`, s (CPU s)",
        "`orders --limit 20`",
        "`orders SIGNAL_ID`",
        "orders/s saturated",
        "p50 / p99 ms",
    ]
    text = [machine(found), "", table(heads, rows)]
    if before is not None:
        text += ["", f"Before: {machine(before)}"]
    return "\n".join(text)


def _growth_row(row: Found) -> list[object]:
    commands = [_command(row[name]) for name in _COMMANDS]
    latency = None if row["p50_ms"] is None else f"{row['p50_ms']:g} / {row['p99_ms']:g} at {row['rate']:g}/s"
    starts = [row["ready_seconds"], row["ready_after_kill_seconds"], row["settled_after_kill_seconds"]]
    return [*starts, *commands, row["per_second"], latency]


def _command(row: Found) -> str:
    return f"{row['wall']:g} ({row['cpu']:g})" + (", and fails" if row["failed"] else "")


_COMMANDS = ("status_seconds", "list_seconds", "order_seconds")


def workers(found: Found, before: Found | None) -> str:
    """A row for each number of processes."""
    sets = [("", found)] if before is None else [("", found), ("before: ", before)]
    rows = []
    for label, one in sets:
        for row in one["rows"]:
            cpu = row["cpu_per_thousand"]
            latency = None if row["p50_ms"] is None else f"{row['p50_ms']:g} / {row['p99_ms']:g} at {row['rate']:g}/s"
            used = f"{row['processors_used']:g} ({row['others_processors']:g})"
            rows.append([f"{label}{row['workers']}", row["per_second"], latency, cpu["service"], cpu["mongod"], used])
    heads = [
        "processes",
        "orders/s saturated",
        "p50 / p99 ms",
        "CPU of the service, s per 1,000",
        "CPU of mongod",
        "processors used (by others)",
    ]
    text = [machine(found), "", table(heads, rows), "", found["limit"]]
    if before is not None:
        text += ["", f"Before: {machine(before)}"]
    return "\n".join(text)


def memory(found: Found, _before: Found | None) -> str:
    """Its memory, about every tenth of the way."""
    points, rows, step = found["points"], [], found["orders"] / 10
    for done, megabytes in points:
        if done >= len(rows) * step:
            rows.append([f"{done:,}", megabytes])
    verdict = {
        True: f"Flat: at most {found['growth_mb']} MB more after the warm-up.",
        False: f"Not flat: {found['growth_mb']} MB more after the warm-up.",
        None: "Too few orders to say whether it is flat.",
    }[found["flat"]]
    told = f"{found['orders']:,} orders at {found['per_second']:g}/s; at most {found['peak_mb']:g} MB. {verdict}"
    return "\n".join([machine(found), "", table(["orders done", "resident memory, MB"], rows), "", told])


SECTIONS: Mapping[str, Callable[[Found, Found | None], str]] = {
    "pipeline": pipeline,
    "growth": growth,
    "workers": workers,
    "memory": memory,
}
CAPTIONS: Mapping[str, str] = {
    "pipeline": "Latency at steady rates, and orders per second saturated",
    "growth": "Orders per second, and how long starts and commands take, by how much is stored",
    "memory": "Resident memory by orders done",
}
