"""What an answer costs against its size, and how that grows: the slope of its logarithm at the upper end."""

from __future__ import annotations

import math
import os
import statistics
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import Row, Section
from benchmarks.commands import IMPORTS, Commands
from benchmarks.processes import (
    Command,
    Cost,
    Server,
    cpu,
    in_turns,
    middle,
    peak,
    reap,
    run,
    serving,
    start,
    wall,
)

_LIMIT = 1.1
_SQUARE = 2.1  # where the protocol itself sends the text so far with each event
_SPAN = 12.0  # the sizes that count as the upper end: up to so much smaller than the largest

Make = Callable[[int], Command]
Crowds = dict[int, list[Cost]]  # what so many processes cost together, each time


@dataclass(frozen=True)
class Sweep:
    """One quantity: what it costs is looked at for each size, beyond what the smallest question costs."""

    name: str
    sizes: Sequence[int]
    shown: Callable[[int], str]
    command: Make
    limit: float = _LIMIT


def measure(*, quick: bool) -> Section:
    """Run every size in turns, sweep by sweep."""
    rounds = 3 if quick else 4
    lines = [
        "| what grows | size | CPU, ms, least | time, ms | memory, MiB |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    found = []
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        commands = Commands(server, Path(folder))
        for sweep in _sweeps(commands, Path(folder), quick=quick):
            least = {"": commands.web("n=1") if "web" in sweep.name else commands.api("n=1")}
            sized = {sweep.shown(size): sweep.command(size) for size in sweep.sizes}
            costs = in_turns(least | sized, rounds, server)
            found.append(_row(sweep, costs))
            lines += _lines(sweep.name, {name: costs[name] for name in sized})
        counts = (4, 16) if quick else (1, 2, 4, 8, 16, 32, 64)
        ours, imports = _together(
            [commands.web(), commands.python(IMPORTS)], counts, rounds, server
        )
    found.append(_crowding(ours, imports))
    for name, crowds in (("processes at once", ours), (f"`{IMPORTS}` at once", imports)):
        lines += _lines(name, {str(count): costs for count, costs in crowds.items()})
    return Section(found, ["\n".join(lines)])


def _sweeps(commands: Commands, folder: Path, *, quick: bool) -> list[Sweep]:
    def with_images(count: int) -> Command:
        return commands.api("n=1", "-i", str(_images(folder, count)))

    def with_image(protocol: Callable[..., Command]) -> Make:
        return lambda size: protocol(
            "n=1", "--max-side", "0", "-i", str(_image(folder / f"{size}.png", size))
        )

    sizes = (
        (8_000_000, 48_000_000)
        if quick
        else (100_000, 1_000_000, 4_000_000, 16_000_000, 48_000_000)
    )
    return [
        Sweep(
            "length of the answer, API, 200 events",
            (2_000_000, 10_000_000) if quick else (1_000, 10_000, 50_000, 200_000, 2_000_000),
            lambda size: f"{size // 1000} KB",
            lambda size: commands.api(f"n=200,size={size // 200}"),
        ),
        Sweep(
            "events, API",
            (4_000, 20_000) if quick else (100, 1_000, 10_000, 30_000, 100_000),
            lambda size: f"{size:,}",
            lambda size: commands.api(f"n={size}"),
        ),
        Sweep(
            "events, web session (each has the text so far)",
            (2_000, 4_000) if quick else (500, 1_000, 2_000, 4_000, 8_000),
            lambda size: f"{size:,}",
            lambda size: commands.web(f"n={size}"),
            _SQUARE,
        ),
        Sweep(
            "images of 1 MB, made smaller, API",
            (10, 100) if quick else (1, 3, 10, 30, 100),
            str,
            with_images,
        ),
        Sweep("size of an image, API", sizes, _megabytes, with_image(commands.api)),
        Sweep("size of an image, web session", sizes, _megabytes, with_image(commands.web)),
    ]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:g} MB"


def _row(sweep: Sweep, costs: Mapping[str, list[Cost]]) -> Row:
    sized = {size: costs[sweep.shown(size)] for size in sweep.sizes}
    return _exponent(sweep.name, sweep.limit, sized, _least_cpu_ms(costs[""]))


def _exponent(name: str, limit: float, costs: Mapping[int, list[Cost]], before_ms: float) -> Row:
    """Fit a line through the logarithms of size and CPU time, the least of all rounds: the rest is other work."""
    ends = [size for size in costs if size * _SPAN >= max(costs)]
    return _slope(
        name, limit, {size: max(_least_cpu_ms(costs[size]) - before_ms, 1.0) for size in ends}
    )


def _crowding(ours: Crowds, imports: Crowds) -> Row:
    """Leave out what a crowd costs whatever it does: a processor that is shared by 64 gets less done."""
    shares = {count: _least_cpu_ms(ours[count]) / _least_cpu_ms(imports[count]) for count in ours}
    return _slope(
        "processes at once, beside imports",
        _LIMIT,
        {count: count * one for count, one in shares.items()},
    )


def _slope(name: str, limit: float, grown: Mapping[int, float]) -> Row:
    fit = statistics.linear_regression([*map(math.log, grown)], [*map(math.log, grown.values())])
    return Row(f"growth of CPU: {name}", fit.slope, limit, "exponent")


def _least_cpu_ms(costs: Sequence[Cost]) -> float:
    return min(map(cpu, costs))


def _together(
    commands: Sequence[Command], counts: Sequence[int], rounds: int, server: Server
) -> list[Crowds]:
    """Run so many of each command at once; questions share the store of credentials."""
    crowds: list[Crowds] = [{count: [] for count in counts} for _ in commands]
    for command in commands:
        run(command, server)
    for count in [count for count in counts for _ in range(rounds)]:
        for crowd, command in zip(crowds, commands, strict=True):
            crowd[count].append(_at_once(command, count))
    return crowds


def _at_once(command: Command, count: int) -> Cost:
    started = time.monotonic()
    processes = [start(command) for _ in range(count)]
    cpu_s, peak_kib = 0.0, 0
    for process in processes:
        assert process.stdout
        while os.read(process.stdout.fileno(), 1 << 20):
            pass
        used = reap(process)
        cpu_s += used.ru_utime + used.ru_stime
        peak_kib = max(peak_kib, used.ru_maxrss)
    return Cost((time.monotonic() - started) * 1e3, cpu_s * 1e3, peak_kib / 1024)


def _lines(name: str, costs: Mapping[str, list[Cost]]) -> list[str]:
    return [
        f"| {name} | {size} | {_least_cpu_ms(of):.0f} | {middle(of, wall):.0f} | {middle(of, peak):.0f} |"
        for size, of in costs.items()
    ]


def _images(folder: Path, count: int) -> Path:
    """Write so many images, each another, and each wider than is sent."""
    path = folder / f"{count} images"
    path.mkdir(exist_ok=True)
    for number in range(count):
        _image(path / f"{number}.png", 1_000_000, width=2_500)
    return path


def _image(path: Path, size: int, width: int = 1_000) -> Path:
    """Write a PNG of about so many bytes, which nothing can make smaller."""
    if not path.exists():
        height = max(1, size // (3 * width))
        store = zlib.compressobj(0)
        with path.open("wb") as file:
            file.write(
                b"\x89PNG\r\n\x1a\n"
                + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            )
            for _ in range(
                height
            ):  # row by row: what is in memory here is counted for what is measured
                if packed := store.compress(b"\0" + os.urandom(3 * width)):
                    file.write(_chunk(b"IDAT", packed))
            file.write(_chunk(b"IDAT", store.flush()) + _chunk(b"IEND", b""))
    return path


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
