"""Run every target in turn: `python -m fuzz SECONDS`, or one case again: `python -m fuzz --target NAME --seed N`."""

from __future__ import annotations

import argparse
import pkgutil
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from itertools import cycle
from pathlib import Path

LONGEST_S = 5.0  # that one case may take; they are small
Once = Callable[[random.Random], None]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz")
    parser.add_argument("seconds", nargs="?", type=float, default=0.0)
    parser.add_argument("--target", choices=_names())
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    names = [given.target] if given.target else _names()
    targets: dict[str, Once] = {name: import_module(f"fuzz.{name}").once for name in names}
    if given.target and given.seed is not None:
        return 0 if _holds(given.target, targets[given.target], given.seed) else 1
    return _run(
        targets,
        given.seconds,
        random.SystemRandom().getrandbits(32) if given.seed is None else given.seed,
    )


def _names() -> list[str]:
    """Every module of this folder is a target, but those with an underscore."""
    found = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in found if not module.name.startswith("_"))


def _run(targets: dict[str, Once], seconds: float, seed: int) -> int:
    seeds, counts, until = random.Random(seed), Counter[str](), time.monotonic() + seconds
    for name in cycle(targets):
        if time.monotonic() >= until:
            break
        if not _holds(name, targets[name], seeds.getrandbits(64)):
            return 1
        counts[name] += 1
    print(f"seed {seed}: " + ", ".join(f"{name} {counts[name]}" for name in targets))
    return 0


def _holds(name: str, once: Once, seed: int) -> bool:
    started = time.monotonic()
    try:
        once(random.Random(seed))
        took_s = time.monotonic() - started
        if took_s > LONGEST_S:
            raise AssertionError(f"it took {took_s:.1f} s")
    except Exception:
        traceback.print_exc()
        print(f"again: python -m fuzz --target {name} --seed {seed}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
