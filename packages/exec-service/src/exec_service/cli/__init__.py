"""The command line. What a command needs is imported when it runs, so that help comes at once."""

from __future__ import annotations

import click

from exec_service.cli.archive import archive
from exec_service.cli.asking import cancel, resolve
from exec_service.cli.conformance import conformance
from exec_service.cli.demo import demo
from exec_service.cli.doctor import doctor
from exec_service.cli.listing import dead_letters, orders, positions
from exec_service.cli.plugins import plugins
from exec_service.cli.program import Program
from exec_service.cli.resuming import resume
from exec_service.cli.run import run
from exec_service.cli.setup import setup
from exec_service.cli.status import status
from exec_service.cli.submit import submit

__all__ = ["main"]


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="exec-service")
def main() -> None:
    """Takes approved orders, places each once with its broker, follows it to its end.

    Settings come from the environment, .env and exec.toml. Exit codes: 0 done; 1 it failed, or something was not
    found; 2 wrong usage or configuration.
    """


for _command in (
    run, demo, setup, doctor, submit, status, orders, positions, dead_letters, plugins, cancel, resolve,
    resume, archive, conformance,
):  # fmt: skip
    main.add_command(_command)
