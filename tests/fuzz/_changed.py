"""A sample with some of its bytes changed, as a fuzzer does it."""

from __future__ import annotations

import random
from collections.abc import Callable

_WORDS = (
    b"\0",
    b"\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\1\0\0\0",
    b"\x80\0",
    b"\0\1",
)


def changed(samples: list[bytes], rng: random.Random) -> bytes:
    """Give one of the samples after a few changes."""
    data = bytearray(rng.choice(samples))
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        rng.choice(_CHANGES)(data, samples, rng)
    return bytes(data)


def _overwrite(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    word, at = rng.choice(_WORDS), _place(data, rng)
    data[at : at + len(word)] = word


def _flip(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    if data:
        data[_place(data, rng) - 1] ^= 1 << rng.randrange(8)


def _cut_off(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    del data[_place(data, rng) :]


def _cut_out(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    at = _place(data, rng)
    del data[at : at + rng.randrange(64)]


def _repeat(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    at, to = _place(data, rng), _place(data, rng)
    data[to:to] = data[at : at + rng.randrange(200)]


def _splice(data: bytearray, samples: list[bytes], rng: random.Random) -> None:
    other = rng.choice(samples)
    at = rng.randrange(len(other) + 1)
    data[_place(data, rng) :] = other[at:]


_CHANGES: tuple[Callable[[bytearray, list[bytes], random.Random], None], ...] = (
    _overwrite, _overwrite, _flip, _flip, _cut_off, _cut_out, _repeat, _splice,
)  # fmt: skip


def _place(data: bytearray, rng: random.Random) -> int:
    """Give an offset, half of the time near the beginning, where the headers are."""
    return (
        rng.randrange(min(len(data), 200) + 1)
        if rng.random() < 0.5
        else rng.randrange(len(data) + 1)
    )
