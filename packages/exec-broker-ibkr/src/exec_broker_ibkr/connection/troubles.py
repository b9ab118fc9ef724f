"""Why TWS cannot be reached: one sentence each, with where it was looked for and what to do."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from exec_core.errors import ConnectionFailed

#: The ports that TWS and IB Gateway use as they are installed.
USUAL_PORTS: Final = "IB Gateway 4001 (live) and 4002 (paper), TWS 7496 (live) and 7497 (paper)"


class Stage(Enum):
    """How far a line has come."""

    CONNECTING = auto()
    GREETING = auto()
    STARTING = auto()
    OPEN = auto()
    OVER = auto()


def no_connection(host: str, port: int, error: OSError) -> ConnectionFailed:
    """The connection was not made."""
    if isinstance(error, ConnectionRefusedError):
        return _failed(
            f"Nothing listens at {host}:{port}: TWS or IB Gateway is not running there, its API is switched off, or "
            f"its port is another one (usual are {USUAL_PORTS})."
        )
    return _failed(f"TWS cannot be reached at {host}:{port}: {error}.")


def no_time(stage: Stage, host: str, port: int, seconds: float) -> ConnectionFailed:
    """It took too long."""
    match stage:
        case Stage.CONNECTING:
            return _failed(f"Nothing answers at {host}:{port}: no connection was made in {seconds:g} s.")
        case Stage.GREETING:
            return _failed(
                f"What listens at {host}:{port} did not answer as TWS does in {seconds:g} s: it is another program, or "
                f"TWS waits for a person to accept the connection (usual ports are {USUAL_PORTS})."
            )
        case _:
            return _failed(
                f"TWS at {host}:{port} answered, but was not ready in {seconds:g} s: it told no order id and no "
                "accounts; it may still be logging in."
            )


def closed_early(stage: Stage, host: str, port: int, why: str) -> ConnectionFailed:
    """The other side hung up before it was ready."""
    if stage is Stage.GREETING:
        return _failed(
            f"What listens at {host}:{port} hung up without a greeting ({why}): it is not TWS, or this host is not "
            "among the trusted addresses in TWS's API settings."
        )
    return _failed(f"TWS at {host}:{port} hung up before it was ready: {why}.")


def not_tws(host: str, port: int) -> ConnectionFailed:
    """The other side speaks something else."""
    return _failed(f"What listens at {host}:{port} is not TWS or IB Gateway (usual ports are {USUAL_PORTS}).")


def too_old(host: str, port: int, version: int) -> ConnectionFailed:
    """The other side speaks an old version."""
    return _failed(f"TWS at {host}:{port} is too old (version {version} of its protocol); install a current one.")


def id_in_use(host: str, port: int, client_id: int) -> ConnectionFailed:
    """Another client has that id."""
    return _failed(
        f"Client id {client_id} is in use at {host}:{port}: another program has it, or TWS has not noticed yet that "
        "an earlier connection has gone."
    )


def ids_used_up(host: str, port: int, client_id: int) -> ConnectionFailed:
    """The order ids of that client are near their end."""
    return _failed(
        f"The order ids of client {client_id} at {host}:{port} are nearly used up; let TWS begin anew with them (API "
        "settings, Reset API order ID sequence), or take another client id."
    )


def _failed(sentence: str) -> ConnectionFailed:
    return ConnectionFailed(sentence, broker="ibkr")
