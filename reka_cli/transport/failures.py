"""What went wrong, as errors of ours: exceptions of the two libraries, statuses, and the words of the service."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import requests
import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    HeaderParsingError,
    LocationValueError,
    NewConnectionError,
)

from reka_cli.errors import (
    BadInput,
    DeadlineExceeded,
    NetworkError,
    NotLoggedIn,
    RateLimited,
    Refused,
    RekaError,
    ServiceError,
    UsageError,
)
from reka_cli.limits.call import Limits

# llama.cpp without mmproj (measured 2026-11-22), vLLM with a text model (its source, 2026)
_TAKES_NO_IMAGE = r"(?i)image input is not supported|not a multimodal model|does not support image"

# where an error has its text, from the general to the particular
_ERROR_KEYS = (
    "error",
    "errors",
    "err",
    "title",
    "message",
    "msg",
    "detail",
    "details",
    "error_description",
    "reason",
)
_DEEPEST_ERROR = 8
_MOST_ERRORS = 3  # of a list

# curl and Go read the last two, which the operating system's tools set
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_ENVIRONMENT_HINT = "check HTTPS_PROXY and ALL_PROXY"

_LONGEST_WAIT_S = 1e9  # which nobody waits for; what is asked for may have any number of digits

# Every exception of the two libraries that can come out of a request is one of these; a test holds that.
TIMEOUTS = (requests.Timeout, urllib3.exceptions.TimeoutError, urllib3.exceptions.TimeoutStateError)
UNREADABLE = (
    requests.exceptions.ContentDecodingError,
    requests.exceptions.InvalidHeader,  # the service's: ours are checked
    requests.exceptions.InvalidJSONError,
    requests.exceptions.StreamConsumedError,
    requests.exceptions.TooManyRedirects,
    requests.exceptions.UnrewindableBodyError,
    requests.HTTPError,
    DecodeError,
    HeaderParsingError,
    urllib3.exceptions.BodyNotHttplibCompatible,
    urllib3.exceptions.InvalidHeader,
    urllib3.exceptions.ResponseError,
    urllib3.exceptions.UnrewindableBodyError,
)
MISUSED = (
    requests.URLRequired,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    LocationValueError,
    urllib3.exceptions.ProxySchemeUnsupported,
)
DISTURBED = (
    requests.ConnectionError,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.RetryError,
    urllib3.exceptions.IncompleteRead,
    urllib3.exceptions.InvalidChunkLength,
    urllib3.exceptions.PoolError,
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.ProxyError,
    urllib3.exceptions.SSLError,
)
LIBRARY_ERRORS = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    urllib3.exceptions.ProxySchemeUnsupported,
)


TOO_LARGE_HINT = "--max-side 1024 sends smaller images"


class UnexpectedRedirect(Refused):
    """A redirect or a web page where an answer was due."""


class NoConnection(NetworkError):
    """The connection was never made, so that another attempt repeats nothing."""


class ConnectTimeout(DeadlineExceeded):
    """Likewise."""


def ca_bundle() -> tuple[str, str | None]:
    """Return the variable that names certificates to trust, and its value; None if there is none."""
    for variable in _CA_VARIABLES:
        if os.environ.get(variable):
            return variable, os.environ[variable]
    return _CA_VARIABLES[0], None


def translate(error: Exception, host: str, limits: Limits) -> RekaError:
    """Give our error for one of requests, urllib3 or a socket."""
    if any(type(one).__module__ == "socks" for one in _causes(error)):
        return NoConnection(f"cannot reach {host} through the SOCKS proxy: {_reason(error)}")
    if _is_caused_by(error, NewConnectionError):
        return NoConnection(f"cannot reach {host}: {_reason(error)}")
    if _is_caused_by(error, ConnectTimeoutError) or isinstance(error, requests.ConnectTimeout):
        return ConnectTimeout(f"no connection to {host} within {limits.connect_s:g} s")
    if isinstance(error, TIMEOUTS):
        return DeadlineExceeded(
            f"{host} was silent for {limits.idle_s:g} s",
            hint="--idle-timeout SECONDS allows longer silence",
        )
    usage = _usage_error(error, host)
    if usage is not None:
        return usage
    if isinstance(error, UNREADABLE) or any(map(_is_too_long, _causes(error))):
        return ServiceError(f"the response of {host} cannot be read: {_reason(error)}")
    if isinstance(error, DISTURBED):
        return NetworkError(f"the connection to {host} failed: {_reason(error)}")
    return NetworkError(f"the request to {host} failed: {type(error).__name__}")


def _usage_error(error: Exception, host: str) -> UsageError | None:
    """Return what is wrong with our own settings, if that is the reason."""
    text = str(error)
    # requests and ssl have no class for it
    if "certificate bundle" in text or "NO_CERTIFICATE_OR_CRL_FOUND" in text:
        variable, _ = ca_bundle()
        return UsageError(f"{variable} names no certificates", hint=f"unset {variable}")
    if isinstance(error, requests.exceptions.InvalidSchema) and "SOCKS" in text:
        message = f"the proxy for {host} is a SOCKS proxy, which needs the extra reka-cli[socks]"
        return UsageError(message, hint="pip install 'reka-cli[socks]', or unset ALL_PROXY")
    if isinstance(error, requests.exceptions.InvalidProxyURL):
        return UsageError(f"cannot ask {host}: {_reason(error)}", hint=_ENVIRONMENT_HINT)
    if isinstance(error, MISUSED):
        return UsageError(f"cannot ask {host}: {_reason(error)}")
    return None


def is_reset(error: BaseException) -> bool:
    """Whether the other side closed the connection while it was in use."""
    return _is_caused_by(error, ConnectionResetError) or _is_caused_by(error, BrokenPipeError)


def _is_caused_by(error: BaseException, kind: type[Exception]) -> bool:
    return any(isinstance(cause, kind) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from an exception to what is under it, through the ways the two libraries wrap one another."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and not any(cause is one for one in seen):
            seen.append(cause)
            yield cause
            context = None if cause.__suppress_context__ else cause.__context__
            waiting += [getattr(cause, "reason", None), *cause.args, cause.__cause__, context]


def _is_too_long(cause: BaseException) -> bool:
    """Whether it is what http.client raises for a line or for headers that go on and on."""
    return isinstance(cause, http.client.LineTooLong) or type(cause) is http.client.HTTPException


def _reason(error: Exception) -> str:
    """Put what is at the bottom of it in a few words, without URLs, addresses of objects or secrets."""
    causes = list(_causes(error))
    named = [words for cause in causes if (words := _name_of(cause, str(error)))]
    coded = [
        os.strerror(cause.errno).lower()
        for cause in causes
        if isinstance(cause, OSError) and isinstance(cause.errno, int)
    ]
    return next(iter(named + coded), type(error).__name__)


def _name_of(cause: BaseException, whole: str) -> str | None:
    match cause:
        case requests.exceptions.ProxyError() | urllib3.exceptions.ProxyError():
            answered = re.search(r"Tunnel connection failed: (\d{3})", whole)
            return (
                f"the proxy answered {answered[1]}" if answered else "the proxy cannot be reached"
            )
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({cause.verify_message.rstrip('.')})"
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():  # the latter before Python 3.11.4
            return "no TLS (it was closed)"
        case ssl.SSLError():
            return f"no TLS ({(cause.reason or 'closed').replace('_', ' ').lower()})"
        case socket.gaierror():
            return (
                "the name cannot be looked up now"
                if cause.errno == socket.EAI_AGAIN
                else "the name is not known"
            )
        case urllib3.exceptions.ProtocolError() if "prematurely" in str(cause):
            return "it ended in the middle"
        case urllib3.exceptions.InvalidHeader():
            return "it announces two lengths"
        case DecodeError():
            return "its compression is broken"
        case http.client.HTTPException():  # which both IncompleteRead of urllib3's are too
            return _name_of_http(cause)
        case _:
            return None


def _name_of_http(cause: http.client.HTTPException) -> str | None:
    match cause:
        case http.client.IncompleteRead():
            return "it ended in the middle"
        case http.client.RemoteDisconnected():
            return "it was closed without an answer"
        case http.client.BadStatusLine() | http.client.UnknownProtocol():
            return "what answers there does not speak HTTP"
        case http.client.LineTooLong():
            return "a line of its HTTP is too long"
        case _ if _is_too_long(cause):
            return "it has too many headers"
        case _:
            return None


def error_class(status: int, message: str) -> type[RekaError]:
    """Give the class for a status of 400 or more; `said` is the service's own words."""
    match status:
        case _ if status >= 500 and re.search(_TAKES_NO_IMAGE, message):
            return BadInput
        case 401:
            return NotLoggedIn
        case 403:
            return Refused
        case 400 | 404 | 405 | 413 | 415 | 422:
            return BadInput
        case 402 | 429:
            return RateLimited
        case 407:
            return NetworkError
        case _:
            return ServiceError


def status_phrase(status: int) -> str:
    """Give the name of a status in brackets, for want of better words."""
    from http import HTTPStatus

    try:
        return f"({HTTPStatus(status).phrase})"
    except ValueError:
        return ""


def error_text(value: object) -> str:
    """Return the text of an error that was parsed from JSON; "" if it has none.

    The shapes differ: Reka, OpenAI, OpenRouter (`metadata.raw`), FastAPI (`detail`), Cloudflare
    (`errors`), RFC 9457 (`title`, `detail`) and OAuth (`error_description`), with JSON in strings.
    """
    return ": ".join(dict.fromkeys(_texts(value, _DEEPEST_ERROR)))


def _texts(value: object, depth: int) -> list[str]:
    """Return the texts of an error from the outside to the inside."""
    if not depth:
        return []
    if isinstance(value, str):
        return _texts_of_string(value.strip(), depth)
    if isinstance(value, list):
        texts = [": ".join(_texts(one, depth - 1)) for one in value[:_MOST_ERRORS]]
        joined = "; ".join(text for text in texts if text)
        return [joined] if joined else []
    if isinstance(value, dict):
        return _texts_of_object({str(key).lower(): one for key, one in value.items()}, depth - 1)
    return []


def _texts_of_string(text: str, depth: int) -> list[str]:
    if text.startswith(("{", "[")):
        with contextlib.suppress(ValueError, RecursionError):
            return _texts(json.loads(text), depth - 1) or [text]
    return [text] if text else []


def _texts_of_object(fields: dict[str, object], depth: int) -> list[str]:
    texts = [text for key in _ERROR_KEYS for text in _texts(fields.get(key), depth)]
    metadata = fields.get("metadata")
    if isinstance(metadata, dict):
        texts += _texts(metadata.get("raw"), depth)
    if not texts:
        names = [_texts(fields.get(key), depth) for key in ("text", "code", "type")]
        return next(filter(None, names), [])
    place = fields.get("loc")  # FastAPI: the field of the request, as in ["body", "model"]
    if isinstance(place, list) and len(place) > 1:
        texts.append(".".join(map(str, place[1:])))
    return texts


def retry_after_s(value: str | None) -> float | None:
    """Read a Retry-After header, seconds or a date, as seconds from now."""
    if not value:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", value.strip(), re.ASCII):
        return min(float(value), _LONGEST_WAIT_S)
    try:
        return min(
            max(0.0, parsedate_to_datetime(value).timestamp() - time.time()), _LONGEST_WAIT_S
        )
    except (ValueError, OverflowError):
        return None
