"""Tokens and keys: whether a header can carry one, and when a JSON Web Token expires."""

from __future__ import annotations

import json
import math
import re

_BEARER = re.compile(r"[\x21-\x7e]{1,16384}")


def is_bearer(text: str) -> bool:
    """Return whether a header can carry this text as a token or a key."""
    return bool(_BEARER.fullmatch(text))


def token_expiry_s(token: str) -> float | None:
    """Return `exp` (seconds since the epoch) of a JWT, or None if it cannot be read.

    The signature is not checked.
    """
    import base64
    import binascii

    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        expires_s = float(claims["exp"])
        return expires_s if math.isfinite(expires_s) else None
    except (
        IndexError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        RecursionError,
        binascii.Error,
    ):
        return None
