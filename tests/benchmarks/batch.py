"""`batch` over 1,500 images, beside `requests` with kept sessions; rate limits, memory and resuming."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import Row, Section
from benchmarks.environments import ROOT, own
from benchmarks.processes import Command, Cost, cpu, middle, peak, ratio, run_alone, wall
from benchmarks.threads import make_images
from benchmarks.threads_server import ANSWER, LATENCY_S

_FEW, _MANY = 32, 128
_RATE = 40.0  # requests a second that the service allows in the storm
_STORM_S = 30


class _Service:
    """The service, with a connection of its own for its counts."""

    def __init__(self, origin: str, stats: http.client.HTTPConnection) -> None:
        self.origin = origin
        self._stats = stats

    def counts(self) -> Counter[str]:
        self._stats.request("GET", "/stats")
        return Counter(json.loads(self._stats.getresponse().read()))


def measure(*, quick: bool) -> Section:
    """Run batches and the baseline in turns."""
    questions = 640 if quick else 1_500
    rounds = 2 if quick else 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder / "all", questions)
        (folder / "one").mkdir()
        (folder / "one/0.jpg").write_bytes((folder / "all/0000.jpg").read_bytes())
        with _serving() as service:
            rows = _speed(service, folder, questions, rounds)
            rows += _growth(service, folder, 10_000 if quick else 100_000)
        with _serving(_RATE) as service:
            rows += _storm(service, folder, round(_RATE * _STORM_S))
    return Section(rows)


def _speed(service: _Service, folder: Path, questions: int, rounds: int) -> list[Row]:
    ours: dict[int, list[Cost]] = {_MANY: [], _FEW: []}
    theirs: list[Cost] = []
    connections = 0
    for turn in range(rounds + 1):
        before = service.counts()
        measured = {jobs: _batch(service, folder, ["-j", str(jobs)]) for jobs in (_MANY, _FEW)}
        baseline = _requests(service, folder)
        connections = max(connections, (service.counts() - before)["connections"])
        if turn:  # the first round fills caches
            theirs.append(baseline)
            for jobs, cost in measured.items():
                ours[jobs].append(cost)
    ideal_ms = questions * LATENCY_S / _FEW * 1e3
    what = f"batch of {questions:,} images"
    share = middle(ours[_FEW], wall) / ideal_ms
    return [
        Row(f"{what}, `-j {_FEW}`: time / ideal (90 % of its rate)", share, 1 / 0.9, "x"),
        ratio(f"{what}, `-j {_MANY}`: time / requests", 1 / 0.75, ours[_MANY], theirs),
        ratio(f"{what}, `-j {_MANY}`: CPU / requests", 2.5, ours[_MANY], theirs, cpu),
        Row(f"{what}: connections of two batches and requests", connections, 300, "connections"),
    ]


def _growth(service: _Service, folder: Path, rows: int) -> list[Row]:
    """Compare the memory of many rows with that of a few, and the CPU of resuming them."""
    costs = {}
    for count in (rows // 100, rows):
        _write_rows(folder / f"{count}.csv", count)
        costs[count] = _table(service, folder, count)
    grown = peak(costs[rows]) - peak(costs[rows // 100])
    with (folder / f"{rows}.csv").open("a") as table:
        table.write(f"one/0.jpg,{rows}\n")
    resumed = _table(service, folder, rows)
    return [
        Row(f"memory of {rows:,} rows over {rows // 100:,}", grown, 25, "MiB"),
        Row(f"CPU to resume {rows:,} rows and ask one", cpu(resumed) / 1e3, 3, "s"),
    ]


def _storm(service: _Service, folder: Path, rows: int) -> list[Row]:
    _write_rows(folder / "storm.csv", rows)
    cost = _run(
        service,
        folder,
        ["Row {n}", "--from", folder / "storm.csv", "-o", folder / "storm.jsonl", "-j", "32"],
    )
    counts = service.counts()
    answered = counts["POST /v1/chat/completions"] - counts["429"]
    rate = answered / wall(cost) * 1e3
    rejected = counts["429"] / counts["POST /v1/chat/completions"]
    allowed = _RATE + _RATE * 1e3 / wall(cost)  # the bucket is full at the beginning
    return [
        Row("storm of 429: allowed rate / rate", allowed / rate, 1 / 0.8, "x"),
        Row("storm of 429: share of rejected requests", rejected, 0.05, ""),
    ]


def _batch(service: _Service, folder: Path, options: list[str]) -> Cost:
    for old in folder.glob("out.jsonl*"):
        old.unlink()
    return _run(
        service,
        folder,
        ["Describe the image.", folder / "all", "-o", folder / "out.jsonl", *options],
    )


def _table(service: _Service, folder: Path, rows: int) -> Cost:
    table, output = folder / f"{rows}.csv", folder / f"{rows}.jsonl"
    image = str(folder / "{file}")
    return _run(
        service, folder, ["Row {n}", "--from", table, "-i", image, "-o", output, "-j", "128"]
    )


def _run(service: _Service, folder: Path, arguments: list[str | Path]) -> Cost:
    words = [own() / "reka-cli", "batch", "-m", "m", "-q", *arguments]
    return run_alone(Command(words, _env(service, folder)))


def _requests(service: _Service, folder: Path) -> Cost:
    script = Path(__file__).with_name("threads_client.py")
    words = [own() / "python", "-P", script, "requests", str(_MANY), folder / "all", ANSWER]
    return run_alone(Command(words, _env(service, folder)))


def _env(service: _Service, folder: Path) -> dict[str, str]:
    return {"REKA_HOME": str(folder / "home"), "REKA_API_BASE": f"{service.origin}/v1"}


def _write_rows(path: Path, count: int) -> None:
    with path.open("w") as table:
        table.write("file,n\n")
        table.writelines(f"one/0.jpg,{number}\n" for number in range(count))


@contextmanager
def _serving(rate: float = 0.0) -> Iterator[_Service]:
    """Run the service in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.threads_server", str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT / "tests") as server:
        assert server.stdout
        try:
            origin = server.stdout.readline().strip()
            with closing(http.client.HTTPConnection(urlsplit(origin).netloc)) as stats:
                yield _Service(origin, stats)
        finally:
            server.kill()
