"""``exec-service conformance``: an installed plugin proves itself at the venue that it ships."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from exec_service.cli.options import JSON
from exec_service.cli.program import Failed, Unusable

if TYPE_CHECKING:
    from exec_core.testing.running import Result

#: What the kit needs and the service does not.
EXTRA: Final = ("pytest", "pytest_asyncio", "hypothesis")


@click.command(short_help="Prove an installed plugin with the conformance kit.")
@click.argument("name")
@click.option("--card", "cards", multiple=True, metavar="CARD", help="Play this card only, e.g. OC-120; repeatable.")
@click.option("--profile", type=click.Choice(["nightly"]), help="Let the state machine try much longer.")
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N",
    help="What the state machine tries follows from it. Default: always the same; with a profile, another each time.",
)  # fmt: skip
@JSON
def conformance(name: str, cards: tuple[str, ...], profile: str | None, seed: int | None, as_json: bool) -> None:
    """Play the cards of the conformance kit with the plugin NAME at the venue that it ships, offline.

    Needs the extra exec-core[testing]. No configuration is read and no account is touched. docs/conformance.md
    explains each card.

    Exit code 0 if no card failed, 1 if one did, 2 if the plugin cannot be proved here.
    """
    _require_the_extra()
    from exec_core.testing.running import NOT_RUN, run

    from exec_service.cli.output import print_json

    result = run(name, cards=cards, profile=profile, seed=seed, show=not as_json)
    if result.exit_code == NOT_RUN:
        if result.output:
            click.echo(result.output.rstrip(), err=True)
        raise Unusable(f"The suite of {name} did not run to its end; what it said is above.")
    if as_json:
        print_json([_as_row(suite, card) for suite in result.suites for card in suite["cards"]])
    _judge(result)


def _require_the_extra() -> None:
    """:raises Unusable: what the kit needs is not installed."""
    from importlib.util import find_spec

    missing = [module for module in EXTRA if find_spec(module) is None]
    if missing:
        raise Unusable(
            f"The conformance kit needs {', '.join(missing)}, which the service itself does not: "
            "pip install 'exec-core[testing]'"
        )


def _as_row(suite: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, Any]:
    about = {name: suite[name] for name in ("plugin", "distribution", "version", "kit_version", "hypothesis_seed")}
    return {**about, **card}


def _judge(result: Result) -> None:
    """:raises Failed: a card failed, or a test of the plugin's own beside them."""
    cards = [card for suite in result.suites for card in suite["cards"]]
    failed = [card["card"] for card in cards if card["outcome"] == "failed"]
    if failed:
        raise Failed(f"{len(failed)} of {len(cards)} cards failed: {', '.join(failed)}.")
    if result.exit_code:
        raise Failed("No card failed, but a test of the plugin's own that stands beside them.")
