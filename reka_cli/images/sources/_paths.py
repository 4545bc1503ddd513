"""Files, folders, pipes and devices as sources, and what finding any source has to work with."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from reka_cli.escapes import one_line
from reka_cli.files import read, reading, show_path, wait_for
from reka_cli.images.content import LARGEST, Found, InMemory, OnDisk
from reka_cli.limits.deadline import Deadline

if TYPE_CHECKING:
    from reka_cli.transport import ConnectionPool

T = TypeVar("T")


@dataclass(frozen=True)
class Means:
    """What finding has beside the name: a deadline, standard input if it may be read, a log, connections."""

    deadline: Deadline | None = None
    stdin: Callable[[], bytes] | None = None
    log: Callable[[str], None] | None = None
    pool: Callable[[], ConnectionPool] | None = None

    def in_time(self, work: Callable[[], T], name: str) -> T:
        return wait_for(work, name, self.deadline)


def found_at(path: Path, means: Means) -> list[Found]:
    """Return the image at a path, or those in a folder; raise BadInput if it cannot be read."""
    with reading(path):
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return [found_file(path)]
        if not stat.S_ISDIR(mode):  # a pipe, a device
            return [Found(InMemory(read(path, LARGEST, means.deadline)), shown_name(path))]
        from reka_cli.images.sources._folders import pictures_in

        return [found_file(one) for one in means.in_time(lambda: pictures_in(path), show_path(path))]


def found_file(path: Path) -> Found:
    return Found(OnDisk.at(path), shown_name(path))


def shown_name(path: Path) -> str:
    return one_line(path.name) or "image"
