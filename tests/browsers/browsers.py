"""Real browsers to make real cookie databases with: headless, throw-away profiles, loopback only, no extra packages."""

from __future__ import annotations

import contextlib
import fcntl
import http.server
import json
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LONGEST_S = 60.0


class Site(http.server.ThreadingHTTPServer):
    """Every host at once, over TLS; the cookies to set are `{(host, path): [Set-Cookie, ...]}`."""

    def __init__(self, folder: Path, cookies: dict[tuple[str, str], list[str]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.cookies = cookies
        self.port = self.server_address[1]
        names = "subjectAltName=DNS:*.reka.ai,DNS:*.example,DNS:notreka.ai"
        key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
        curve = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=lab",
        ]
        command = [
            "openssl",
            "req",
            "-x509",
            *curve,
            "-addext",
            names,
            "-keyout",
            key,
            "-out",
            certificate,
        ]
        subprocess.run(command, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )

    def handle_error(self, *_: object) -> None:
        pass  # browsers drop connections as they like


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        host = self.headers["Host"].partition(":")[0]
        frame = f"<iframe src=https://space.reka.ai:{self.server.port}/partitioned></iframe>"
        body = ("<title>ok</title>" + (frame if self.path == "/frame" else "")).encode()
        self.send_response(200)
        for cookie in self.server.cookies.get((host, self.path), []):
            self.send_header("Set-Cookie", cookie)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path, cookies: dict[tuple[str, str], list[str]]) -> Iterator[Site]:
    with Site(folder, cookies) as site:
        thread = threading.Thread(target=site.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield site
        site.shutdown()
        thread.join()


def environment(home: Path) -> dict[str, str]:
    """What a browser needs; no bus, so that none of this machine's keyrings is asked."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home),
        "LANG": "C.UTF-8",
        "DBUS_SESSION_BUS_ADDRESS": "disabled:",
        "MOZ_CRASHREPORTER_DISABLE": "1",
    }


def firefox_binary() -> str | None:
    return shutil.which("firefox-esr") or shutil.which("firefox")


_AT_3_AND_4 = """
import os, sys
os.dup2(int(sys.argv[1]), 3), os.dup2(int(sys.argv[2]), 4)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Chromium:
    """Chromium over the DevTools protocol on file descriptors 3 and 4: NUL-separated JSON."""

    def __init__(self, data: Path, home: Path, port: int) -> None:
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # away from 3 and 4, where the child wants them
        there_in, there_out = (
            fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 50) for one in (theirs_in, theirs_out)
        )
        switches = "headless=new no-sandbox disable-gpu disable-dev-shm-usage no-first-run disable-background-networking"
        more = "disable-component-update disable-sync password-store=basic remote-debugging-pipe ignore-certificate-errors"
        command = ["chromium", *(f"--{switch}" for switch in f"{switches} {more}".split())]
        command += [
            f"--user-data-dir={data}",
            f"--host-resolver-rules=MAP * 127.0.0.1:{port}",
            "about:blank",
        ]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _AT_3_AND_4, str(there_in), str(there_out), *command],
            pass_fds=(there_in, there_out),
            env=environment(home),
            start_new_session=True,
            **quiet,  # type: ignore[call-overload]
        )
        for one in (theirs_in, theirs_out, there_in, there_out):
            os.close(one)
        self._number, self._buffer = 0, b""

    def visit(self, url: str) -> None:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.navigate", session, url=url)
        expression = "document.readyState + document.title"
        wait_for(
            lambda: (
                self._call("Runtime.evaluate", session, expression=expression)["result"]["value"]
                == "completeok"
            )
        )
        self._call("Target.closeTarget", targetId=target)

    def cookies(self) -> set[tuple[str, str]]:
        """Give the hosts and names it has in memory."""
        return {(one["domain"], one["name"]) for one in self._call("Storage.getCookies")["cookies"]}

    def close(self) -> None:
        """Leave in an orderly way, which is what writes the cookies to the disk."""
        with contextlib.suppress(EOFError, BrokenPipeError):
            self._call("Browser.close")
        self._process.wait(20)

    def kill(self) -> None:
        _kill(self._process)
        os.close(self._in)
        os.close(self._out)

    def _call(self, method: str, session: str | None = None, **params: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params} | (
            {"sessionId": session} if session else {}
        )
        os.write(self._out, json.dumps(message).encode() + b"\0")
        ends_at = time.monotonic() + LONGEST_S
        while time.monotonic() < ends_at:
            raw, separator, rest = self._buffer.partition(b"\0")
            if separator:
                self._buffer = rest
                answer = json.loads(raw)
                if answer.get("id") == self._number:
                    return answer["result"]
            elif select.select([self._in], [], [], 1)[0]:
                data = os.read(self._in, 1 << 20)
                if not data:
                    raise EOFError
                self._buffer += data
        raise TimeoutError(method)


class Firefox:
    """Firefox over Marionette: TCP, `length:json`; its profile is made where it likes to have it."""

    def __init__(self, home: Path) -> None:
        binary = firefox_binary()
        assert binary
        common = [binary, "--headless", "--no-remote"]
        quiet: dict[str, Any] = {
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
            "env": environment(home),
        }
        subprocess.run([*common, "-CreateProfile", "lab"], check=True, timeout=LONGEST_S, **quiet)
        (profile,) = next(home.rglob("profiles.ini")).parent.glob("*.lab")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (profile / "user.js").write_text(_preferences(port))
        remote = ["--marionette", "--remote-allow-system-access", "-P", "lab"]
        self._process = subprocess.Popen([*common, *remote], start_new_session=True, **quiet)
        self._buffer, self._number = b"", 0
        try:
            self._socket = _connected(port, self._process)
            self._message()
            self._call("WebDriver:NewSession", acceptInsecureCerts=True)
        except BaseException:
            _kill(self._process)
            raise

    def visit(self, url: str) -> None:
        self._call("WebDriver:Navigate", url=url)

    def run_privileged(self, script: str) -> Any:
        """Run a script with the rights of the browser itself, and give what it returns."""
        self._call("Marionette:SetContext", value="chrome")
        value = self._call("WebDriver:ExecuteScript", script=script, args=[])["value"]
        self._call("Marionette:SetContext", value="content")
        return value

    def close(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            self._call("Marionette:Quit", flags=["eAttemptQuit"])
        self._process.wait(30)

    def kill(self) -> None:
        _kill(self._process)
        self._socket.close()

    def _call(self, command: str, **parameters: Any) -> Any:
        self._number += 1
        data = json.dumps([0, self._number, command, parameters]).encode()
        self._socket.sendall(b"%d:%s" % (len(data), data))
        while True:
            _, number, error, result = self._message()
            if number == self._number:
                if error:
                    raise RuntimeError(error["error"], error["message"])
                return result

    def _message(self) -> Any:
        while b":" not in self._buffer:
            self._receive()
        length, _, self._buffer = self._buffer.partition(b":")
        while len(self._buffer) < int(length):
            self._receive()
        text, self._buffer = self._buffer[: int(length)], self._buffer[int(length) :]
        return json.loads(text)

    def _receive(self) -> None:
        data = self._socket.recv(65_536)
        if not data:
            raise EOFError
        self._buffer += data


def wait_for(happened: Any, within_s: float = 20.0) -> None:
    """Ask again and again until it is so."""
    ends_at = time.monotonic() + within_s
    while not happened():
        if time.monotonic() > ends_at:
            raise TimeoutError
        time.sleep(0.05)


def _preferences(port: int) -> str:
    wanted: dict[str, object] = {
        "marionette.port": port,
        "network.dns.forceResolve": "127.0.0.1",
        "network.trr.mode": 5,
        "browser.startup.page": 0,
        "app.update.enabled": False,
        "toolkit.telemetry.enabled": False,
        "datareporting.policy.dataSubmissionEnabled": False,
        "services.settings.server": "data:,",
        "network.captive-portal-service.enabled": False,
        "network.connectivity-service.enabled": False,
    }
    return "".join(
        f"user_pref({json.dumps(key)}, {json.dumps(value)});\n" for key, value in wanted.items()
    )


def _connected(port: int, process: subprocess.Popen[bytes]) -> socket.socket:
    ends_at = time.monotonic() + LONGEST_S
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), 1)
        except OSError:
            if time.monotonic() > ends_at or process.poll() is not None:
                raise
            time.sleep(0.1)
        else:
            connection.settimeout(LONGEST_S)
            return connection


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
