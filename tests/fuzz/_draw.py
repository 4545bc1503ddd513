"""How random input is drawn: from parts that mean something, cut anywhere, and with a few bytes changed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T", str, bytes)


def joined(data: random.Random, parts: Sequence[T], most: int = 30) -> T:
    return parts[0][:0].join(data.choices(parts, k=data.randrange(most)))


def cut(data: random.Random, whole: T) -> list[T]:
    """Cut anywhere, byte by byte now and then; some pieces are empty."""
    if data.random() < 0.1:
        return [whole[index : index + 1] for index in range(len(whole))]
    places = sorted(data.randint(0, len(whole)) for _ in range(data.randrange(12)))
    return [whole[begin:end] for begin, end in pairwise([0, *places, len(whole)])]


def mutated(data: random.Random, sample: bytes, words: Sequence[bytes] = ()) -> bytes:
    """Change, drop, repeat and insert here and there."""
    changed = bytearray(sample)
    for _ in range(data.randrange(8)):
        begin = data.randrange(len(changed) + 1)
        end = min(len(changed), begin + data.choice((1, 1, 2, 8, 64)))
        match data.randrange(5):
            case 0:
                changed[begin:end] = data.randbytes(end - begin)
            case 1:
                del changed[begin:end]
            case 2:
                changed[begin:begin] = bytes(changed[begin:end]) * data.choice((1, 2, 100, 2000))
            case 3 if words:
                changed[begin:begin] = data.choice(words) * data.choice((1, 1, 2, 2000))
            case _:
                del changed[begin:]
    return bytes(changed)
