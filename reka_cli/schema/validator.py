"""The validation of an answer against a JSON Schema.

The package `jsonschema-rs` does it, in every thread, and fetches nothing. It holds the lock of the
interpreter meanwhile, so neither Ctrl-C nor a deadline can end it. Patterns, references, depth and
the search for what is wrong are limited instead.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from reka_cli.errors import BadInput
from reka_cli.schema.references import Schema, count_visits

if TYPE_CHECKING:
    from jsonschema_rs import ValidationError
    from jsonschema_rs import Validator as Compiled

_DEEPEST = 200  # levels of a value; some thousand overflow the native stack
_MOST_STEPS = 100_000  # of backtracking, for one pattern in one string: about 3 ms
_LARGEST_PATTERN = 2 << 20  # bytes of a compiled pattern; the time it takes grows with them
_MOST_VISITS = 10_000  # for an answer that is not valid: up to 0.3 s
_ALL_ERRORS = 200_000  # visits times characters up to which every error is looked for: up to 1 s
_FIRST_ERROR = 5_000_000  # and up to which the first is, with those of its alternatives: up to 5 s
_LONGEST_PROBLEM = 300
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"


class Validator:
    """A compiled schema, which threads may share; raises BadInput for what cannot be one."""

    def __init__(self, schema: object, shown: str = "the schema") -> None:
        if not isinstance(schema, dict):
            raise BadInput(f"{shown} is not a JSON Schema: it is not an object")
        if count_visits(schema, _MOST_VISITS) > _MOST_VISITS:
            count = f"more than {_MOST_VISITS:,} schemas"
            raise BadInput(f"{shown} is too large: its references lead to {count}")
        self.schema: Schema = schema
        self._compiled = _compile(schema, shown)

    def find_problem(self, text: str) -> str | None:
        """Return what is wrong with a text and where; None if it is valid JSON."""
        try:
            value = json.loads(text, parse_constant=_reject_number, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            return f"it is not JSON ({_one_line(str(error))})"
        levels = _count_levels(value)
        if levels > _DEEPEST:
            return f"it is nested more than {_DEEPEST} levels deep"
        try:
            return self._validate(value, levels, len(text))
        except UnicodeEncodeError:
            return "it has half a surrogate pair in a string"
        except ValueError as error:
            return f"it cannot be validated ({_one_line(str(error))})"

    def _validate(self, value: object, levels: int, size: int) -> str | None:
        from jsonschema_rs import ValidationError

        if self._compiled.is_valid(value):  # quick: what a reference came to is kept
            return None
        work = size * count_visits(self.schema, _FIRST_ERROR, levels)
        if work > _FIRST_ERROR:
            return "it does not match the schema, and is too large to say where"
        if work <= _ALL_ERRORS:
            return _describe(_most_useful(self._compiled.iter_errors(value)))
        try:
            self._compiled.validate(value)
        except ValidationError as first:
            return _describe(_most_useful([first]))
        return None


def _compile(schema: Schema, shown: str) -> Compiled:
    import jsonschema_rs

    options: dict[str, Any] = {
        "offline": True,
        "validate_formats": False,
        "pattern_options": jsonschema_rs.FancyRegexOptions(_MOST_STEPS, _LARGEST_PATTERN),
    }
    try:
        json.dumps(schema)
        try:
            return jsonschema_rs.validator_for(schema, **options)
        except jsonschema_rs.ValidationError as error:
            if not error.message.startswith("Unknown meta-schema"):
                raise
        return jsonschema_rs.Draft202012Validator(schema, **options)
    except jsonschema_rs.ValidationError as error:
        if error.kind.name == "$ref":
            missing = _one_line(error.message.partition(" is not present in a registry")[0])
            raise BadInput(f"the schema refers to what is not in it: {missing}") from error
        raise BadInput(f"{shown} is not a JSON Schema: {_describe(error)}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise BadInput(f"{shown} is not a JSON Schema that can be used") from error


def _most_useful(errors: Iterable[ValidationError]) -> ValidationError:
    """Return the error nearest to the root, or that of the one alternative that was meant."""
    error = min(errors, key=_rank)
    while _has_alternatives(error):
        alternatives: list[list[ValidationError]] = error.kind.context  # type: ignore[attr-defined]
        meant = [one for one in alternatives if one and not any(map(_is_of_another_kind, one))]
        if len(meant) != 1:
            break
        error = min(meant[0], key=_rank)
    return error


def _rank(error: ValidationError) -> tuple[int, bool]:
    return len(error.instance_path), _has_alternatives(error)


def _has_alternatives(error: ValidationError) -> bool:
    return error.kind.name in ("anyOf", "oneOf")


def _is_of_another_kind(error: ValidationError) -> bool:
    return error.kind.name in ("type", "const", "enum")


def _describe(error: ValidationError) -> str:
    message = error.message
    if error.kind.name == "format":  # in a schema alone: that of an answer is not checked
        message = f"{json.dumps(error.instance, ensure_ascii=False)} cannot be used as a pattern"
    return f"{_one_line(message)} (at {_json_path(error.instance_path)})"


def _json_path(path: Iterable[str | int]) -> str:
    def step(one: str | int) -> str:
        if isinstance(one, int):
            return f"[{one}]"
        return f".{one}" if re.fullmatch(_NAME, one) else f"[{json.dumps(one, ensure_ascii=False)}]"

    return "$" + "".join(map(step, path))


def _count_levels(value: object) -> int:
    """Return how many levels of lists and objects a value has, at most _DEEPEST and one."""
    level = [value]
    for levels in range(_DEEPEST + 1):
        level = [child for one in level for child in _children(one)]
        if not level:
            return levels
    return _DEEPEST + 1


def _children(value: object) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _reject_number(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _reject_number(digits)


def _one_line(text: str) -> str:
    """Join lines; a long text keeps both ends: first comes the value, last the rule."""
    line = " ".join(text.split())
    if len(line) <= _LONGEST_PROBLEM:
        return line
    half = _LONGEST_PROBLEM // 2
    return f"{line[:half]}…{line[1 - half :]}"
