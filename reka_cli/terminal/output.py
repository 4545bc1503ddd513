"""The name of the file that `-o` writes, from its pattern."""

from __future__ import annotations

import re
import time
from pathlib import Path

from reka_cli.errors import BadInput, UsageError
from reka_cli.files import show_path

FIELDS = ("date", "time", "name", "stem")

_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


def check_pattern(pattern: str) -> None:
    """Raise UsageError if the pattern of an output file has a field that does not exist."""
    for match in _FIELD.finditer(pattern):
        field = match[1]
        if field is not None and field not in FIELDS:
            known = ", ".join(f"{{{one}}}" for one in FIELDS)
            raise UsageError(
                f"-o has no field {match[0]!r}",
                hint=f"use {known}; {{{{ and }}}} are literal braces",
            )


def output_path(pattern: str, image_name: str | None) -> Path:
    """Return the path that a pattern means.

    `{date}` and `{time}` are local; `{name}` is the name of the first image, and `{stem}` the same
    without its suffix. The name of an image leads to no other folder. Raises BadInput if the
    result is not the name of a file.
    """
    check_pattern(pattern)
    now = time.localtime()
    name = (image_name or "").rpartition("/")[2].lstrip(".") or "answer"
    values = {
        "date": time.strftime("%Y-%m-%d", now),
        "time": time.strftime("%H-%M-%S", now),
        "name": name,
        "stem": _without_suffix(name),
    }

    def value(match: re.Match[str]) -> str:
        return match[0][0] if match[1] is None else values[match[1]]

    filled = _FIELD.sub(value, pattern)
    if not filled or filled.endswith("/"):  # Path would take `answers/` for a file of that name
        raise BadInput(f"cannot write {show_path(filled)!r}: not the name of a file")
    return Path(filled)


def _without_suffix(name: str) -> str:
    """Remove the suffix of a file name; `#page=2` of a document stays."""
    file_name, mark, fragment = name.partition("#")
    return Path(file_name).stem + mark + fragment
