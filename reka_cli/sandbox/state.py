"""What a running sandbox remembers between requests."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Mapping, Sequence

from reka_cli.sandbox.answers import MeasuredImage
from reka_cli.sandbox.built_in_faults import FAULTS, PREFIX, TEXT_ONLY, model_names
from reka_cli.sandbox.fault import NO_FAULT, Fault

_TOKEN_LIFE_S = 86_400
_MOST_IMAGES = 200  # kept by a server that runs for long


class UnknownModel(Exception):
    """The name of a model begins like those of the sandbox, and there is no such model."""

    def __init__(self, model: str, names: Sequence[str]) -> None:
        from difflib import get_close_matches

        closest = ", ".join(get_close_matches(model, names, 3, 0.4))
        super().__init__(f"there is no model {model!r}; the closest: {closest}")


class SandboxState:
    """The tokens it minted, the images it measured, and how often each fault was asked for."""

    def __init__(self, faults: Mapping[str, Fault] = FAULTS) -> None:
        self.faults = faults
        self._lock = threading.Lock()
        self._tokens: set[str] = set()
        self._images: dict[str, MeasuredImage] = {}
        self._asked: dict[str, int] = {}

    def mint(self) -> str:
        claims = {
            "iss": "reka-cli sandbox",
            "exp": int(time.time()) + _TOKEN_LIFE_S,
            "jti": secrets.token_hex(8),
        }
        parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
        token = ".".join(
            [*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "sandbox"]
        )
        with self._lock:
            self._tokens.add(token)
        return token

    def takes(self, token: str) -> bool:
        return token in self._tokens

    def keep(self, image: MeasuredImage) -> str:
        """Keep what was measured of an image and give the URL that refers to it."""
        url = f"https://sandbox.invalid/sandbox|user/vlm/{image.sha256[:24]}=="
        with self._lock:
            self._images[url] = image
            while len(self._images) > _MOST_IMAGES:
                del self._images[next(iter(self._images))]
        return url

    def image(self, url: object) -> MeasuredImage | None:
        return self._images.get(url) if isinstance(url, str) else None

    def fault(self, model: str) -> Fault:
        """Return the fault that strikes this time. Raises UnknownModel if there is no such model."""
        if not model.startswith("sandbox") or model in ("sandbox", TEXT_ONLY):
            return NO_FAULT
        names = model_names(self.faults)
        if model not in names:
            raise UnknownModel(model, names)
        fault = self.faults[model.removeprefix(PREFIX)]
        if not fault.once:
            return fault
        with self._lock:
            self._asked[model] = self._asked.get(model, 0) + 1
            return fault if self._asked[model] % 2 == 1 else NO_FAULT
