"""What the broker says against what we have, for orders: pure comparisons that end in findings.

A finding tells a person; nothing here, and nobody who reads it, trades. The rules that keep it honest:

* Only a complete view counts, and only what did not change on our side while the broker was asked.
* Nothing that is in doubt (being sent, UNKNOWN) is judged: that is settling's work.
* What could not be judged is `undecided`: it is neither found nor cleared.

`reconciliation_positions` does the same for what is held, `reconciler` asks, `findings` keeps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final

from exec_core.broker import Found
from exec_core.identifiers import CLIENT_ORDER_ID_LENGTH, BrokerOrderId, ClientOrderId
from exec_core.money import ZERO
from exec_core.orders import Order, OrderStatus
from exec_core.reports import OrderReport, ReportStatus

from exec_service.formats import format_quantity
from exec_service.recovery import AT_THE_BROKER, NOT_SHOWN
from exec_service.wording import asked_order, contract_name


class Kind(StrEnum):
    """What differs."""

    UNKNOWN_TO_BROKER = "UNKNOWN_TO_BROKER"
    """An order of ours that the broker had accepted, and of which it shows no trace."""
    EXTERNAL_ORDER = "EXTERNAL_ORDER"
    """An order at the broker that is not ours. It is never touched."""
    MODIFIED = "MODIFIED"
    """An order of ours that works on another price, or a smaller quantity, than was asked."""
    STILL_OPEN = "STILL_OPEN"
    """An order that has ended here, and that the broker still shows open."""
    POSITION_DIFFERS = "POSITION_DIFFERS"
    """The broker holds more or less than the executions that are booked here come to."""
    BEYOND_ASKED = "BEYOND_ASKED"
    """More is filled or working at the broker under an id of ours than was asked. It stops the account."""


class Severity(StrEnum):
    """How pressing a finding is."""

    CRITICAL = "CRITICAL"
    WARNING = "WARNING"
    INFORMATION = "INFORMATION"


#: The kinds that are judged by the list of open orders, and by our books.
ORDER_KINDS: Final = frozenset(Kind) - {Kind.POSITION_DIFFERS}
#: What an order can still fill by.
OPEN_AT_BROKER: Final = frozenset({ReportStatus.HELD, ReportStatus.WORKING})
IN_DOUBT: Final = frozenset({OrderStatus.SUBMITTING, OrderStatus.UNKNOWN})

Subject = tuple[Kind, str]
Figure = Decimal | str | None


def severity_of(kind: Kind) -> Severity:
    """How pressing findings of that kind are."""
    if kind is Kind.BEYOND_ASKED:
        return Severity.CRITICAL
    return Severity.INFORMATION if kind is Kind.EXTERNAL_ORDER else Severity.WARNING


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. `subject` names what it is about, `figures` are what makes it this difference and no other."""

    kind: Kind
    subject: str
    text: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    signal_id: str | None = None

    @property
    def about(self) -> Subject:
        """What it is about: one account has at most one finding about it."""
        return (self.kind, self.subject)

    @property
    def severity(self) -> Severity:
        """How pressing it is."""
        return severity_of(self.kind)


@dataclass(frozen=True, slots=True)
class Look:
    """What one look, or two that agree, came to.

    What is not in `findings` is proven not to be so only if its kind is in `covered` and it is not `undecided`.
    `again`: something changed while we looked, so another look soon may decide it.
    """

    findings: Mapping[Subject, Finding] = field(default_factory=dict)
    covered: frozenset[Kind] = frozenset()
    undecided: frozenset[Subject] = frozenset()
    again: bool = False

    def denies(self, about: Subject) -> bool:
        """Whether it is evidence that there is no such difference (any more)."""
        return about not in self.findings and about[0] in self.covered and about not in self.undecided


@dataclass(frozen=True, slots=True)
class Shown:
    """An order in the broker's list, and which order of ours it is, if any."""

    report: OrderReport
    order_id: ClientOrderId | None = None


def look_of(
    findings: Iterable[Finding], covered: Iterable[Kind], undecided: Iterable[Subject] = (), *, again: bool = False
) -> Look:
    """A look that came to these."""
    return Look({finding.about: finding for finding in findings}, frozenset(covered), frozenset(undecided), again)


def joined(*looks: Look) -> Look:
    """Looks at different things, as one."""
    findings = {about: finding for look in looks for about, finding in look.findings.items()}
    covered = frozenset[Kind]().union(*(look.covered for look in looks))
    undecided = frozenset[Subject]().union(*(look.undecided for look in looks))
    return Look(findings, covered, undecided, any(look.again for look in looks))


def agreed(first: Look, second: Look) -> Look:
    """What two looks in a row say both; what only one of them says, or each otherwise, is undecided."""
    same: dict[Subject, Finding] = {}
    disputed: set[Subject] = set()
    for about in {*first.findings, *second.findings}:
        one, other = first.findings.get(about), second.findings.get(about)
        if one is not None and other is not None and one.figures == other.figures:
            same[about] = other
        else:
            disputed.add(about)
    undecided = (first.undecided | second.undecided | disputed) - frozenset(same)
    return Look(same, first.covered & second.covered, undecided, second.again or bool(disputed))


# ---------------------------------------------------------------------- orders


def compare_orders(
    before: Mapping[ClientOrderId, Order],
    after: Mapping[ClientOrderId, Order],
    shown: Sequence[Shown],
    found: Mapping[ClientOrderId, Found | None],
) -> Look:
    """Our orders against a complete list of the broker's open ones.

    `before` and `after`: our live orders before the broker was asked, and after what it said was booked; `after` also
    has the ended ones that it still shows. `found`: what it knows of the `suspicious` ones; None: it gave no answer.
    """
    listed: dict[ClientOrderId, list[OrderReport]] = {}
    for item in shown:
        if item.order_id is not None:
            listed.setdefault(item.order_id, []).append(item.report)
    findings: list[Finding] = []
    undecided: set[Subject] = set()
    again = False
    for order_id in {*before, *after}:
        order = after.get(order_id)
        known = before.get(order_id)
        if order is None or (known is None and not order.status.is_final) or _changed(known, order):
            undecided |= _all_about(order_id)
            again = True
            continue
        if order.status in IN_DOUBT or order.status is OrderStatus.PENDING:
            undecided |= _all_about(order_id)
        reports = listed.get(order_id, [])
        beyond = by_our_books(order)
        if is_suspicious(order, reports):
            answer = found.get(order_id)
            if answer is not None and answer.view.complete:
                beyond = beyond_asked(order, answer)
            elif beyond is None:
                undecided.add((Kind.BEYOND_ASKED, order_id))
        findings += [beyond] if beyond is not None else _judged(order, reports)
    nobodys_ids_are_unknown = any(order.status in IN_DOUBT for order in after.values())
    for item in shown:
        if item.order_id is None:
            finding = external(item.report)
            if item.report.client_order_id is None and nobodys_ids_are_unknown:
                undecided.add(finding.about)  # it may be one that is just being sent, and has no broker id here yet
            else:
                findings.append(finding)
    return look_of(findings, ORDER_KINDS, undecided, again=again)


def missing(
    before: Mapping[ClientOrderId, Order], after: Mapping[ClientOrderId, Order], shown: Sequence[Shown]
) -> list[ClientOrderId]:
    """The orders that should be in a complete list of open ones and are not: they may have ended just now, so each is
    asked for before anything is said of it."""
    listed = {item.order_id for item in shown}
    return [
        order_id
        for order_id, order in after.items()
        if order_id in before
        and not _changed(before[order_id], order)
        and order.status in AT_THE_BROKER
        and order_id not in listed
    ]


def is_suspicious(order: Order, reports: Sequence[OrderReport]) -> bool:
    """Whether there may be more at the broker than was asked, so that all of it must be asked for."""
    names: set[BrokerOrderId | None] = {report.broker_order_id for report in reports} - {None}
    if len(reports) > 1 or len(names | set(order.broker_order_ids)) > 1:
        return True
    if order.status.is_final and reports:
        return True
    asked = order.request.quantity
    return asked is not None and any(_told_quantity(report, ZERO) > asked for report in reports)


def beyond_asked(order: Order, found: Found) -> Finding | None:
    """The finding if what is filled and what still works under the order's id come to more than was asked.

    An open order whose quantity is not told counts as working on what was asked, for that is what was sent. Of a cash
    order nobody knows the quantity: more than one order that trades or has traded is too much.
    """
    asked = order.request.quantity
    filled: dict[BrokerOrderId | None, Decimal] = {}
    for fill in _effective(found):
        filled[fill[0]] = filled.get(fill[0], ZERO) + fill[1]
    latest = {report.broker_order_id: report for report in found.orders}
    total = ZERO
    alive: list[str] = []
    for name in {*filled, *latest}:
        report = latest.get(name)
        done = filled.get(name, ZERO)
        whole = done
        if report is not None:
            whole = done = max(done, report.filled_quantity or ZERO)
            if report.status in OPEN_AT_BROKER:
                whole = max(done, _told_quantity(report, asked or ZERO))
        is_open = report is not None and report.status in OPEN_AT_BROKER
        if whole or is_open:
            alive.append(str(name))
        total += whole
    if asked is None:
        if len(alive) <= 1:
            return None
        return _beyond(order, "1 order", f"{len(alive)} orders", Decimal(len(alive)), Decimal(1), alive)
    total = max(total, order.filled_quantity)
    if total <= asked:
        return None
    return _beyond(order, format_quantity(asked), format_quantity(total), total, asked, alive)


def by_our_books(order: Order) -> Finding | None:
    """The finding if our own executions of the order come to more than was asked: no list needs to be asked for."""
    asked = order.request.quantity
    if asked is None or order.filled_quantity <= asked:
        return None
    total = order.filled_quantity
    return _beyond(order, format_quantity(asked), format_quantity(total), total, asked, order.broker_order_ids)


def external(report: OrderReport) -> Finding:
    """The finding about an order that is not ours."""
    name = report.broker_order_id or report.client_order_id or ""
    text = f"The broker works an order that this service did not place: {_described(report)}. It is left alone"
    if report.client_order_id is not None and looks_like_ours(report.client_order_id):
        text += (
            f". Its client order id {report.client_order_id} looks like one of ours: does another service, or another "
            "database, trade this account?"
        )
    return Finding(Kind.EXTERNAL_ORDER, name, text, {"client_order_id": report.client_order_id})


def looks_like_ours(client_order_id: str) -> bool:
    """Whether it is made as ours are; no proof, for others may use the field in the same way."""
    return re.fullmatch(rf"[A-Z2-7]{{{CLIENT_ORDER_ID_LENGTH}}}", client_order_id) is not None


def _judged(order: Order, reports: Sequence[OrderReport]) -> list[Finding]:
    """What there is to say of an order that did not change meanwhile, and of its lines in the list."""
    request, name = order.request, asked_order(order)
    if order.status in AT_THE_BROKER and not reports and order.attention == NOT_SHOWN:
        text = f"{name} is {order.status} here (order id {order.broker_order_id}). {NOT_SHOWN}"
        return [Finding(Kind.UNKNOWN_TO_BROKER, order.client_order_id, text, {}, request.signal_id)]
    if order.status.is_final and reports:
        ids = ", ".join(sorted(str(report.broker_order_id) for report in reports))
        text = f"{name} is {order.status} here, and the broker still shows it open (order id {ids})"
        figures: dict[str, Figure] = {"status": order.status.value, "broker_order_ids": ids}
        return [Finding(Kind.STILL_OPEN, order.client_order_id, text, figures, request.signal_id)]
    if order.status not in AT_THE_BROKER:
        return []
    changes = modified_terms(order)
    if not changes:
        return []
    words = ", ".join(
        f"{what} {format_quantity(now)} instead of {format_quantity(asked)}" for what, (asked, now) in changes.items()
    )
    text = f"{name} works at the broker on other terms than were asked: {words}"
    told: dict[str, Figure] = {what.replace(" ", "_"): now for what, (_, now) in changes.items()}
    return [Finding(Kind.MODIFIED, order.client_order_id, text, told, request.signal_id)]


def modified_terms(order: Order) -> dict[str, tuple[Decimal, Decimal]]:
    """The terms that the broker told last and that are other than asked: what was asked, and what is.

    A raised quantity is not among them: that is more than was asked.
    """
    modified, request = order.modified, order.request
    if modified is None:
        return {}
    pairs = (
        ("quantity", request.quantity, modified.quantity),
        ("limit price", request.limit_price, modified.limit_price),
        ("stop price", request.stop_price, modified.stop_price),
    )
    return {
        what: (asked, now)
        for what, asked, now in pairs
        if asked is not None and now is not None and (what != "quantity" or now < asked)
    }


def _beyond(order: Order, asked: str, much: str, total: Decimal, figure: Decimal, names: Iterable[str]) -> Finding:
    ids = ", ".join(sorted(names))
    text = f"{asked_order(order)}: {asked} was asked, {much} filled or working at the broker"
    if ids:
        text += f" (order id {ids})"
    figures: dict[str, Figure] = {"asked": figure, "total": total}
    return Finding(Kind.BEYOND_ASKED, order.client_order_id, text, figures, order.request.signal_id)


def _effective(found: Found) -> list[tuple[BrokerOrderId | None, Decimal]]:
    """The executions that count, each once with its newest correction: whose, and how much."""
    newest: dict[str, tuple[int, BrokerOrderId | None, Decimal]] = {}
    for report in found.fills:
        fill = report.fill
        known = newest.get(fill.execution_id)
        if fill.leg is None and (known is None or fill.correction > known[0]):
            newest[fill.execution_id] = (fill.correction, report.broker_order_id, fill.quantity)
    return [(name, quantity) for _, name, quantity in newest.values()]


def _told_quantity(report: OrderReport, otherwise: Decimal) -> Decimal:
    """What the broker works the order on, as far as it says."""
    told = None if report.terms is None else report.terms.quantity
    return otherwise if told is None else told


def _changed(before: Order | None, after: Order) -> bool:
    return before is not None and before.revision != after.revision


def _all_about(order_id: str) -> set[Subject]:
    return {(kind, order_id) for kind in ORDER_KINDS}


def _described(report: OrderReport) -> str:
    """What is known of an order that is not ours."""
    terms = report.terms
    words = (
        []
        if terms is None
        else [
            terms.side,
            None if terms.quantity is None else format_quantity(terms.quantity),
            None if terms.instrument is None else contract_name(terms.instrument),
            None if terms.stop_price is None else f"stop {format_quantity(terms.stop_price)}",
            None if terms.limit_price is None else f"limit {format_quantity(terms.limit_price)}",
        ]
    )
    known = " ".join(str(word) for word in words if word is not None)
    name = f"order id {report.broker_order_id or report.client_order_id}"
    return f"{known} ({name})" if known else name
