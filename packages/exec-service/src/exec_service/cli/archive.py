"""``exec-service archive``: moves what ended long ago from the store into files; the service may run meanwhile."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from exec_service.cli.options import EMBEDDED, JSON
from exec_service.cli.program import Failed
from exec_service.cli.reading import chosen_settings, existing_store

if TYPE_CHECKING:
    from exec_service.archive_files import ArchiveFiles
    from exec_service.archiving import Archiving
    from exec_service.settings import Settings

_AGE: Final = re.compile(r"([0-9]{1,5})([dw])")
_UNITS: Final = {"d": timedelta(days=1), "w": timedelta(weeks=1)}
#: What documents of each collection are called where people read it: one, and several.
NAMES: Final = {
    "orders": ("order", "orders"),
    "fills": ("execution", "executions"),
    "outbox": ("outbox row", "outbox rows"),
    "commands": ("command", "commands"),
}


def age(value: str) -> timedelta:
    """The age that ``30d`` or ``12w`` spells. :raises click.BadParameter: it spells none, or less than a day."""
    found = _AGE.fullmatch(value.strip())
    if found is None:
        raise click.BadParameter(f"{value} is no age: write 30d for days, or 12w for weeks.")
    how_long = int(found[1]) * _UNITS[found[2]]
    if how_long < timedelta(days=1):
        raise click.BadParameter(f"{value} is too young: 1d is the least, for brokers repeat the day's executions.")
    return how_long


@click.command(short_help="Move what ended long ago from the store into files.")
@click.option(
    "--older-than",
    "older_than",
    type=age,
    metavar="AGE",
    required=True,
    help="What has not changed for so long: 30d (days) or 12w (weeks); 1d at least.",
)
@click.option(
    "--to",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the files go; else `archive` in EXEC_DATA_DIR.",
)
@click.option("--dry-run", is_flag=True, help="Only count; nothing is written or removed.")
@EMBEDDED
@JSON
def archive(older_than: timedelta, directory: Path | None, dry_run: bool, embedded: bool, as_json: bool) -> None:
    """Move ended orders with their executions, delivered outbox rows and answered commands into files.

    A repetition of an archived order's message is still recognised. Positions, confirmations and what waits for a
    person stay. It may run while the service does, and may be stopped at any moment.
    """
    import asyncio

    from exec_core.clock import utc_now

    from exec_service.archive_files import ArchiveFiles

    settings = chosen_settings(embedded)
    now = utc_now()
    files = None if dry_run else ArchiveFiles((directory or settings.exec_data_dir / "archive").resolve(), now)
    try:
        done = asyncio.run(_archive(settings, files, now - older_than))
        _report(done, files, as_json)
    finally:
        if files is not None:
            files.close()


async def _archive(settings: Settings, files: ArchiveFiles | None, before: datetime) -> Archiving:
    from exec_core.clock import utc_now

    from exec_service.archiving import Archiving
    from exec_service.journal import SchemaTooNew

    async with existing_store(settings) as store:
        archiving = Archiving(store, files, before, utc_now)
        try:
            await archiving.run()
        except SchemaTooNew as error:
            raise Failed(f"{error}.") from error
    return archiving


def _report(done: Archiving, files: ArchiveFiles | None, as_json: bool) -> None:
    from exec_service.cli.output import print_json, printable

    paths = {name: None if files is None else files.path(name) for name in done.done}
    if as_json:
        rows = [
            {
                "collection": item.collection,
                "documents": item.documents,
                "left": item.left,
                "file": None if (path := paths[item.collection]) is None else str(path),
            }
            for item in done.done.values()
        ]
        print_json(rows)
        return
    counted = [_counted(item.documents, *NAMES[item.collection]) for item in done.done.values()]
    what = f"{', '.join(counted[:-1])} and {counted[-1]}"
    click.echo(f"{'Would archive' if files is None else 'Archived'} {what}.")
    left = sum(item.left for item in done.done.values())
    if left:
        were = "order has" if left == 1 else "orders have"
        click.echo(f"{left:,} {were} changed meanwhile: the next run looks again.")
    for path in filter(None, paths.values()):
        click.echo(printable(str(path)))


def _counted(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
