"""Write the parts of the documents that are made from the program: tables, lists of values, the import diagram."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import reference

from reka_cli import providers
from reka_cli.exit_codes import exit_codes

ROOT = Path(__file__).parent.parent
DOCUMENTS = (ROOT / "docs/json.md", ROOT / "docs/layout.md")
REFERENCE = ROOT / "docs/reference.md"
_WIDTH = 118


def update(text: str) -> str:
    """Return a document with its generated parts as they should be."""
    text = _replace(text, "imports", import_diagram())
    text = re.sub(
        r'("provider": \{"enum": )\[[^]]*\]',
        lambda found: found[1] + json.dumps(providers.names()),
        text,
    )
    return re.sub(
        r'("code": \{"enum": )\[[^]]*\]', lambda found: found[1] + _wrapped(error_codes()), text
    )


def error_codes() -> list[str]:
    """Return the code of each error that ends the program, by exit code."""
    return [one.code for one in exit_codes() if one.code]


def import_diagram() -> str:
    """Return the layers of the import contract, from the top down."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    lines = [""]
    for layer in layers:
        step = f"-> {layer} " if lines != [""] else f"{layer} "
        if len(lines[-1]) + len(step) > _WIDTH:
            lines.append("    ")
        lines[-1] += step
    return "\n".join(["```", *(line.rstrip() for line in lines), "```"])


def main() -> None:
    for path in DOCUMENTS:
        path.write_text(update(path.read_text()))
    REFERENCE.write_text(reference.document())


def _replace(text: str, name: str, content: str) -> str:
    pattern = rf"(<!-- {name}: made by scripts/docs -->\n).*?(<!-- end -->)"
    return re.sub(pattern, lambda found: f"{found[1]}{content}\n{found[2]}", text, flags=re.DOTALL)


def _wrapped(values: list[str]) -> str:
    lines, line = [], "["
    for value in values:
        piece = json.dumps(value) + ("]" if value == values[-1] else ", ")
        if len(line) + len(piece) > 100:
            lines.append(line.rstrip())
            line = "          "
        line += piece
    return "\n".join([*lines, line])


if __name__ == "__main__":
    sys.exit(main())
