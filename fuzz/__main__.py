"""Feed each target with changed seeds: `python -m fuzz [SECONDS [SEED]]`; a finding is kept in a file and exits 1."""

from __future__ import annotations

import faulthandler
import pkgutil
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import fuzz

_DEFAULT_S = 60.0
_LONGEST_S = 20  # for one input
_MOST_MEMORY = 4 << 30
_WORDS = (b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\1\0\0\0", b"\x80\0", b"\0\1")


class TooSlow(BaseException):
    """One input took too long; no Exception, which a target may take for the fault of its input."""


def main(seconds: float, seed: int) -> int:
    names = [found.name for found in pkgutil.iter_modules(fuzz.__path__) if not found.name.startswith("_")]
    targets = [import_module(f"fuzz.{name}") for name in names]
    warnings.simplefilter("ignore")
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    signal.signal(signal.SIGALRM, _give_up)
    results = [_run(target, seconds / len(targets), seed) for target in targets]
    return 0 if all(results) else 1


def _run(target: Any, seconds: float, seed: int) -> bool:
    """Feed one target; say how often, and whether all went well."""
    kept = Path(tempfile.gettempdir(), f"{target.__name__}.input")  # there too if a decoder ends the process
    ends_at, count = time.monotonic() + seconds, 0
    for data in _inputs(target.seeds(), random.Random(seed)):
        if time.monotonic() > ends_at:
            break
        kept.write_bytes(data)
        signal.alarm(_LONGEST_S)
        try:
            target.feed(data)
        except (Exception, TooSlow):
            traceback.print_exc()
            print(f"{target.__name__}: found after {count} inputs (seed {seed}): {kept}", file=sys.stderr)
            return False
        finally:
            signal.alarm(0)
        count += 1
    kept.unlink(missing_ok=True)
    print(f"{target.__name__}: {count} inputs in {seconds:.0f} s, nothing found (seed {seed})")
    return True


def _inputs(seeds: list[bytes], rng: random.Random) -> Iterator[bytes]:
    yield from seeds
    while True:
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((1, 1, 2, 4, 16))):
            rng.choice(_CHANGES)(data, seeds, rng)
        yield bytes(data)


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


def _splice(data: bytearray, seeds: list[bytes], rng: random.Random) -> None:
    other = rng.choice(seeds)
    at = rng.randrange(len(other) + 1)
    data[_place(data, rng) :] = other[at:]


_CHANGES: tuple[Callable[[bytearray, list[bytes], random.Random], None], ...] = (
    _overwrite, _overwrite, _flip, _flip, _cut_off, _cut_out, _repeat, _splice,
)  # fmt: skip


def _place(data: bytearray, rng: random.Random) -> int:
    """Give an offset, half of the time near the beginning, where the headers are."""
    return rng.randrange(min(len(data), 200) + 1) if rng.random() < 0.5 else rng.randrange(len(data) + 1)


def _give_up(*_: object) -> NoReturn:
    raise TooSlow(f"no end after {_LONGEST_S} s")


if __name__ == "__main__":
    seconds = float(sys.argv[1]) if sys.argv[1:] else _DEFAULT_S
    sys.exit(main(seconds, int(sys.argv[2]) if sys.argv[2:] else random.randrange(1 << 32)))
