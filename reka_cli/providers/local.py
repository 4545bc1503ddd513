"""A model of the user's, run by llama.cpp on this machine; nothing leaves the machine.

llama.cpp's own server (package `xllamacpp`) runs in a child process, because in ours (measured with 2026.10.11549)

- loading a model holds Python's lock, for many seconds with a large one: neither Ctrl-C nor `--timeout` would end it;
- a failed assertion of the native code, or a machine out of memory, would end the caller with it;
- its log goes to file descriptor 2, which is the caller's.

The child is this module (`python -m`). Its standard input is its life line: settings as one line of JSON, and after
them nothing; when it ends, the parent is gone, and the child ends too. It answers with one line, its address.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import stat
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, NoReturn, cast

from reka_cli.config import Config
from reka_cli.errors import BadInput, NetworkError, UsageError
from reka_cli.files import read, show_path, translate_read_errors
from reka_cli.limits.call import Call
from reka_cli.messages import ChatRequest, Events, Message, Notice
from reka_cli.providers import About, Log, Status
from reka_cli.providers._models import Model

if TYPE_CHECKING:
    from reka_cli.providers.api import Api
    from reka_cli.transport import ConnectionPool

# Room for some images and a long answer. It costs memory, 1 GB with a model of 7 billion parameters; the model's own
# limit, up to 128k, could cost sixteen times that. A model with a lower limit keeps its own.
_CONTEXT_TOKENS = 8192

_MAGIC = b"GGUF"  # the first bytes of a model
_ERRORS_ONLY, _INFO = (
    1,
    3,
)  # llama.cpp's levels of verbosity; with the first, a run that goes well says nothing
_CANNOT_LOAD = 3  # exit code of the child; 1 and 2 are Python's own
_PATIENCE_S = 1.0  # for a child that is told to end; it has nothing to save
_KEPT_LINES = 200

# Threads that wait must sleep: by default they spin, and on a busy machine keep each other from working (measured on
# two cores with other work: 62 s for two questions at once instead of 3). It costs some 10 ms a token. The user's own
# setting wins.
_CALM = {
    "OMP_WAIT_POLICY": "passive",
    "GGML_NO_BACKTRACE": "1",
}  # the second: no debugger after an assertion

_TOO_LONG = "exceeds the available context size"  # in the 400 of llama.cpp's server
_IMAGES = frozenset(
    {"image/jpeg", "image/png", "image/gif"}
)  # WebP is refused with a 400 (measured)

# `0.00.040.473 E llama_model_load: error loading model: tensor … is not within the file bounds`: time, level, function
_ERROR = re.compile(r"[\d.]+ E (?:(?:\w+ +)?\w+: +)?(?:error(?: loading model)?: )?(.+)")


class Local:
    """A GGUF file, its path the name of the model; the process that runs it is kept for the next question."""

    name: ClassVar[str] = "local"
    about: ClassVar[About] = About(
        "a GGUF model run on this machine by llama.cpp; nothing leaves it",
        "`-m FILE.gguf`, for images `--mmproj FILE`",
    )
    default_model: ClassVar[str] = ""

    def __init__(self, config: Config, pool: ConnectionPool, log: Log | None = None) -> None:
        self._config = config
        self._pool = pool
        self._log = log
        self._lock = threading.Lock()
        self._child: _Child | None = None  # for the next question
        self._children: weakref.WeakSet[_Child] = weakref.WeakSet()

    def events(self, request: ChatRequest, call: Call) -> Events:
        """See Provider.events."""
        _check_request(request)
        messages = tuple(_convert_images(message) for message in request.messages)
        settings = _settings(request)
        with call.holding(self._lock):
            child = self._running(settings, call)
        try:
            named = replace(request, model=child.model, messages=messages)
            yield from child.api(self._config, self._pool, self._log).events(named, call)
        except BadInput as error:
            if _TOO_LONG in error.message:
                tokens = settings["context_tokens"]
                hint = f"--context N makes more room than {tokens} tokens, if the model has it"
                raise BadInput(error.message, hint) from error
            raise
        except NetworkError as error:
            if not child.has_ended():
                raise
            raise NetworkError(
                f"llama.cpp stopped in the middle: {child.why_it_ended()}"
            ) from error

    def check(self, call: Call) -> Generator[Notice, None, None]:  # noqa: ARG002
        """See Provider.check: there is nothing to log in to."""
        yield from ()

    def models(
        self,
        call: Call,  # noqa: ARG002
        *,
        refresh: bool = False,  # noqa: ARG002
    ) -> Generator[Notice, None, tuple[Model, ...]]:
        """See Provider.models: the models are the user's files."""
        yield from ()
        raise UsageError(
            "a local model is a file of yours",
            hint='reka-cli ask --provider local -m model.gguf "..."',
        )

    def close(self) -> None:
        """See Provider.close."""
        with self._lock:
            self._child = None
            for child in tuple(self._children):
                child.stop()

    @classmethod
    def status(cls, config: Config) -> Status:  # noqa: ARG003
        """See Provider.status."""
        if find_spec("xllamacpp") is None:
            return Status(
                cls.name, ready=False, problem='not installed: pip install "reka-cli[local]"'
            )
        return Status(cls.name, True, "-m FILE.gguf")

    def _running(self, settings: dict[str, Any], call: Call) -> _Child:
        """Return the process that has the model loaded; raise BadInput if it cannot be loaded."""
        if self._child and self._child.settings == settings and not self._child.has_ended(0):
            return self._child
        self._child = None  # it ends at once, or when the last answer that comes from it has ended
        child = _Child(settings, _INFO if self._log else _ERRORS_ONLY, self._log)
        self._children.add(child)
        try:
            child.wait_until_loaded(call)
        except BaseException:
            child.stop()
            raise
        self._child = child
        return child


def _check_request(request: ChatRequest) -> None:
    """Refuse what cannot work before anything is started."""
    mmproj = request.options.mmproj
    if not request.model:
        raise UsageError(
            "there is no model", hint='reka-cli ask --provider local -m model.gguf "..."'
        )
    _check_file(request.model)
    if mmproj:
        _check_file(mmproj)
    _check_media(request.messages, mmproj)
    if find_spec("xllamacpp") is None:
        raise BadInput(
            "the package xllamacpp, which runs local models, is missing",
            'pip install "reka-cli[local]"',
        )


def _check_file(path: str) -> None:
    with translate_read_errors(path):
        is_regular = stat.S_ISREG(Path(path).stat().st_mode)  # llama.cpp cannot load a pipe
    if not is_regular or read(path, len(_MAGIC) - 1) != _MAGIC:
        raise BadInput(f"{show_path(path)} is not a GGUF file, the format of llama.cpp")


def _check_media(messages: tuple[Message, ...], mmproj: str | None) -> None:
    if any(message.videos for message in messages):
        raise BadInput("a local model takes no video")
    if any(message.images for message in messages) and not mmproj:
        raise BadInput(
            "a local model takes images only with its mmproj file",
            hint="--mmproj FILE (a GGUF file that comes with models that can see)",
        )


def _convert_images(message: Message) -> Message:
    """Give a message with its images in formats that llama.cpp reads."""
    from reka_cli.images import convert_format

    return replace(
        message, images=tuple(convert_format(image, _IMAGES) for image in message.images)
    )


def _settings(request: ChatRequest) -> dict[str, Any]:
    return {
        "path": request.model,
        "mmproj": request.options.mmproj or "",
        "context_tokens": request.options.context_tokens or _CONTEXT_TOKENS,
    }


class _Child:
    """The process that runs llama.cpp, and what it says; it is ended when it is collected."""

    def __init__(self, settings: dict[str, Any], verbosity: int, log: Log | None) -> None:
        self.settings = settings
        self.model = Path(settings["path"]).stem
        self._name = Path(settings["path"]).name
        self._key = secrets.token_urlsafe(
            24
        )  # a loopback port is open to everybody on the machine, and to web pages
        self._address = ""
        self._api: Api | None = None
        # -P: a module in the folder of the user is not to be imported instead of ours
        command = [sys.executable, "-P", "-m", __name__]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            command, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe, env=_CALM | os.environ
        )
        self._said: deque[str] = deque(maxlen=_KEPT_LINES)
        self._listener = threading.Thread(
            target=_listen, args=(self._process.stderr, self._said, log), daemon=True
        )
        self._listener.start()
        self.stop = weakref.finalize(self, _stop, self._process, self._listener, os.getpid())
        told = {**settings, "model": self.model, "key": self._key, "verbosity": verbosity}
        with suppress(OSError):  # if it has ended already, why is told by what it said
            cast("IO[bytes]", self._process.stdin).write(json.dumps(told).encode() + b"\n")

    def wait_until_loaded(self, call: Call) -> None:
        """Wait until the model is loaded."""
        deadline = call.limits.deadline
        watch = threading.Timer(
            deadline.remaining_s(), self._process.kill
        )  # Windows cannot wait for a pipe in time
        watch.daemon = True
        watch.start()
        try:
            call.cancellation.on_cancel(self._process.kill)
            self._address = cast("IO[bytes]", self._process.stdout).readline().decode().strip()
        finally:
            call.cancellation.on_cancel(None)
            watch.cancel()
        if not self._address:
            self._process.wait()
            call.cancellation.raise_if_canceled()
            if deadline.has_passed:
                raise deadline.error()
            raise BadInput(f"llama.cpp cannot load {self._name}: {self.why_it_ended()}")

    def api(self, config: Config, pool: ConnectionPool, log: Log | None) -> Api:
        """Return what asks it, over the protocol of OpenAI."""
        # not at the top: the child imports this module too, and has no use for requests
        from reka_cli.credentials import ApiAccess
        from reka_cli.providers.api import Api

        if self._api is None:
            self._api = Api(config, pool, log, ApiAccess(f"{self._address}/v1", self._key))
        return self._api

    def has_ended(self, within_s: float = 0.2) -> bool:
        """Return whether it has ended, or does so soon: its socket closes a moment before."""
        try:
            self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def why_it_ended(self) -> str:
        """Give its own words for it, or how it ended."""
        self._listener.join()
        errors = [match[1] for line in self._said if (match := _ERROR.match(line))]
        code = self._process.returncode
        if code == _CANNOT_LOAD and errors:
            return errors[0]
        crashed = [line for line in self._said if "GGML_ASSERT" in line]  # a trace may follow it
        if code == -getattr(signal, "SIGKILL", 9):
            return "it was killed, which is what happens when memory runs out"
        what = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"it ended with {what}" + "".join(
            f" ({line})" for line in (crashed or list(self._said))[-1:]
        )


def _stop(process: subprocess.Popen[bytes], listener: threading.Thread, owner: int) -> None:
    if owner != os.getpid():
        return  # the child of a forked process is its parent's
    with process:
        process.terminate()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
        listener.join()


def _listen(stderr: IO[bytes], said: deque[str], log: Log | None) -> None:
    for raw in stderr:
        if line := raw.decode("utf-8", "replace").strip():
            said.append(line)
            if log:
                log(line)


PROVIDER = Local


def _serve() -> NoReturn:
    """Be the child: load the model, say where it is served, and end with the parent."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the whole group; the parent says when to end
    settings = json.loads(sys.stdin.buffer.readline())
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # native code that prints must not be taken for our answer
    from xllamacpp import CommonParams, Server

    try:
        server = Server(_params(CommonParams(), settings))
    except RuntimeError:
        os._exit(_CANNOT_LOAD)  # why is in the log
    answers.write(server.listening_address.encode() + b"\n")
    sys.stdin.buffer.read()
    os._exit(0)  # the server stops when it is deleted, but not in the middle of a long prompt


def _params(params: Any, settings: dict[str, Any]) -> Any:
    params.model.path = settings["path"]
    params.mmproj.path = settings["mmproj"]
    params.model_alias = {settings["model"]}
    params.n_ctx = settings["context_tokens"]
    params.verbosity = settings["verbosity"]
    params.api_keys = [settings["key"]]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = 1
    params.ui = params.endpoint_slots = params.warmup = False
    # `--reasoning off`, which Reka Edge needs: without it answers come inside <answer> tags (llama.cpp #21616, 2026-04)
    params.enable_reasoning = 0
    params.default_template_kwargs = {"enable_thinking": "false"}
    return params


if __name__ == "__main__":
    _serve()
