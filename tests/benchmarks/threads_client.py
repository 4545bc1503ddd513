"""Ask one question about each image of a folder from many threads: a process of its own.

    python -P threads_client.py reka-cli|requests THREADS FOLDER ANSWER

`REKA_API_BASE` names the service. Every response must be ANSWER.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_PROMPT = "Describe the image."

Ask = Callable[[Path], str]


def _with_reka_cli(ask_all: Callable[[Ask], None]) -> None:
    from reka_cli import Client

    with Client(provider="api", model="m") as client:
        ask_all(lambda path: client.ask(_PROMPT, images=[path]).read())


def _with_requests(ask_all: Callable[[Ask], None]) -> None:
    import requests

    url = f"{os.environ['REKA_API_BASE']}/chat/completions"
    kept = threading.local()

    def ask(path: Path) -> str:
        if not hasattr(kept, "session"):
            kept.session = requests.Session()
            kept.session.trust_env = False  # as reka-cli does for a server on loopback
        response = kept.session.post(url, json=_payload(path))
        response.raise_for_status()
        return "".join(map(_content, response.text.split("\n\n")))

    ask_all(ask)


def _payload(path: Path) -> dict[str, object]:
    data_url = f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"
    image = {"type": "image_url", "image_url": {"url": data_url}}
    message = {"role": "user", "content": [image, {"type": "text", "text": _PROMPT}]}
    return {"model": "m", "messages": [message], "stream": True}


def _content(event: str) -> str:
    """Return the new text in an event."""
    if not event.startswith("data: {"):
        return ""
    delta = json.loads(event.removeprefix("data: "))["choices"][0]["delta"]
    return str(delta.get("content", ""))


_LIBRARIES = {"reka-cli": _with_reka_cli, "requests": _with_requests}


def main(library: str, threads: str, folder: str, answer: str) -> None:
    paths = sorted(Path(folder).iterdir())

    def ask_all(ask: Ask) -> None:
        with ThreadPoolExecutor(int(threads)) as pool:
            wrong = [text for text in pool.map(ask, paths) if text != answer]
        if wrong:
            sys.exit(f"{len(wrong)} wrong answers, the first is {wrong[0]!r}")

    _LIBRARIES[library](ask_all)


if __name__ == "__main__":
    main(*sys.argv[1:])
