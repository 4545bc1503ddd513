"""How often the references of a JSON Schema lead to its parts, which is what validation costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Schema = dict[str, Any]

_IN_PLACE = {"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"}
_NAMED = {"properties", "patternProperties", "dependentSchemas"}  # objects whose values are schemas
_DEFINITIONS = {"$defs", "definitions"}
_REFERENCES = {"$ref", "$dynamicRef", "$recursiveRef"}


def count_visits(schema: Schema, most: int) -> int:
    """Return how many subschemas one place in a value meets, no more than `most` and one.

    `{"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}` meets `a` twice, and 20 definitions
    that each refer to the next in this way meet the last a million times. What holds in place adds
    up; of what holds for parts of the value (`items`, `properties`) the largest counts. A reference
    that leads back to itself counts once.
    """
    counted: dict[int, int] = {}
    path: list[tuple[Schema, list[Schema]]] = [(schema, _subschemas(schema, schema))]
    while path:
        node, left = path[-1]
        counted.setdefault(id(node), 1)
        if left:
            child = left.pop()
            if id(child) not in counted:
                path.append((child, _subschemas(child, schema)))
            continue
        path.pop()
        in_place = sum(counted[id(child)] for child in _in_place(node, schema))
        of_parts = max((counted[id(child)] for child in _of_parts(node)), default=0)
        counted[id(node)] = min(1 + in_place + of_parts, most + 1)
    return counted[id(schema)]


def _subschemas(node: Schema, root: Schema) -> list[Schema]:
    return [*_in_place(node, root), *_of_parts(node)]


def _in_place(node: Schema, root: Schema) -> Iterator[Schema]:
    for keyword in node.keys() & _IN_PLACE:
        yield from _schemas(keyword, node[keyword])
    for keyword in node.keys() & _REFERENCES:
        target = _target(root, node[keyword])
        if target is not None:
            yield target


def _of_parts(node: Schema) -> Iterator[Schema]:
    for keyword, value in node.items():
        if keyword not in _IN_PLACE and keyword not in _DEFINITIONS:
            yield from _schemas(keyword, value)


def _schemas(keyword: str, value: object) -> Iterator[Schema]:
    inside: Iterable[Any] = (value,)
    if isinstance(value, list):
        inside = value
    elif isinstance(value, dict) and keyword in _NAMED:
        inside = value.values()
    return (one for one in inside if isinstance(one, dict))


def _target(root: Schema, reference: object) -> Schema | None:
    """Return what a JSON pointer leads to; None for anchors and other documents."""
    if not isinstance(reference, str) or not (reference + "/").startswith("#/"):
        return None
    found: Any = root
    for step in reference.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None
