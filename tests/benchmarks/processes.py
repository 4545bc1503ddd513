"""Commands as whole processes, taken in turns, because a shared machine drifts from minute to minute."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import Row
from benchmarks.environments import ROOT, clean


@dataclass(frozen=True)
class Command:
    """What is run: its words, and what is added to a clean environment."""

    words: Sequence[str | os.PathLike[str]]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """Of one process, from before it is started to after its end; `request_ms` is when the server had its question."""

    wall_ms: float
    cpu_ms: float
    peak_mib: float
    request_ms: float = 0.0


Of = Callable[[Cost], float]
Costs = dict[str, list[Cost]]


@dataclass(frozen=True)
class Server:
    """The service that is asked; see `benchmarks.server`."""

    origin: str
    log: Path

    def base(self, course: str = "") -> str:
        """Give the origin of the web session for a course, which is in the form `n=200,rate=0`."""
        return f"{self.origin}/c/{course or 'n=200'}"

    def api(self, course: str = "") -> str:
        return f"{self.base(course)}/v1"


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Run the service in a process of its own."""
    log = folder / "requests"
    log.touch()
    command = [sys.executable, "-m", "benchmarks.server", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT / "tests") as server:
        assert server.stdout
        try:
            yield Server(server.stdout.readline().strip(), log)
        finally:
            server.kill()


def in_turns(commands: Mapping[str, Command], rounds: int, server: Server) -> Costs:
    """Start each command once a round; the first round, which fills caches, does not count."""
    costs: Costs = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            cost = run(command, server)
            if turn:
                costs[name].append(cost)
    return costs


def run(command: Command, server: Server) -> Cost:
    """Run one command to its end; raise CalledProcessError if it fails."""
    before = server.log.stat().st_size
    started = time.monotonic_ns()
    cost = run_alone(command)
    return replace(cost, request_ms=_request_ms(server.log, before, started))


def run_alone(command: Command) -> Cost:
    """Run one command to its end, whatever it asks; its output is read and thrown away."""
    started = time.monotonic_ns()
    process = start(command)
    assert process.stdout
    while os.read(process.stdout.fileno(), 1 << 20):
        pass
    used = reap(process)
    wall_ms = (time.monotonic_ns() - started) / 1e6
    cpu_ms = (used.ru_utime + used.ru_stime) * 1e3
    # what this process has in memory is counted for its children too: keep it small
    return Cost(wall_ms, cpu_ms, used.ru_maxrss / 1024)


def start(command: Command) -> subprocess.Popen[bytes]:
    """Start a command with nothing on its stdin; whoever calls this reads its stdout, and waits for it."""
    env = {**clean(), **command.env}
    null = subprocess.DEVNULL
    return subprocess.Popen(
        command.words, stdin=null, stdout=subprocess.PIPE, stderr=null, env=env, bufsize=0
    )


def reap(process: subprocess.Popen[bytes]) -> resource.struct_rusage:
    """Wait for a process whose output was read, and give what it used; raise CalledProcessError if it failed."""
    if process.stdout:
        process.stdout.close()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return used


def _request_ms(log: Path, before: int, started: int) -> float:
    with log.open() as lines:
        lines.seek(before)
        asked = [
            int(line.split()[0])
            for line in lines
            if line.rstrip().endswith(("/completions", "/api/chat"))
        ]
    return (asked[0] - started) / 1e6 if asked else 0.0


def wall(cost: Cost) -> float:
    return cost.wall_ms


def cpu(cost: Cost) -> float:
    return cost.cpu_ms


def peak(cost: Cost) -> float:
    return cost.peak_mib


def request(cost: Cost) -> float:
    return cost.request_ms


def ratio(
    goal: str,
    limit: float,
    ours: Sequence[Cost],
    theirs: Sequence[Cost],
    of: Of = wall,
    to: Of | None = None,
) -> Row:
    """Compare two commands round by round, by the same measure unless `to` is another for the second."""
    ratios = [of(one) / (to or of)(other) for one, other in zip(ours, theirs, strict=True)]
    return row(goal, limit, "x", ratios)


def row(goal: str, limit: float, unit: str, values: Sequence[float]) -> Row:
    """Give the middle of what was measured, and its spread."""
    if len(values) < 2:
        return Row(goal, values[0], limit, unit)
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Row(goal, middle, limit, unit, (low, high))


def middle(costs: Sequence[Cost], of: Of) -> float:
    return statistics.median(map(of, costs))
