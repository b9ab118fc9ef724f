"""Which of the accounts that TWS manages is ours, and whether it holds the kind of money that was configured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from exec_core.broker import Mode
from exec_core.errors import ConfigurationError

#: IB's paper accounts begin with this letter (DU…, DF… for advisors), and no live one does.
PAPER: Final = "D"


def our_account(managed: Sequence[str], configured: str | None, mode: Mode | None) -> str:
    """The account that orders are placed for.

    :raises ConfigurationError: it is not among those that TWS manages, there are several and none was configured, or
        it is a paper account configured as live, or the reverse.
    """
    names = ", ".join(managed) or "none"
    if configured is not None and configured not in managed:
        raise ConfigurationError(f"account {configured} is not managed by this TWS (managed here: {names})")
    if configured is None and len(managed) != 1:
        raise ConfigurationError(f"this TWS manages several accounts ({names}): say which one with IBKR_ACCOUNT")
    account = configured if configured is not None else managed[0]
    is_paper = account.startswith(PAPER)
    if mode is Mode.LIVE and is_paper:
        raise ConfigurationError(
            f"account {account} is a paper account, but its mode is live: connect to the live TWS (7496, gateway "
            "4001), or set mode to paper"
        )
    if mode is Mode.PAPER and not is_paper:
        raise ConfigurationError(
            f"account {account} holds real money, but its mode is paper: connect to the paper TWS (7497, gateway "
            "4002), or set mode to live"
        )
    return account
