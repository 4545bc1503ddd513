"""What a package offers, one file each: commands, providers, formats, image sources, cookie formats.

A file whose name begins with an underscore is shared by the others and offers nothing itself.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType


def names_in(package: ModuleType) -> tuple[str, ...]:
    """Return the names of the modules in a package, sorted; none of them is imported.

    Not with `pkgutil`, whose import takes longer than everything here.
    """
    paths = [path for folder in package.__path__ for path in Path(folder).iterdir()]
    names = {path.name.removesuffix(".py") for path in paths}
    return tuple(sorted(name for name in names if name.isidentifier() and not name.startswith("_")))


def load(package: ModuleType, name: str) -> ModuleType:
    """Import a module of a package."""
    return import_module(f"{package.__name__}.{name}")
