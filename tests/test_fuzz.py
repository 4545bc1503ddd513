"""The targets of fuzz/ run, a little each; `scripts/check --fuzz SECONDS` runs them for longer."""

from __future__ import annotations

import random
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from conftest import ROOT

NAMES = [path.stem for path in sorted((ROOT / "tests/fuzz").glob("[a-z]*.py"))]


@pytest.mark.parametrize("name", NAMES)
def test_a_target_holds_for_a_few_seeds(name: str) -> None:
    once = import_module(f"fuzz.{name}").once
    for seed in range(20):
        once(random.Random(seed))


def test_what_fails_is_told_with_its_seed(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import fuzz.sse\nfuzz.sse.once = lambda data: 1 / 0\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "fuzz", "5", "--target", "sse", "--seed", "7"],
        cwd=ROOT / "tests",
        env={"PYTHONPATH": f"{tmp_path}:{ROOT}/tests:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 1
    assert ended.stderr.endswith(
        "ZeroDivisionError: division by zero\nagain: python -m fuzz --target sse --seed 7\n"
    )
