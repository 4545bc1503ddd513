"""Write the lowest versions that pyproject.toml allows to a file, as constraints for pip; see scripts/venv."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

_LOWER_BOUND = re.compile(r"([A-Za-z0-9._-]+)>=([0-9.]+)")
_TOOLS = "dev"  # the extra of the tests, whose versions no user of reka-cli meets


def main() -> None:
    """Write the constraints to the file that the first argument names."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    requirements = list(project["dependencies"])
    for name, required in extras.items():
        if name != _TOOLS:
            requirements += required
    Path(sys.argv[1]).write_text("".join(f"{_lowest(one)}\n" for one in requirements))


def _lowest(requirement: str) -> str:
    match = _LOWER_BOUND.match(requirement)
    if match is None:
        sys.exit(f"{requirement} in pyproject.toml has no lower bound")
    return f"{match[1]}=={match[2]}"


if __name__ == "__main__":
    main()
