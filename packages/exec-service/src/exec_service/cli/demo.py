"""``exec-service demo``: a day of orders through the service as users run it."""

from __future__ import annotations

from pathlib import Path

import click

from exec_service.cli.options import JSON
from exec_service.cli.program import Failed


@click.command(short_help="Play a day of orders with the mock broker, and check it.")
@click.option(
    "--data-dir", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
    help="Keep everything there, in a directory that is new or empty; else it is deleted at the end.",
)  # fmt: skip
@click.option("--fast", is_flag=True, help="Shorter delays at the venue: the same day in less time.")
@JSON
def demo(data_dir: Path | None, fast: bool, as_json: bool) -> None:
    """Run a day of orders with the mock broker, kill the service in the middle of it, and check what is left.

    Nothing outside of a temporary directory is read or written, and no real money is involved. Exit code 1 if an order,
    a fill, a position or a confirmation is not as it must be.
    """
    import asyncio

    from exec_core.plugins import installed_plugins

    from exec_service.demo import DemoFailed, run_demo

    if "mock" not in installed_plugins():
        raise Failed("The demo needs the mock broker: pip install 'exec-service[mock]'")
    if data_dir is not None and data_dir.exists() and any(data_dir.iterdir()):
        raise click.UsageError(f"{data_dir} is not empty: name a new or an empty directory.")
    try:
        good = run_demo(data_dir, fast=fast, as_json=as_json)
    except DemoFailed as error:
        raise Failed(str(error)) from error
    except asyncio.CancelledError:
        raise Failed("The demo was stopped.") from None
    if data_dir is not None and not as_json:
        click.echo(f"\nTo look around: cd {data_dir} && exec-service status --embedded")
    if not good:
        raise Failed("The day did not end as it must: see the check above.")
