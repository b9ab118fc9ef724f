"""Prints `docs/conformance-teeth.md`: ``PYTHONPATH=tests python -m teeth > docs/conformance-teeth.md``."""

from teeth.page import page

print(page(), end="")
