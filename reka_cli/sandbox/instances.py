"""JSON that satisfies a JSON Schema, and JSON that does not, for the answers that are to be JSON; pure.

Source: JSON Schema 2020-12, of which it knows what the schemas of programs are made of: the types with their bounds,
`enum`, `const`, `anyOf`, `oneOf`, `allOf`, `prefixItems` and references inside the schema. No `pattern`, no `format`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

# What reka-cli puts between a question and its schema where the protocol has no field for it.
MARK = "\nAnswer with JSON only, valid against this JSON Schema:\n"


def schema_in(text: str) -> Any:
    """Give the schema that a question asks for in words; None if it asks for none."""
    _, mark, rest = ("\n" + text).rpartition(MARK)
    if not mark:
        return None
    try:
        return json.loads(rest)
    except ValueError:
        return None


def valid_json(schema: Any) -> str:
    """Give JSON that satisfies the schema; raise ValueError if the schema is none, or nothing small satisfies it."""
    try:
        return json.dumps(_instance(schema, schema, frozenset({"#"})), ensure_ascii=False)
    except (TypeError, AttributeError, LookupError, ArithmeticError, RecursionError) as error:
        raise ValueError("the sandbox cannot read this schema") from error


def fenced_json(schema: Any) -> str:
    return f"```json\n{valid_json(schema)}\n```"


def invalid_json(schema: Any) -> str:
    """Give JSON of another type than is due, or of an object what is not enough."""
    instance = json.loads(valid_json(schema))
    if not isinstance(instance, dict):
        return '{"sandbox": "an object where none is due"}'
    resolved = _resolve(schema, schema)
    return "{}" if resolved.get("required") else '"a string where an object is due"'


class _Endless(ValueError):
    """A reference leads back to itself."""


def _instance(schema: Any, root: Any, seen: frozenset[str]) -> Any:
    if schema is True or schema == {}:
        return "sandbox"
    if not isinstance(schema, dict):
        raise ValueError(f"a schema is an object, not {schema!r}")
    if reference := schema.get("$ref"):
        if reference in seen:
            raise _Endless(f"{reference} needs itself")
        return _instance(_target(reference, root), root, seen | {reference})
    if "const" in schema or schema.get("enum"):
        return schema["const"] if "const" in schema else schema["enum"][0]
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return _first_possible(choices, root, seen)
    if "allOf" in schema:
        return _instance(_merge(schema, root), root, seen)
    return _of_type(schema, root, seen)


def _of_type(schema: dict[str, Any], root: Any, seen: frozenset[str]) -> Any:
    match _type(schema):
        case "object":
            return dict(_members(schema, root, seen))
        case "array":
            return _items(schema, root, seen)
        case "string":
            return "sandbox".ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]
        case "integer" | "number" as kind:
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return True
        case "null":
            return None
        case unknown:
            raise ValueError(f"there is no type {unknown!r}")


def _type(schema: dict[str, Any]) -> Any:
    kind = schema.get("type") or (
        "object" if "properties" in schema else "array" if "items" in schema else "string"
    )
    return kind[0] if isinstance(kind, list) else kind


def _members(schema: dict[str, Any], root: Any, seen: frozenset[str]) -> Iterator[tuple[str, Any]]:
    properties, required = schema.get("properties", {}), schema.get("required", [])
    for name in dict.fromkeys([*properties, *required]):
        try:
            yield name, _instance(properties.get(name, True), root, seen)
        except _Endless:
            if name in required:
                raise


def _items(schema: dict[str, Any], root: Any, seen: frozenset[str]) -> list[Any]:
    items = [_instance(one, root, seen) for one in schema.get("prefixItems", [])]
    least = schema.get("minItems", 0)
    try:
        while len(items) < min(max(least, 1), schema.get("maxItems", math.inf)):
            items.append(_instance(schema.get("items", True), root, seen))
    except _Endless:
        if len(items) < least:
            raise
    return items


def _number(schema: dict[str, Any], *, whole: bool) -> Any:
    low = max(schema.get(bound, -math.inf) for bound in ("minimum", "exclusiveMinimum"))
    high = min(schema.get(bound, math.inf) for bound in ("maximum", "exclusiveMaximum"))
    open_ends = [schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")]
    step = schema.get("multipleOf", 1 if whole else None)
    for number in filter(math.isfinite, (1, 0, low, high, low + 1, high - 1, (low + high) / 2)):
        found = math.ceil(number / step) * step if step else number
        if low <= found <= high and found not in open_ends:
            return found
    raise ValueError(f"no small number satisfies {schema!r}")


def _first_possible(schemas: list[Any], root: Any, seen: frozenset[str]) -> Any:
    for schema in schemas[:-1]:
        try:
            return _instance(schema, root, seen)
        except _Endless:
            continue
    return _instance(schemas[-1], root, seen)


def _merge(schema: dict[str, Any], root: Any) -> dict[str, Any]:
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for part in (_resolve(one, root) for one in schema["allOf"]):
        properties = merged.get("properties", {}) | part.get("properties", {})
        required = [*merged.get("required", []), *part.get("required", [])]
        merged |= part | ({"properties": properties, "required": required} if properties else {})
    return merged


def _resolve(schema: Any, root: Any) -> dict[str, Any]:
    """Follow references to a schema that is an object."""
    passed = set()
    while isinstance(schema, dict) and "$ref" in schema and schema["$ref"] not in passed:
        passed.add(schema["$ref"])
        schema = _target(schema["$ref"], root)
    return schema if isinstance(schema, dict) else {}


def _target(reference: Any, root: Any) -> Any:
    """Follow a JSON pointer (RFC 6901) inside the schema."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        raise ValueError(f"the sandbox follows no reference to {reference!r}")
    target = root
    for escaped in reference.split("/")[1:]:
        name = escaped.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, dict) or name not in target:
            raise ValueError(f"there is no {reference} in the schema")
        target = target[name]
    return target
