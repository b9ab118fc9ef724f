"""The plots of the page: small SVG files that are the same for the same figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Found = Mapping[str, Any]
COLOURS = {"service": "#1f5fa8", "reference": "#8a8a8a"}


def draw(name: str, found: Found, directory: Path) -> Path | None:
    """Draw the plot of that benchmark, if it has one, into the directory; its file.

    :raises SystemExit: there is no matplotlib.
    """
    if name not in PLOTS:
        return None
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("the plot needs matplotlib: run this through nox, or install matplotlib") from None
    matplotlib.use("svg")
    # No random ids, no date, text as text.
    matplotlib.rcParams.update({"svg.hashsalt": name, "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    figure = PLOTS[name](pyplot, found)
    path = directory / f"performance-{name}.svg"
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    # Lines that end in blanks are nothing but noise to version control.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
    return path


def _pipeline(pyplot: Any, found: Found) -> Any:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3), width_ratios=(3, 1))
    for name in ("service", "reference"):
        rates = {float(rate): one for rate, one in found[name]["rates"].items() if one["carried"]}
        for part, style in (("p50_ms", "-o"), ("p99_ms", "--o")):
            values = [one[part] for one in rates.values()]
            left.plot(list(rates), values, style, color=COLOURS[name], markersize=3, label=f"{name} {part[:3]}")
    left.set(xlabel="orders per second", ylabel="publish to confirmation, ms", xscale="log", yscale="log")
    left.set_title("at a steady rate")
    left.legend(frameon=False, fontsize=8)
    names = ["reference", "service"]
    right.bar(names, [found[name]["saturated"]["per_second"] for name in names], color=[COLOURS[one] for one in names])
    right.set_title("saturated, orders/s")
    return figure


def _growth(pyplot: Any, found: Found) -> Any:
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3))
    sizes = [f"{row['orders']:,}" for row in found["rows"]]
    left.bar(sizes, [row["per_second"] for row in found["rows"]], color=COLOURS["service"])
    left.set(xlabel="finished orders stored")
    left.set_title("saturated, orders/s")
    for key, label in (("ready_seconds", "start"), ("ready_after_kill_seconds", "start after kill -9")):
        right.plot(sizes, [row[key] for row in found["rows"]], "-o", markersize=3, label=label)
    for key, label in (("status_seconds", "status"), ("list_seconds", "orders --limit 20")):
        right.plot(sizes, [row[key]["wall"] for row in found["rows"]], "--o", markersize=3, label=label)
    right.set(xlabel="finished orders stored", ylabel="seconds")
    right.set_ylim(bottom=0)
    right.legend(frameon=False, fontsize=8)
    return figure


def _memory(pyplot: Any, found: Found) -> Any:
    figure, axes = pyplot.subplots(figsize=(8, 2.5))
    axes.plot(
        [done for done, _ in found["points"]], [memory for _, memory in found["points"]], color=COLOURS["service"]
    )
    axes.set(xlabel="orders done", ylabel="resident memory, MB")
    axes.set_ylim(bottom=0)
    return figure


PLOTS: Mapping[str, Callable[[Any, Found], Any]] = {"pipeline": _pipeline, "growth": _growth, "memory": _memory}
