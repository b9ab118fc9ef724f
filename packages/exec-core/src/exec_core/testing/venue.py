"""The far side of a broker, as the conformance kit drives it. A plugin's author writes one of these.

It may be a simulator that speaks the venue's wire (the adapter and its real client cannot tell), or a small book in
memory. The kit makes things happen through it and reads the truth from it. Three rules keep the cards simple:

* An order rests until the kit says what becomes of it: nothing trades by itself, also not a market order.
* What a method made happen *has* happened when it returns: `orders` shows it at once. When the adapter hears of it is
  the adapter's affair.
* What the venue cannot do at all stands in `cannot`, with the reason. The cards that need it are then skipped, and the
  summary says why: an honest gap, not a hidden one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType, TracebackType
from typing import ClassVar, Self

from exec_core.broker import BrokerConfig
from exec_core.clock import check_aware
from exec_core.fills import Commission
from exec_core.instruments import AssetClass, Instrument
from exec_core.money import ZERO
from exec_core.orders import OrderType, TimeInForce
from exec_core.reports import ReportStatus
from exec_core.sides import Side


class Ability(StrEnum):
    """What a venue may be unable to do; the text completes the sentence "the venue cannot ..."."""

    REJECT_LATE = "reject an order that it has taken"
    EXPIRE = "end an order at the end of its time in force"
    FILL_LATE = "execute an order that has ended"
    CORRECT = "correct or bust an execution"
    BILL_LATE = "tell a commission apart from its execution"
    REPEAT = "tell a report twice"
    REORDER = "tell reports in another order than they happened in"
    HANG = "take an order and never answer"
    LOSE_CANCEL = "lose the answer to a cancel"
    HOLD_CANCEL = "take a cancel and act on it later, or never"
    FORBID_LOGIN = "refuse a login"
    HIDE = "answer a question in part only"
    UNKNOWN_WORD = "say of an order what no document names"
    BY_HAND = "let a person trade by hand"
    MODIFY = "let a person modify an order"
    NEW_DAY = "begin a new trading day, with an empty book"


@dataclass(frozen=True, slots=True)
class Tradable:
    """Something of one kind that can be traded at the venue now.

    `price` is near the market and a multiple of `price_increment`; `quantity` is an amount that every order may have,
    and so may its multiples; `quantity_increment` is the smallest step (a lot of one: 1).
    """

    instrument: Instrument
    price: Decimal
    price_increment: Decimal = Decimal("0.01")
    quantity: Decimal = Decimal(10)
    quantity_increment: Decimal = Decimal(1)
    product: str | None = None


@dataclass(frozen=True, slots=True)
class VenueExecution:
    """One execution in the venue's books, in its newest version; a busted one has quantity 0.

    `execution_id` is the id under which the adapter reports it. `commission` None: not billed yet.
    """

    execution_id: str
    quantity: Decimal
    price: Decimal
    time: datetime
    commission: Commission | None = None
    correction: int = 0

    def __post_init__(self) -> None:
        check_aware("VenueExecution.time", self.time)


@dataclass(frozen=True, slots=True)
class VenueOrder:
    """One order that the venue took, in our words, on the terms that it is worked on now: those that it was received
    with, unless somebody has modified it since. A refused one need not be kept.

    `client_order_id` None: it carries none of ours. `symbol` is the instrument's, as the order named it. A field that
    the venue's wire has no place for is None.
    """

    broker_order_id: str
    client_order_id: str | None
    symbol: str
    side: Side
    order_type: OrderType
    status: ReportStatus
    quantity: Decimal | None = None
    cash_quantity: Decimal | None = None
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce | None = None
    executions: tuple[VenueExecution, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether it can still trade."""
        return self.status in (ReportStatus.HELD, ReportStatus.WORKING)

    @property
    def filled_quantity(self) -> Decimal:
        """The sum of its executions."""
        return sum((execution.quantity for execution in self.executions), ZERO)


class Venue(ABC):
    """The far side. Made without arguments, entered for one card, left after it: each card meets an empty book."""

    cannot: ClassVar[Mapping[Ability, str]] = MappingProxyType({})
    """What this venue cannot do, each with the reason in one sentence."""
    secrets: ClassVar[tuple[str, ...]] = ()
    """What the settings of `config` hold that nobody may ever read in a log, a repr or an error."""

    async def __aenter__(self) -> Self:
        """Open for business; the default does nothing."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Let go of everything; sessions may still be connected. The default does nothing."""
        return

    # What the kit needs to know

    @property
    @abstractmethod
    def config(self) -> BrokerConfig:
        """The configuration with which a session reaches this venue, and the account under test."""

    @abstractmethod
    def tradable(self, asset_class: AssetClass) -> Tradable:
        """Something of this kind; asked for what the plugin declares only."""

    @abstractmethod
    async def orders(self) -> tuple[VenueOrder, ...]:
        """The truth: every order of the account that the venue took, in the order in which it came, ended or not."""

    # The market

    @abstractmethod
    async def fill(self, broker_order_id: str, quantity: Decimal, price: Decimal) -> VenueExecution:
        """Execute so much of an order at that price: also of one that is held, and (`FILL_LATE`) of one that ended.

        The venue bills a commission with it, unless it cannot, or was told to `withhold_commissions`.
        """

    @abstractmethod
    async def cancel(self, broker_order_id: str) -> None:
        """Take what is left of an order off the market, as a person does, or as a held cancel takes effect."""

    async def reject(self, broker_order_id: str, reason: str) -> None:
        """Refuse an order that was taken (`REJECT_LATE`)."""
        raise NotImplementedError(_not_written(Ability.REJECT_LATE))

    async def expire(self, broker_order_id: str) -> None:
        """End an order at the end of its time in force (`EXPIRE`)."""
        raise NotImplementedError(_not_written(Ability.EXPIRE))

    async def correct(self, execution_id: str, quantity: Decimal, price: Decimal) -> VenueExecution:
        """Replace an execution by these figures; quantity 0 takes it back (`CORRECT`)."""
        raise NotImplementedError(_not_written(Ability.CORRECT))

    async def withhold_commissions(self) -> None:
        """Executions from now on come without their commission (`BILL_LATE`)."""
        raise NotImplementedError(_not_written(Ability.BILL_LATE))

    async def bill(self) -> None:
        """Tell the commissions that were withheld (`BILL_LATE`)."""
        raise NotImplementedError(_not_written(Ability.BILL_LATE))

    async def trade_by_hand(self, tradable: Tradable, side: Side, quantity: Decimal) -> VenueOrder:
        """A person enters an order that is none of ours; it rests like any other (`BY_HAND`)."""
        raise NotImplementedError(_not_written(Ability.BY_HAND))

    async def modify(
        self,
        broker_order_id: str,
        *,
        quantity: Decimal | None = None,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
    ) -> None:
        """A person works an open order on another quantity (of the whole order) or other prices (`MODIFY`).

        What is None stays. An order whose quantity becomes what is filled of it is complete.
        """
        raise NotImplementedError(_not_written(Ability.MODIFY))

    async def say_unknown_word(self, broker_order_id: str) -> None:
        """From now on the order's status is a word that no document names; the order works on (`UNKNOWN_WORD`)."""
        raise NotImplementedError(_not_written(Ability.UNKNOWN_WORD))

    async def begin_new_day(self) -> None:
        """The next trading day: what has ended is in no book any more (`NEW_DAY`)."""
        raise NotImplementedError(_not_written(Ability.NEW_DAY))

    # Trouble

    @abstractmethod
    async def refuse_next(self, reason: str) -> None:
        """The next order is refused, at once, for that reason."""

    @abstractmethod
    async def lose_next_answer(self, *, taken: bool) -> None:
        """The sender of the next order sees its line break before an answer; the order is in the book only if `taken`.

        Later calls of the same session work again, where its line can be mended; else it is disconnected.
        """

    async def hang_next(self) -> None:
        """The next order is taken, and its sender never hears an answer (`HANG`)."""
        raise NotImplementedError(_not_written(Ability.HANG))

    async def lose_next_cancel(self) -> None:
        """The next cancel is acted on, and its sender sees the line break before an answer (`LOSE_CANCEL`)."""
        raise NotImplementedError(_not_written(Ability.LOSE_CANCEL))

    async def hold_cancels(self) -> None:
        """Cancels are taken, and nothing comes of them until `cancel` says so (`HOLD_CANCEL`)."""
        raise NotImplementedError(_not_written(Ability.HOLD_CANCEL))

    @abstractmethod
    async def fail_questions(self) -> None:
        """From now on every question (look-up, open orders, positions, account) is answered by an error."""

    async def answer_in_part(self) -> None:
        """From now on questions are answered in part, recognisably: a page is missing, a line is down (`HIDE`)."""
        raise NotImplementedError(_not_written(Ability.HIDE))

    @abstractmethod
    async def answer_questions(self) -> None:
        """Questions are answered as they should be again."""

    async def repeat_reports(self) -> None:
        """From now on every report is told twice (`REPEAT`)."""
        raise NotImplementedError(_not_written(Ability.REPEAT))

    async def reorder_reports(self) -> None:
        """From now on reports that are under way together are told in reverse order (`REORDER`)."""
        raise NotImplementedError(_not_written(Ability.REORDER))

    @abstractmethod
    async def disconnect(self) -> None:
        """Cut every session, and let nobody in; the market goes on. Nothing that happens now may be lost for good."""

    @abstractmethod
    async def reconnect(self) -> None:
        """Let sessions in again; nothing happens where they are let in."""

    async def forbid_login(self) -> None:
        """From now on the credentials are refused, those of sessions that are open as well (`FORBID_LOGIN`)."""
        raise NotImplementedError(_not_written(Ability.FORBID_LOGIN))

    async def allow_login(self) -> None:
        """The credentials are good again (`FORBID_LOGIN`)."""
        raise NotImplementedError(_not_written(Ability.FORBID_LOGIN))


def _not_written(ability: Ability) -> str:
    """What the author of a venue is told who left a method out."""
    return f"cannot {ability}: write the method, or name Ability.{ability.name} in `cannot`, with the reason"
