"""The name of the file that `-o` writes, from its pattern."""

from __future__ import annotations

import time
from pathlib import Path

from reka_cli.errors import BadInput
from reka_cli.files import show_path


def output_path(pattern: str, image_name: str | None) -> Path:
    """Return the path that a pattern means.

    `{date}` and `{time}` are local; `{name}` is the name of the first image without its suffix.
    Raises BadInput for the name of a folder, and for none.
    """
    now = time.localtime()
    name = Path(image_name or "answer").stem.replace("/", "_").lstrip(".") or "answer"
    filled = pattern.replace("{date}", time.strftime("%Y-%m-%d", now))
    filled = filled.replace("{time}", time.strftime("%H-%M-%S", now))
    filled = filled.replace("{name}", name)
    if not filled or filled.endswith("/"):  # Path would take `answers/` for a file of that name
        raise BadInput(f"cannot write {show_path(filled)!r}: not the name of a file")
    return Path(filled)
