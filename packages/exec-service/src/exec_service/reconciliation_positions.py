"""What the broker holds against what our executions come to: pure, exact, per account over all strategies.

Both sides name one instrument in their own words, and leave out what they do not know. So two lines are about the same
thing if symbol, type, expiry, strike and right are equal, and currency, exchange and product wherever both know them.
Lines that belong together by that, directly or through others, are compared by their sums.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from exec_core.broker import BrokerPosition
from exec_core.instruments import AssetClass, Instrument
from exec_core.money import ZERO, exact
from exec_core.orders import Order

from exec_service.formats import format_quantity
from exec_service.reconciliation import Finding, Kind, Look, Subject, look_of
from exec_service.wording import contract_name

#: Venues do not tell these apart, and neither does what they do to a position.
_SHARES: Final = frozenset({AssetClass.STOCK, AssetClass.ETF})


@dataclass(frozen=True, slots=True)
class Holding:
    """So much of one instrument; `quantity` is signed. `product` is the venue's bucket, None where not known."""

    instrument: Instrument
    quantity: Decimal
    product: str | None = None


#: A line, and on which side it stands: ours before, ours after, theirs.
Line = tuple[int, Holding]


def held_by_broker(positions: Iterable[BrokerPosition], ours: Iterable[Holding]) -> list[Holding]:
    """The broker's lines, each under the name that `ours` have for it, where the broker knows it by several."""
    known = {_identity(line.instrument) for line in ours}
    return [Holding(_name(line, known), line.quantity, line.product) for line in positions]


def _name(line: BrokerPosition, known: Collection[str]) -> Instrument:
    names = (line.instrument, *line.also_known_as)
    return next((name for name in names if _identity(name) in known), line.instrument)


def is_same(one: Holding, other: Holding) -> bool:
    """Whether two lines are about the same thing, as far as both know."""
    mine, theirs = one.instrument, other.instrument
    if _identity(mine) != _identity(theirs):
        return False
    pairs = (
        (mine.currency, theirs.currency),
        (mine.exchange, theirs.exchange),
        (one.product, other.product),
    )
    return all(a is None or b is None or a == b for a, b in pairs)


def compare_positions(
    before: Sequence[Holding],
    after: Sequence[Holding],
    theirs: Sequence[Holding],
    doubtful: Collection[Instrument] = (),
) -> Look:
    """Our positions against a complete list of the broker's.

    `before` and `after`: ours before and after the broker was asked. `doubtful`: what orders trade of which it is not
    known how much of them is filled: nothing is said about those.
    """
    sides = (before, after, theirs)
    findings: list[Finding] = []
    undecided: set[Subject] = set()
    again = False
    for subject, group in _named((side, line) for side, lines in enumerate(sides) for line in lines):
        with exact():
            was, ours, broker = (sum((line.quantity for of, line in group if of == side), ZERO) for side in range(3))
        instrument = group[0][1].instrument
        if was != ours:
            undecided.add((Kind.POSITION_DIFFERS, subject))
            again = True
        elif any(_identity(instrument) == _identity(one) for one in doubtful):
            undecided.add((Kind.POSITION_DIFFERS, subject))
        elif ours != broker:
            findings.append(_finding(subject, instrument, ours, broker))
    return look_of(findings, {Kind.POSITION_DIFFERS}, undecided, again=again)


def is_about(subject: str, order: Order) -> bool:
    """Whether the order's executions change what a finding with that subject is about."""
    instruments = [leg.instrument for leg in order.request.legs] or [order.request.instrument]
    names = [_identity(instrument) for instrument in instruments]
    return any(subject == name or subject.startswith(f"{name}|") for name in names)


def _finding(subject: str, instrument: Instrument, ours: Decimal, broker: Decimal) -> Finding:
    with exact():
        more = broker - ours
    word = "more" if more > 0 else "less"
    text = (
        f"{contract_name(instrument)}: the broker holds {format_quantity(broker)}, the executions booked here come to "
        f"{format_quantity(ours)}: {format_quantity(abs(more))} {word} there"
    )
    return Finding(Kind.POSITION_DIFFERS, subject, text, {"ours": ours, "broker": broker})


def _named(lines: Iterable[Line]) -> list[tuple[str, list[Line]]]:
    """The lines that belong together, each group with a name that stays the same from look to look: what is only
    sometimes known is in it only where two would have one name without it."""
    by_identity: dict[str, list[Line]] = {}
    for line in lines:
        by_identity.setdefault(_identity(line[1].instrument), []).append(line)
    found: list[tuple[str, list[Line]]] = []
    for name, alike in by_identity.items():
        groups = _groups(alike)
        found += [(name if len(groups) == 1 else f"{name}|{_details(group)}", group) for group in groups]
    return found


def _groups(alike: Iterable[Line]) -> list[list[Line]]:
    """Lines of one identity, parted by what else is known of them."""
    groups: list[list[Line]] = []
    for line in alike:
        near = [group for group in groups if any(is_same(line[1], other[1]) for other in group)]
        groups = [group for group in groups if group not in near]
        groups.append([line, *(other for group in near for other in group)])
    return groups


def _details(group: Iterable[Line]) -> str:
    known = {
        detail
        for _, line in group
        for detail in (line.instrument.currency, line.instrument.exchange, line.product)
        if detail is not None
    }
    return "|".join(sorted(known))


def _identity(instrument: Instrument) -> str:
    """What both sides always know of it."""
    asset_class = AssetClass.STOCK if instrument.asset_class in _SHARES else instrument.asset_class
    return replace(instrument, asset_class=asset_class, exchange=None, currency=None).key
