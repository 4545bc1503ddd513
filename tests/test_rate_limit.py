"""A rate limit that one process was told holds for all."""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zygote
from conftest import ROOT, Result, Run

from reka_cli import Client, RateLimited
from reka_cli.config import Config
from reka_cli.files import hold_lock
from reka_cli.limits.call import Cancellation
from reka_cli.limits.deadline import Deadline
from reka_cli.transport.rate_limit import SharedRateLimits

URL, OTHER = "https://api.reka.ai/v1", "https://space.reka.ai"
SOON = Deadline.after(60)
ANSWER = b'data: {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


class Limited:
    """An API that takes nothing for `wait_s` seconds after the first request."""

    def __init__(self, wait_s: int) -> None:
        self.wait_s = wait_s
        self.statuses: list[int] = []
        self.told = threading.Event()
        self._open_at = 0.0
        limited = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                status = limited.admit()
                self.send_response(status)
                if status == 429:
                    self.send_header("Retry-After", str(limited.wait_s))
                body = ANSWER if status == 200 else b""
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                limited.told.set()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def admit(self) -> int:
        now = time.monotonic()
        self._open_at = self._open_at or now + self.wait_s
        self.statuses.append(200 if now >= self._open_at else 429)
        return self.statuses[-1]


@pytest.fixture
def limited(request: pytest.FixtureRequest) -> Iterator[Limited]:
    service = Limited(request.param)
    with service.server as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield service
        server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("limited", [3], indirect=True)
def test_eight_processes_wait_together(clean_env: dict[str, str], limited: Limited) -> None:
    env = clean_env | {"REKA_API_BASE": limited.base_url}
    command = [sys.executable, "-m", "reka_cli", "ask", "-n", "-m", "m", "hello"]
    processes = [zygote.Popen(command, env=env, cwd=ROOT, stdout=-1, stderr=-1)]
    limited.told.wait(30)
    processes += [zygote.Popen(command, env=env, cwd=ROOT, stdout=-1, stderr=-1) for _ in range(7)]
    ended = [(*process.communicate(timeout=60), process.returncode) for process in processes]

    assert [(stdout, code) for stdout, _, code in ended] == [(b"hi\n", 0)] * 8
    assert limited.statuses == [429] + [200] * 8


@pytest.mark.parametrize("limited", [600], indirect=True)
def test_who_does_not_want_to_wait_is_told_at_once(run: Run, limited: Limited) -> None:
    env = {"REKA_API_BASE": limited.base_url}
    host = limited.base_url.removeprefix("http://").removesuffix("/v1")
    first = run("ask", "-n", "-m", "m", "--no-wait", "hello", env=env)
    second = run("ask", "-n", "-m", "m", "--no-wait", "-f", "json", "hello", env=env)
    told = json.loads(second.stderr)["error"]

    assert first == Result(
        6, "", f"error: {host} answered 429 (Too Many Requests) (try again in 600 s)\n"
    )
    assert (second.exit_code, second.stdout, told["code"]) == (6, "", "rate_limited")
    assert told["message"].startswith(f"{host} limits the rate of requests (try again in ")
    assert 500 < told["retry_after_s"] <= 600
    assert limited.statuses == [429]


@pytest.mark.parametrize("limited", [600], indirect=True)
def test_a_limit_past_the_deadline_is_told_at_once_by_the_next_process_too(
    run: Run, limited: Limited
) -> None:
    env = {"REKA_API_BASE": limited.base_url}
    results = [run("ask", "-n", "-m", "m", "--timeout", "60", "hello", env=env) for _ in range(2)]

    assert [result.exit_code for result in results] == [6, 6]
    assert limited.statuses == [429]


class TestTurns:
    @pytest.fixture(autouse=True)
    def clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "time", lambda: self.now)

    def test_without_a_limit_nobody_waits_and_nothing_is_written(self, tmp_path: Path) -> None:
        limits = SharedRateLimits(tmp_path / "state")

        assert (limits.take_turn_s([URL], SOON), limits.remaining_wait_s([URL])) == (0.0, 0.0)
        assert list(tmp_path.iterdir()) == []

    def test_after_a_limit_they_go_one_after_another(self, tmp_path: Path) -> None:
        SharedRateLimits(tmp_path).record_limit(URL, 5.0, SOON)

        assert [SharedRateLimits(tmp_path).take_turn_s([URL], SOON) for _ in range(3)] == [
            5.0,
            5.25,
            5.5,
        ]
        assert SharedRateLimits(tmp_path).remaining_wait_s([URL]) == 5.0
        assert SharedRateLimits(tmp_path).take_turn_s([OTHER], SOON) == 0.0
        self.now += 6
        assert (
            SharedRateLimits(tmp_path).remaining_wait_s([URL]),
            SharedRateLimits(tmp_path).take_turn_s([URL], SOON),
        ) == (0.0, 0.0)

    def test_what_is_over_leaves_no_file(self, tmp_path: Path) -> None:
        limits = SharedRateLimits(tmp_path)
        limits.record_limit(URL, 5.0, SOON)
        self.now += 40

        assert limits.take_turn_s([URL], SOON) == 0.0
        assert [path.name for path in tmp_path.iterdir()] == ["limits.lock"]

    def test_a_shorter_limit_does_not_end_a_longer_one(self, tmp_path: Path) -> None:
        limits = SharedRateLimits(tmp_path)
        limits.record_limit(URL, 5.0, SOON)
        limits.record_limit(URL, 1.0, SOON)

        assert limits.remaining_wait_s([URL]) == 5.0

    def test_no_service_can_shut_itself_for_longer_than_an_hour(self, tmp_path: Path) -> None:
        limits = SharedRateLimits(tmp_path)
        limits.record_limit(URL, 1e9, SOON)

        assert limits.remaining_wait_s([URL]) == 3600.0

    def test_what_has_passed_is_forgotten(self, tmp_path: Path) -> None:
        limits = SharedRateLimits(tmp_path)
        limits.record_limit(URL, 5.0, SOON)
        self.now += 40
        limits.record_limit(OTHER, 5.0, SOON)

        assert json.loads((tmp_path / "limits.json").read_text()) == {
            OTHER: {"until": 1045.0, "turn": 0.0}
        }

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\xff",
            b"[]",
            b"[" * 100_000,
            b'{"https://api.reka.ai/v1": {"until": 1e99, "turn": 0.0}}',
            b'{"x": 1}',
        ],
    )
    def test_a_damaged_file_limits_nobody(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "limits.json").write_bytes(content)
        limits = SharedRateLimits(tmp_path)

        assert (limits.take_turn_s([URL], SOON), limits.remaining_wait_s([URL])) == (0.0, 0.0)

    def test_a_pipe_limits_nobody(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "limits.json")
        limits = SharedRateLimits(tmp_path)

        assert (limits.take_turn_s([URL], SOON), limits.remaining_wait_s([URL])) == (0.0, 0.0)

    @pytest.mark.skipif(os.name != "posix", reason="elsewhere there are no modes")
    def test_a_file_that_everybody_can_write_limits_nobody(self, tmp_path: Path) -> None:
        limits = SharedRateLimits(tmp_path)
        limits.record_limit(URL, 5.0, SOON)
        (tmp_path / "limits.json").chmod(0o602)

        assert limits.remaining_wait_s([URL]) == 0.0

    def test_a_folder_that_cannot_be_written_limits_nobody(self, tmp_path: Path) -> None:
        (tmp_path / "state").write_text("a file")
        limits = SharedRateLimits(tmp_path / "state")
        limits.record_limit(URL, 5.0, SOON)

        assert (limits.take_turn_s([URL], SOON), limits.remaining_wait_s([URL])) == (0.0, 0.0)

    def test_a_limit_of_one_model_holds_for_no_other(self, tmp_path: Path) -> None:
        limits = SharedRateLimits(tmp_path)
        limits.record_limit(f"{URL} a", 5.0, SOON)

        assert limits.take_turn_s([URL, f"{URL} a"], SOON) == 5.0
        assert limits.take_turn_s([URL, f"{URL} b"], SOON) == 0.0

    def test_without_a_lock_the_limit_itself_is_waited_for(self, tmp_path: Path) -> None:
        limits = SharedRateLimits(tmp_path)
        limits.record_limit(URL, 5.0, SOON)
        (tmp_path / "limits.lock").unlink()
        (tmp_path / "limits.lock").mkdir()

        assert [limits.take_turn_s([URL], SOON) for _ in range(2)] == [5.0, 5.0]

    def test_a_lock_that_is_never_released_ends_at_the_deadline(self, tmp_path: Path) -> None:
        limits = SharedRateLimits(tmp_path)
        limits.record_limit(URL, 5.0, SOON)
        with hold_lock(tmp_path / "limits.lock"):
            deadline = Deadline.after(0.05)
            assert limits.take_turn_s([URL], deadline) == 5.0
            limits.record_limit(OTHER, 5.0, deadline)

        assert deadline.has_passed
        assert limits.remaining_wait_s([OTHER]) == 0.0


@pytest.mark.parametrize("limited", [600], indirect=True)
def test_what_the_service_asks_for_is_waited_for_where_it_cannot_be_shared(
    limited: Limited, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "limits.lock").mkdir()
    waits: list[float] = []
    monkeypatch.setattr(Cancellation, "sleep", lambda _, seconds: waits.append(seconds))
    config = Config(home, api_base=limited.base_url)
    with (
        Client("api", model="m", config=config, retries=1, timeout_s=900) as client,
        pytest.raises(RateLimited),
    ):
        client.ask("hello").read()

    assert waits == [600.0]
    assert limited.statuses == [429, 429]
