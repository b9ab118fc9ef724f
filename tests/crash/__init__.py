"""Stops the service dead before and after each of its effects, one run for each, and checks what the next start makes
of it: see ``docs/crash-points.md``."""
