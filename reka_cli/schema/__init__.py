"""JSON Schemas of answers: `validator.py` validates an answer, `asking.py` asks once more."""

from __future__ import annotations

import json
from typing import Any

from reka_cli.errors import BadInput
from reka_cli.files import read as read_file
from reka_cli.limits.deadline import Deadline
from reka_cli.schema.validator import Validator

_LARGEST = 10 << 20  # bytes of a schema


def read(source: str, deadline: Deadline | None = None) -> dict[str, Any]:
    """Read a schema given as JSON or as the path of a file, a pipe until `deadline`; raise BadInput if it is none."""
    inline = source.lstrip().startswith("{")
    shown = "the schema" if inline else source
    try:
        text = source.encode() if inline else read_file(source, _LARGEST, deadline)
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{shown} is not whole JSON") from error
    return Validator(schema, shown).schema


def instruction(schema: dict[str, Any]) -> str:
    """Return a schema in words, for a protocol that has no field for it."""
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return f"\n\nAnswer with JSON only, valid against this JSON Schema:\n{text}"
