"""`reka-cli` with one more file in one of its packages, as somebody adds a command or a provider."""

from __future__ import annotations

import sys
from pathlib import Path

_RUN = """\
import importlib
import sys

from reka_cli import cli

importlib.import_module(sys.argv[1]).__path__.append(sys.argv[2])
sys.argv = ["reka-cli", *sys.argv[3:]]
cli.entry()
"""


def with_file(folder: Path, package: str, name: str, code: str) -> list[str]:
    """Write a module, and return the command that runs `reka-cli` with it in a package."""
    (folder / f"{name}.py").write_text(code)
    return [sys.executable, "-c", _RUN, f"reka_cli.{package}", str(folder)]
