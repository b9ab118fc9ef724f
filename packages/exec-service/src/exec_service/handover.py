"""Hands an account over: ends our work on it in good order, so that the next owner may begin at once.

No send is begun any more and those under way get their answer; then the desk is closed, what it has decided is durable,
and what is being delivered of the account is finished and marked. Only then the account is freed, in a commit that our
lease fences: whoever claims it then waits for nobody. Orders and commands that arrive meanwhile are in the store, where
the next owner finds them.

Whatever goes wrong before the account is free leaves it ours: it is gone on with, and handed over later. A worker that
dies in between has an account like any other that a dead worker owned.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from exec_service.desk import AccountDesk
from exec_service.parts import Parts

logger = logging.getLogger(__name__)

#: How long the answers to the sends under way are waited for.
ANSWERS_SECONDS = 30.0
#: How long a delivery under way is waited for: as long as a publish may take.
DELIVERIES_SECONDS = 35.0


async def answered(desk: AccountDesk) -> bool:
    """Whether the desk's sends have all got their answer, and it begins no more; else it goes on as before."""
    try:
        async with asyncio.timeout(ANSWERS_SECONDS):
            await desk.drain()
    except TimeoutError:
        logger.warning(
            "Account %s is kept: its broker has left a send without an answer for %g s",
            desk.account_id,
            ANSWERS_SECONDS,
        )
        desk.resume()
        return False
    return True


async def close(parts: Parts, desk: AccountDesk) -> None:
    """End the desk's work, and make durable what it has decided. Nothing is sent there and no report is heard."""
    parts.owner.leave(desk.account_id)
    await desk.stop()
    await parts.ledger.write()


async def give_up_deliveries(parts: Parts, account_id: str) -> bool:
    """Whether nothing of the account is being delivered, and nothing will be; else it is ours to deliver still."""
    try:
        async with asyncio.timeout(DELIVERIES_SECONDS):
            await parts.outbox.let_go(account_id)
    except TimeoutError:
        logger.warning("Account %s is kept: a delivery has not ended for %g s", account_id, DELIVERIES_SECONDS)
        return False
    return True


async def free(parts: Parts, account_ids: Iterable[str]) -> None:
    """Let anybody have the accounts, and know nothing of them any more."""
    account_ids = list(account_ids)
    await parts.owner.free(account_ids)
    for account_id in account_ids:
        parts.ledger.forget(account_id)
