"""Options that several commands share."""

from __future__ import annotations

import click

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON only.")
LEG = click.option("--leg", type=click.IntRange(min=0), metavar="N", help="Only the order with this leg_index.")
