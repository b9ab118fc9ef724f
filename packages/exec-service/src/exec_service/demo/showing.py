"""What the demo shows: the story and the service's own lines as it goes, tables at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich.text import Text

from exec_service.cli.listing import dead_letter_row, position_row
from exec_service.cli.output import amount, asked, console, price, print_json, print_table, printable, quantity
from exec_service.demo.checks import Check, Evidence
from exec_service.demo.day import ALL
from exec_service.documents import order_view
from exec_service.stores import DEAD_LETTERS, POSITIONS

#: What stands between a line's time and its text.
_MARK: Final = " | [EXECUTION] | "
#: Lines of the service that come with every order, and tell a spectator nothing.
_DULL: Final = ("Received order: ", "Published execution confirmation", "Placing order: ")


class Screen:
    """Tells the story, or with `silent` only the result, as JSON."""

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent

    def chapter(self, title: str, text: str = "") -> None:
        """A new part of the day."""
        self._print("")
        self._print(title, "bold")
        if text:
            self._print(text)

    def note(self, text: str) -> None:
        """Something that the demo does."""
        self._print(f"  → {text}", "cyan")

    def service_line(self, line: str) -> None:
        """A line that the service printed."""
        time, mark, text = line.partition(_MARK)
        if not mark:
            self._print(f"    {printable(line)}", "red")
        elif not text.startswith(_DULL) and not _is_notification(text):
            self._print(f"    {time[-8:]}  {printable(text)}", "dim")

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """While this is waited for."""
        if self._silent:
            yield
            return
        with console().status(Text(f"waiting until {what}")):
            yield

    def result(self, evidence: Evidence, checks: Sequence[Check]) -> None:
        """The tables, and the closing check."""
        orders = sorted(evidence.orders, key=lambda order: order["sequence"])
        positions = sorted(evidence.documents[POSITIONS], key=lambda position: position["opened_at"])
        letters = sorted(evidence.documents[DEAD_LETTERS], key=lambda letter: letter["received_at"])
        if self._silent:
            found: dict[str, Any] = {
                "passed": all(check.passed for check in checks),
                "checks": [
                    {"sentence": check.sentence, "passed": check.passed, "problems": list(check.problems)}
                    for check in checks
                ],
                "orders": [order_view(order) for order in orders],
                "positions": [{key: value for key, value in row.items() if key != "exact"} for row in positions],
                "dead_letters": letters,
            }
            print_json(found)
            return
        self._print("")
        about = {item.signal_id: item.about for item in ALL}
        print_table(
            "Orders",
            ("signal", "what it was", "order", "status", "filled", "average", "commission"),
            [
                (
                    order["signal_id"],
                    about.get(order["signal_id"]),
                    asked(order),
                    order["status"],
                    quantity(order["filled_quantity"]),
                    price(order["avg_fill_price"], order["currency"]),
                    amount(order["commission"], order["commission_currency"]),
                )
                for order in orders
            ],
        )
        columns = ("strategy", "account", "instrument", "side", "quantity", "entry", "realized", "commission", "status")
        print_table("Positions", columns, [position_row(position)[: len(columns)] for position in positions])
        print_table(
            "Not filled, and why",
            ("signal", "end", "reason"),
            [
                (order["signal_id"], f"{order['status']} / {order['reason_code']}", order["reason"])
                for order in orders
                if order["reason_code"] is not None
            ],
        )
        print_table(
            "Dead letters: kept, and never placed",
            ("signal", "code", "reason", "body"),
            [dead_letter_row(letter)[1:] for letter in letters],
        )
        self._print("Checks", "bold")
        for check in checks:
            self._print(f"  {'✓' if check.passed else '✗'} {check.sentence}", "green" if check.passed else "bold red")
            for problem in check.problems:
                self._print(f"      {problem}", "red")

        self._print(f"{len(orders)} orders: {counted(Counter(order['status'] for order in orders))}")

    def _print(self, text: str, style: str = "") -> None:
        if not self._silent:
            console().print(Text(text, style=style))


def _is_notification(text: str) -> bool:
    """Whether the console notifier wrote it: the order's own lines say the same."""
    return text.startswith("[MOCK]") or not text[:1].isascii()


def counted(counter: Mapping[str, int]) -> str:
    """``17 FILLED, 1 CANCELLED``."""
    return ", ".join(f"{number} {name}" for name, number in counter.items())
