"""Report how dense each file of the package is: `scripts/check --density`. A mirror, not a gate.

For each file: lines of code, tokens on nine of ten lines at most (p90), and comprehensions, walruses,
conditional expressions and lambdas per 100 lines. httpx, rich and nox have a p90 of about 12, and
fewer than 3 such expressions per 100 lines.
"""

from __future__ import annotations

import ast
import sys
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
_EXPRESSIONS = (
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.NamedExpr,
    ast.IfExp,
    ast.Lambda,
)
_IGNORED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
_IGNORED |= {tokenize.ENCODING, tokenize.ENDMARKER}


def main() -> None:
    """Print one line for each file, the densest first."""
    rows = [measure(path) for path in sorted((ROOT / "reka_cli").rglob("*.py"))]
    rows = sorted((row for row in rows if row[0]), key=lambda row: (-row[1], -row[2]))
    sys.stdout.write("lines  p90  expressions per 100 lines\n")
    for lines, p90, expressions, path in rows:
        sys.stdout.write(f"{lines:5}  {p90:3}  {expressions:5.1f}  {path.relative_to(ROOT)}\n")


def measure(path: Path) -> tuple[int, int, float, Path]:
    """Return lines of code, tokens a line (p90), expressions per 100 lines, and the path."""
    with tokenize.open(path) as file:
        tokens = Counter(
            token.start[0]
            for token in tokenize.generate_tokens(file.readline)
            if token.type not in _IGNORED
        )
    counts = sorted(tokens.values())
    tree = ast.parse(path.read_text())
    found = sum(isinstance(node, _EXPRESSIONS) for node in ast.walk(tree))
    p90 = counts[len(counts) * 9 // 10] if counts else 0
    return len(counts), p90, 100 * found / max(len(counts), 1), path


if __name__ == "__main__":
    main()
