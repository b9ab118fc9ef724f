"""Which contract an instrument is at IB, and its price steps: asked once per session, then remembered.

A session lasts a day at most (TWS restarts every night), so what is remembered is never older than that.
"""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal

from exec_core.errors import OrderRejected
from exec_core.instruments import Instrument, InstrumentDetails

from exec_broker_ibkr.connection.line import Line, NoAnswer, RequestRefused
from exec_broker_ibkr.instruments import contracts
from exec_broker_ibkr.messages import DetailsTold, PriceStep, TwsContract

logger = logging.getLogger(__name__)


class Catalogue:
    """What TWS says of instruments. Refusals are not remembered: what is unknown now may be listed in an hour."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._found: dict[Instrument, DetailsTold] = {}
        self._by_con_id: dict[int, DetailsTold] = {}
        self._steps: dict[int, tuple[PriceStep, ...]] = {}
        self._lock = asyncio.Lock()

    async def find(self, instrument: Instrument) -> DetailsTold:
        """The one contract that the instrument names.

        :raises OrderRejected: TWS knows none, or several. :raises OrderUnsupported: it cannot be asked for.
        :raises ConnectionFailed: the line is lost. :raises NoAnswer: TWS does not answer.
        """
        known = self._found.get(instrument)
        if known is not None:
            return known
        asked = contracts.query(instrument)
        async with self._lock:
            known = self._found.get(instrument)
            if known is not None:  # asked for by somebody else meanwhile
                return known
            found = contracts.choose(instrument, await self._ask(asked))
            self._found[instrument] = found
            self._by_con_id[found.contract.con_id] = found
            return found

    def details_of(self, contract: TwsContract) -> InstrumentDetails:
        """What is known of a contract that TWS names: what it told when asked, else what stands in the name."""
        known = self._by_con_id.get(contract.con_id)
        return contracts.details_of_contract(contract) if known is None else contracts.details(known)

    async def of_con_id(self, con_id: int) -> DetailsTold | None:
        """What TWS says of the contract with that id; None if it does not say.

        :raises ConnectionFailed: the line is lost. :raises NoAnswer: TWS does not answer.
        """
        known = self._by_con_id.get(con_id)
        if known is None:
            async with self._lock:
                found = await self._ask(TwsContract("", con_id=con_id))
            if not found:
                return None
            known = self._by_con_id[con_id] = found[0]  # one row per exchange, all of the same contract
        return known

    async def steps(self, found: DetailsTold) -> tuple[PriceStep, ...]:
        """The price steps of a contract where it is traded; one step, the contract's smallest, if no rule is told.

        :raises ConnectionFailed: the line is lost.
        """
        rules = dict(found.market_rules)
        rule = rules.get(found.contract.exchange)
        smallest = (PriceStep(Decimal(0), found.min_tick),) if found.min_tick else ()
        if rule is None:
            return smallest
        if rule not in self._steps:
            try:
                self._steps[rule] = await self._line.market_rule(rule)
            except (NoAnswer, RequestRefused) as error:
                # Not worth an order: the smallest step is known, and TWS judges by its own rule anyway.
                logger.warning("TWS does not tell market rule %s, the smallest tick is taken: %s", rule, error)
                return smallest
        return self._steps[rule] or smallest

    async def _ask(self, contract: TwsContract) -> tuple[DetailsTold, ...]:
        try:
            return await self._line.contract_details(contract)
        except RequestRefused as error:
            if error.code == contracts.NO_DEFINITION:
                return ()
            raise OrderRejected(f"TWS does not say which contract this is: {error.text}", broker="ibkr") from error
