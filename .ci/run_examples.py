"""Runs every block marked ```python of the documents given, each as a script of its own in an empty directory.

Usage: run_examples.py DOCUMENT...
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATIENCE_SECONDS = 60


def run(document: Path) -> int:
    """Run the examples of one document; how many failed."""
    failed = 0
    text = document.read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        with tempfile.TemporaryDirectory() as directory:
            script = Path(directory, "example.py")
            script.write_text(block[1], encoding="utf-8")
            done = subprocess.run(
                [sys.executable, "-W", "error", script.name], cwd=directory, timeout=PATIENCE_SECONDS, check=False
            )
        print(f"{document}:{line}: exit code {done.returncode}")
        failed += done.returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(min(sum(run(Path(name)) for name in sys.argv[1:]), 1))
