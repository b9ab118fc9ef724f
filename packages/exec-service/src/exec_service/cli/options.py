"""Options that several commands share."""

from __future__ import annotations

import click

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON only.")
LEG = click.option("--leg", type=click.IntRange(min=0), metavar="N", help="Only the order with this leg_index.")
#: Which store and bus a command looks at; see `reading.chosen_settings`.
EMBEDDED = click.option(
    "--embedded", is_flag=True,
    help="Use the store and the bus in EXEC_DATA_DIR, those of `run --embedded`, although MONGODB_URI is set. "
    "Without MONGODB_URI they are used anyway.",
)  # fmt: skip
