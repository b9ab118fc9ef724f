"""Which account is ours, and that it holds the kind of money that was meant."""

from __future__ import annotations

import pytest
from exec_broker_ibkr.accounts import our_account
from exec_core.broker import Mode
from exec_core.errors import ConfigurationError


@pytest.mark.parametrize(
    ("managed", "configured", "mode", "account"),
    [
        (["DU1"], None, Mode.PAPER, "DU1"),
        (["DU1", "DU2"], "DU2", Mode.PAPER, "DU2"),
        (["U1"], None, Mode.LIVE, "U1"),
        (["DU1"], None, None, "DU1"),
    ],
)
def test_the_account_is_found(managed: list[str], configured: str | None, mode: Mode | None, account: str) -> None:
    assert our_account(managed, configured, mode) == account


@pytest.mark.parametrize(
    ("managed", "configured", "mode", "says"),
    [
        (["DU1"], "DU2", Mode.PAPER, "account DU2 is not managed by this TWS (managed here: DU1)"),
        (["DU1", "DU2"], None, Mode.PAPER, "several accounts (DU1, DU2): say which one with IBKR_ACCOUNT"),
        (["DU1"], None, Mode.LIVE, "DU1 is a paper account, but its mode is live"),
        (["U1"], None, Mode.PAPER, "U1 holds real money, but its mode is paper"),
        ([], None, Mode.PAPER, "(none)"),
    ],
)
def test_a_wrong_account_is_refused(managed: list[str], configured: str | None, mode: Mode, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        our_account(managed, configured, mode)
    assert says in str(refused.value)
