"""Images: what sending a large one costs beside a raw upload, and making one ready beside decoding all of it.

Everything is measured in processes of its own, in turns, because a shared machine drifts from minute to minute.
"""

from __future__ import annotations

import http.server
import io
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import Row, Section

_OURSELVES = "benchmarks.images"
_LARGE = (3200, 2500)  # pixels of noise, about 20 MB as a JPEG
_PHOTO = (8064, 6048)  # 48 million
_ANSWER = b'data: {"type": "model", "text": "hi", "finish_reason": "stop"}\n\n'
_CHUNK = b'data: {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'
_REPLIES = {
    "/api/upload-image": ("application/json", b'{"media_url": "https://example.invalid/x"}'),
    "/api/chat": ("text/event-stream", _ANSWER),
    "/v1/models": ("application/json", b'{"data": [{"id": "m"}]}'),
    "/v1/chat/completions": ("text/event-stream", _CHUNK),
}


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds from its start to its end, its largest memory, and what it measured itself."""

    wall_s: float
    peak_mib: float
    own_s: float


def measure(*, quick: bool) -> Section:
    """Send and make ready, all ways in turns."""
    with tempfile.TemporaryDirectory() as folder, _sink() as url:
        large, photo = Path(folder, "large.jpg"), Path(folder, "photo.jpg")
        _make_large(large)
        _make_photo(photo)
        ways = ("import", "raw", "web", "api", "ready", "decode")
        costs: dict[str, list[Cost]] = {way: [] for way in ways}
        for _ in range(3 if quick else 9):
            for way in ways:
                costs[way].append(
                    _cost(way, photo if way in ("ready", "decode") else large, url, folder)
                )
    rows = [*_sending(costs, "web"), *_sending(costs, "api"), *_preparing(costs)]
    return Section(rows, [_table(costs)])


def _sending(costs: dict[str, list[Cost]], way: str) -> list[Row]:
    name = "the web session" if way == "web" else "the API"
    memory = _middle(costs[way], lambda one: one.peak_mib) - _middle(
        costs["import"], lambda one: one.peak_mib
    )
    time_ = _ratio(costs[way], costs["raw"], lambda one: one.wall_s)
    return [
        Row(f"20 MB image to {name}: memory above imports", memory, 8, "MiB"),
        Row(f"20 MB image to {name}: time / raw upload of the file", time_, 1.3, "x"),
    ]


def _preparing(costs: dict[str, list[Cost]]) -> list[Row]:
    ready, name = costs["ready"], "48 megapixel JPEG made ready"
    fastest = min(
        one.own_s for one in ready
    )  # what it takes; the rest is what else the machine does
    ratio = _ratio(ready, costs["decode"], lambda one: one.own_s)
    return [
        Row(f"{name}: time", fastest, 0.5, "s"),
        Row(f"{name}: memory", _middle(ready, lambda one: one.peak_mib), 200, "MiB"),
        Row(f"{name}: time / decoding and resizing all of it", ratio, 0.35, "x"),
    ]


def _table(costs: dict[str, list[Cost]]) -> str:
    told = {
        "import": "import what sends",
        "raw": "20 MB: the file as it is, with requests",
        "web": "20 MB: `Client`, web session (as a form)",
        "api": "20 MB: `Client`, API (as base64 within JSON, a third more)",
        "ready": "48 megapixels: made ready",
        "decode": "48 megapixels: decoded, made smaller, turned",
    }
    lines = ["| | process, ms | the work in it, ms | memory, MiB |", "| --- | ---: | ---: | ---: |"]
    for way, name in told.items():
        wall_s, own_s, peak_mib = (
            _middle(costs[way], of)
            for of in (lambda one: one.wall_s, lambda one: one.own_s, lambda one: one.peak_mib)
        )
        lines.append(f"| {name} | {wall_s * 1e3:.0f} | {own_s * 1e3:.0f} | {peak_mib:.0f} |")
    return "\n".join(lines)


def _middle(costs: list[Cost], of: Callable[[Cost], float]) -> float:
    return statistics.median(map(of, costs))


def _ratio(ours: list[Cost], theirs: list[Cost], of: Callable[[Cost], float]) -> float:
    return statistics.median(of(one) / of(other) for one, other in zip(ours, theirs, strict=True))


def _cost(way: str, path: Path, url: str, home: str) -> Cost:
    started = time.perf_counter()
    command = [sys.executable, "-m", _OURSELVES, way, str(path), url]
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, env=os.environ | {"REKA_HOME": home}, check=True
    )
    wall_s = time.perf_counter() - started
    own_s, peak_mib = map(float, ended.stdout.split())
    return Cost(wall_s, peak_mib, own_s)


@contextmanager
def _sink() -> Iterator[str]:
    """Run a server that takes everything and says little."""
    command = [sys.executable, "-m", _OURSELVES, "serve"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def _make_large(path: Path) -> None:
    from PIL import Image

    noise = Image.frombytes("RGB", _LARGE, random.Random(1).randbytes(_LARGE[0] * _LARGE[1] * 3))
    noise.save(path, "JPEG", quality=97, subsampling=0)


def _make_photo(path: Path) -> None:
    from PIL import Image

    width, height = _PHOTO
    noise = random.Random(2)
    coarse = Image.frombytes(
        "RGB", (width // 24, height // 24), noise.randbytes(width // 24 * (height // 24) * 3)
    )
    fine = Image.frombytes("RGB", (1024, 1024), noise.randbytes(3 << 20)).resize(_PHOTO)
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.blend(coarse.resize(_PHOTO, Image.Resampling.BICUBIC), fine, 0.12).save(
        path, "JPEG", quality=92, exif=turned
    )


def _be(way: str, path: str, url: str) -> None:
    """Be one of the processes that are measured."""
    started = time.perf_counter()
    if way == "decode":
        _decode(path)
    elif way == "ready":
        from reka_cli import images

        images.load(path)
    else:
        _send(way, path, url)
    print(time.perf_counter() - started, _peak_mib())


def _peak_mib() -> float:
    # not ru_maxrss, which a child takes over from its parent
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _decode(path: str) -> None:
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        image.load()
        scale = 2048 / max(image.size)
        size = round(image.width * scale), round(image.height * scale)
        ImageOps.exif_transpose(image.resize(size, Image.Resampling.BICUBIC)).save(
            io.BytesIO(), "JPEG", quality=90
        )


def _send(way: str, path: str, url: str) -> None:
    import requests

    from reka_cli import Client
    from reka_cli.config import Config
    from reka_cli.images import Preparation, pipeline  # noqa: F401 - as the next: what every way is to import
    from reka_cli.providers import api, web  # noqa: F401

    config = Config(Path(os.environ["REKA_HOME"]), web_base=url, token="t", api_base=f"{url}/v1")
    if way == "raw":
        with open(path, "rb") as file:  # noqa: PTH123
            requests.post(f"{url}/raw", data=file, timeout=60)
    elif way != "import":
        client = Client(way, model="m", config=config, preparation=Preparation(max_side=0))
        assert client.ask("hello", [path]).read() == "hi"


class _Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._reply()

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 1 << 18)))
        self._reply()

    def log_message(self, *_: object) -> None:
        pass

    def _reply(self) -> None:
        media_type, body = _REPLIES.get(self.path, ("text/plain", b""))
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _serve() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Sink) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        _serve()
    else:
        _be(*sys.argv[1:])
