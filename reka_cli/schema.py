"""An answer held to a JSON Schema: asked for, unwrapped, validated here, asked for once more."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from reka_cli.deadline import Deadline
from reka_cli.errors import BadInput
from reka_cli.files import read as read_file
from reka_cli.interruption import breaking_off
from reka_cli.messages import ChatRequest, Done, Events, Message, Notice, Start, TextDelta, Usage

Schema = dict[str, Any]

_FENCE = r"(?s)```(?:[A-Za-z]+(?=\s|[\[{\"]))?(.*)```"
_LARGEST = 10 << 20  # bytes of a schema


def read(source: str, deadline: Deadline | None = None) -> Schema:
    """Read a schema given as JSON or as the path of a file, a pipe until `deadline`; raise BadInput if it is none."""
    inline = source.lstrip().startswith("{")
    shown = "the schema" if inline else source
    try:
        text = source.encode() if inline else read_file(source, _LARGEST, deadline)
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{shown} is not whole JSON") from error
    return check(schema, shown)


def check(schema: object, shown: str = "the schema") -> Schema:
    """Give a schema back; raise BadInput if it is none."""
    if not isinstance(schema, dict):
        raise BadInput(f"{shown} is not a JSON Schema: it is no object")
    import jsonschema

    try:
        json.dumps(schema)
        jsonschema.validators.validator_for(schema).check_schema(schema)
    except jsonschema.SchemaError as error:
        raise BadInput(f"{shown} is not a JSON Schema: {_one_line(error.message)}") from error
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadInput(f"{shown} is not a JSON Schema that can be used") from error
    return schema


def instruction(schema: Schema) -> str:
    """Put a schema into words, for a wire that has no place for it."""
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return f"\n\nAnswer with JSON only, valid against this JSON Schema:\n{text}"


def held(ask: Callable[[ChatRequest], Events], request: ChatRequest, deadline: Deadline) -> Events:
    """Ask for an answer that is valid against `request.schema`, once more if the first is not; give it in one delta.

    An answer that is not valid the second time is given too, with the finish reason "invalid".
    """
    schema = request.schema or {}
    text, spent = "", []
    for attempt in (1, 2):
        pieces, done = [], Done(None)
        for event in ask(request):
            match event:
                case TextDelta(piece):
                    pieces.append(piece)
                case Usage():
                    spent.append(event)
                case Done():
                    done = event
                case Start() if attempt == 2:
                    pass
                case _:
                    yield event
        text = _unwrapped("".join(pieces) if done.text is None else done.text)
        with breaking_off(deadline):  # a pattern may take for ever
            problem = _problem(text, schema)
        if done.finish_reason != "stop" or problem is None:
            break
        done = Done("invalid")
        if attempt == 1:
            yield Notice(f"the answer is not valid: {problem}; asking once more", is_retry=True)
        request = _repair(request, text, problem)
    yield TextDelta(text)
    yield from _sum(spent)
    yield Done(done.finish_reason, model_served=done.model_served)


def _repair(request: ChatRequest, text: str, problem: str) -> ChatRequest:
    again = f"That is not valid: {problem}. Answer again, with nothing but the corrected JSON."
    return replace(request, messages=(*request.messages, Message("assistant", text), Message("user", again)))


def _unwrapped(text: str) -> str:
    """Take a code fence away."""
    fenced = re.fullmatch(_FENCE, text.strip())
    return fenced[1].strip() if fenced else text.strip()


def _problem(text: str, schema: Schema) -> str | None:
    import jsonschema
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        value = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        return f"it is not JSON ({_one_line(str(error))})"
    validator = jsonschema.validators.validator_for(schema)(schema, registry=Registry())  # which fetches nothing
    try:
        best = jsonschema.exceptions.best_match(validator.iter_errors(value))
    except Unresolvable as error:
        raise BadInput(f"the schema refers to what is not in it: {_one_line(str(error))}") from error
    except (RecursionError, OverflowError):
        return "it is nested too deeply, or holds a number too large"
    return f"{_one_line(best.message)} (at {best.json_path})" if best else None


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _no_number(digits)


def _sum(spent: list[Usage]) -> list[Usage]:
    def total(values: list[Any]) -> Any:
        return None if None in values else sum(values)

    if not spent:
        return []
    columns = ([getattr(one, name) for one in spent] for name in ("input_tokens", "output_tokens", "cost_usd"))
    return [Usage(*map(total, columns))]


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
