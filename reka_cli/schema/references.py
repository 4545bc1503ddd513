"""How often the references of a JSON Schema lead to its parts, which is what validation costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

Schema = dict[str, Any]
_Place = tuple[int, int | None]  # the id of a subschema, and the levels of the value below it

_IN_PLACE = {"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"}
_NAMED = {"properties", "patternProperties", "dependentSchemas"}  # objects whose values are schemas
_DEFINITIONS = {"$defs", "definitions"}
_REFERENCES = {"$ref", "$dynamicRef", "$recursiveRef"}


def count_visits(schema: Schema, most: int, levels: int | None = None) -> int:
    """Return how many subschemas one place in a value meets, no more than `most` and one.

    `{"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}` meets `a` twice, and 20 definitions
    that each refer to the next in this way meet the last a million times. What holds in place adds
    up; of what holds for parts of the value (`items`, `properties`) the largest counts. A reference
    that leads back to itself counts once for each of the `levels` that the value has; without
    `levels`, once in all.
    """
    counted: dict[_Place, int] = {}
    root = (id(schema), levels)
    path = [(root, schema, _places_inside(schema, schema, levels))]
    while path:
        place, node, left = path[-1]
        counted.setdefault(place, 1)
        if left:
            child, inside = left.pop()
            if inside not in counted:
                path.append((inside, child, _places_inside(child, schema, inside[1])))
            continue
        path.pop()
        here, below = place[1], _level_below(place[1])
        in_place = sum(counted[id(child), here] for child in _in_place(node, schema))
        of_parts = max((counted.get((id(child), below), 0) for child in _of_parts(node)), default=0)
        counted[place] = min(1 + in_place + of_parts, most + 1)
    return counted[root]


def _places_inside(node: Schema, root: Schema, levels: int | None) -> list[tuple[Schema, _Place]]:
    found = [(child, (id(child), levels)) for child in _in_place(node, root)]
    if levels != 0:
        below = _level_below(levels)
        found += [(child, (id(child), below)) for child in _of_parts(node)]
    return found


def _level_below(levels: int | None) -> int | None:
    return None if levels is None else levels - 1


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
