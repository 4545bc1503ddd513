"""Many questions from many threads through one `Client`, beside `requests` with a session each."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import Row, Section
from benchmarks.environments import ROOT, own
from benchmarks.processes import Command, Cost, cpu, middle, peak, ratio, run_alone, wall
from benchmarks.threads_server import ANSWER, LATENCY_S

_LIBRARIES = ("reka-cli", "requests")
_FEW, _MANY = 32, 128  # threads
_TIME_LIMITS = {_FEW: 1.05, _MANY: 1.33}  # 95 % and 75 % of the rate of requests
_CPU_LIMIT = 2.5
_MOST_CONNECTIONS = 140
_MODELS = "GET /v1/models"


@dataclass(frozen=True)
class _Run:
    """The cost of one process, and what the service counted meanwhile."""

    cost: Cost
    counts: Counter[str]


_Runs = dict[tuple[str, int], list[_Run]]  # by library and threads


class _Service:
    """The service, with a connection of its own for its counts."""

    def __init__(self, origin: str, stats: http.client.HTTPConnection) -> None:
        self.origin = origin
        self._stats = stats

    def counts(self) -> Counter[str]:
        self._stats.request("GET", "/stats")
        return Counter(json.loads(self._stats.getresponse().read()))


def measure(*, quick: bool) -> Section:
    """Run both libraries in turns, first from many threads, then from few."""
    questions = 640 if quick else 1_500
    rounds = {_MANY: 2, _FEW: 2} if quick else {_MANY: 5, _FEW: 3}
    runs: _Runs = {(library, threads): [] for threads in rounds for library in _LIBRARIES}
    with tempfile.TemporaryDirectory() as name, _serving() as service:
        folder = Path(name)
        make_images(folder / "one", 1)
        make_images(folder / "all", questions)
        for library in _LIBRARIES:  # fills caches and does not count
            _run(service, library, 1, folder / "one")
        for threads, count in rounds.items():
            for _ in range(count):
                for library in _LIBRARIES:
                    runs[library, threads].append(_run(service, library, threads, folder / "all"))
    return Section(_rows(runs, questions), [_table(runs, questions)])


def _run(service: _Service, library: str, threads: int, images: Path) -> _Run:
    script = Path(__file__).with_name("threads_client.py")
    words = [own() / "python", "-P", script, library, str(threads), images, ANSWER]
    env = {
        "REKA_HOME": str(images.parent / "home"),
        "REKA_API_BASE": f"{service.origin}/v1",
    }
    before = service.counts()
    cost = run_alone(Command(words, env))
    return _Run(cost, service.counts() - before)


def _rows(runs: _Runs, questions: int) -> list[Row]:
    what = f"{questions:,} questions"
    rows = []
    for threads, limit in _TIME_LIMITS.items():
        ours, theirs = ([run.cost for run in runs[library, threads]] for library in _LIBRARIES)
        name = f"{what}, {threads} threads"
        rows += [
            ratio(f"{name}: time / requests", limit, ours, theirs),
            ratio(f"{name}: CPU / requests", _CPU_LIMIT, ours, theirs, cpu),
        ]
    # counts do not depend on the load of the machine, so the worst round counts
    connections = max(run.counts["connections"] for run in runs["reka-cli", _MANY])
    listings = [
        run.counts[_MODELS] for threads in _TIME_LIMITS for run in runs["reka-cli", threads]
    ]
    return [
        *rows,
        Row(f"{what}, {_MANY} threads: connections", connections, _MOST_CONNECTIONS, "connections"),
        Row(f"{what}: `GET /models`", max(listings), 1, "requests"),
    ]


def _table(runs: _Runs, questions: int) -> str:
    what = f"{questions:,} questions, {LATENCY_S * 1e3:.0f} ms latency"
    units = "time, s | questions/s | of ideal | CPU, ms a question | memory, MiB | connections"
    lines = [f"| {what} | threads | {units} |", f"| --- |{' ---: |' * 7}"]
    for (library, threads), of in sorted(runs.items(), key=lambda one: one[0][1]):
        costs = [run.cost for run in of]
        time_s = middle(costs, wall) / 1e3
        rate = questions / time_s
        connections = max(run.counts["connections"] for run in of)
        lines.append(
            f"| {library} | {threads} | {time_s:.2f} | {rate:.0f} "
            f"| {rate * LATENCY_S / threads:.0%} | {middle(costs, cpu) / questions:.2f} "
            f"| {middle(costs, peak):.0f} | {connections:,} |"
        )
    return "\n".join(lines)


@contextmanager
def _serving() -> Iterator[_Service]:
    """Run the service in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.threads_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT / "tests") as server:
        assert server.stdout
        try:
            origin = server.stdout.readline().strip()
            with closing(http.client.HTTPConnection(urlsplit(origin).netloc)) as stats:
                yield _Service(origin, stats)
        finally:
            server.kill()


def make_images(folder: Path, count: int) -> None:
    """Write `count` different JPEGs of about 30 KB."""
    from PIL import Image

    folder.mkdir()
    with Image.open(ROOT / "docs/images/cat.jpeg") as cat:
        for number in range(count):
            image = cat.copy()
            for bit in range(11):  # as large as a block of JPEG, or many would be equal
                color = 255 * (number >> bit & 1)
                image.paste((color, color, color), (16 * bit, 0, 16 * bit + 16, 16))
            image.save(folder / f"{number:04}.jpg", quality=85)
