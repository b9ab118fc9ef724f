"""The service as a whole: what its failed tasks come down to."""

from __future__ import annotations

import pytest
from exec_service.service import cause_of
from exec_service.stores import LeaseLost
from rig import Rig


def test_a_lost_lease_is_found_however_deep_it_lies() -> None:
    lost = LeaseLost("taken over")
    assert cause_of(BaseExceptionGroup("", [KeyError("x"), ExceptionGroup("", [ValueError("y"), lost])])) is lost


def test_without_one_it_is_the_first_error() -> None:
    first = KeyError("x")
    assert cause_of(ExceptionGroup("", [ExceptionGroup("", [first]), ValueError("y")])) is first


async def test_a_fenced_service_ends_with_the_lost_lease(rig: Rig) -> None:
    rig.options["worker_lease_seconds"] = 1
    with pytest.raises(LeaseLost):
        await _fenced(rig)


async def _fenced(rig: Rig) -> None:
    """Run a service until another worker has raised its epoch."""
    async with rig.service() as service:
        async with rig.store() as store:
            (worker,) = await store.workers()
            await store.fence(worker.worker_id)

        async def ended() -> bool:
            return not service.desks

        await rig.until(ended, "the service has let go of its accounts")
