"""The name of the file that `-o` writes, from its pattern."""

from __future__ import annotations

import time
from pathlib import Path


def output_path(pattern: str, image_name: str | None) -> Path:
    """Return the path that a pattern means.

    `{date}` and `{time}` are local; `{name}` is the name of the first image without its suffix.
    """
    now = time.localtime()
    name = Path(image_name or "answer").stem.replace("/", "_").lstrip(".") or "answer"
    filled = pattern.replace("{date}", time.strftime("%Y-%m-%d", now))
    filled = filled.replace("{time}", time.strftime("%H-%M-%S", now))
    return Path(filled.replace("{name}", name))
