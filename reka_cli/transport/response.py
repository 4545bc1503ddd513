"""One response: its body as it arrives, and the connection given back when it has ended."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Generator, Iterator
from typing import Any

import requests

from reka_cli.errors import BadInput, NetworkError, RekaError, ServiceError
from reka_cli.escapes import clean
from reka_cli.messages import BLOCK_BYTES
from reka_cli.transport.connections import Exchange
from reka_cli.transport.failures import (
    LIBRARY_ERRORS,
    TOO_LARGE_HINT,
    UnexpectedRedirect,
    error_text,
    is_reset,
    translate,
)

_READ_SIZE = 65_536
_LARGE_UPLOAD = 1 << 20  # bytes; after fewer, a reset has other reasons
_LONGEST_JSON = 1 << 20  # bytes of an answer that is not a stream
_LONGEST_QUOTE = 300  # characters of a service's own words in one of our messages
_LAST_BYTES_S = 0.05  # for the end of a complete answer: keeping a connection is worth no more
# what servers send as Content-Encoding of a body that is not compressed
_NO_CODING = re.compile(
    r"|identity|none|null|binary|text|plain|chunked|aws-chunked|[78]bit"
    r"|utf-?8|utf-?16|(?:us-)?ascii|latin-?\d|iso-8859-\d+|windows-\d+"
)
_EVENT = re.compile(r"^(?:data|error): *([{\[].*)$", re.MULTILINE)


class Response:
    """A response whose body has not been read; `close()` it, or read it to the end.

    `redact` takes secrets out of a text.
    """

    def __init__(
        self, raw: requests.Response, exchange: Exchange, host: str, redact: Callable[[str], str]
    ) -> None:
        self._raw = raw
        self._exchange = exchange
        self._host = host
        self._redact = redact
        self.status = raw.status_code
        self.headers = raw.headers
        self.media_type = raw.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def header_values(self, name: str) -> list[str]:
        """Return each value of a header that may come several times."""
        return list(self._raw.raw.headers.getlist(name))

    def chunks(self) -> Generator[bytes, None, None]:
        """Yield the body as it arrives, never waiting to fill a buffer.

        Raises NetworkError, DeadlineExceeded, and IncompleteAnswer when the question is canceled.
        """
        compressed = self._is_compressed()
        exchange = self._exchange
        with contextlib.closing(self), translate_errors(exchange, self._host):
            # iter_lines() and iter_content() hold back what has come of a body that ends by closing the connection
            while chunk := self._raw.raw.read1(_READ_SIZE, decode_content=compressed):
                exchange.begin_body()
                yield chunk
            # lets http.client before 3.13 notice that a body of known length has ended
            self._raw.raw.read(1, decode_content=compressed)

    def drain(self) -> None:
        """Read what is left of a body that holds nothing more, so that its connection is kept.

        Only what is there already, or nearly: a server that does not end its body loses its connection.
        """
        self._exchange.end_within(_LAST_BYTES_S)
        with contextlib.suppress(RekaError), translate_errors(self._exchange, self._host):
            if not self._raw.raw.read1(_READ_SIZE, decode_content=True):
                self._raw.raw.read(1, decode_content=True)

    def json(self, largest: int = _LONGEST_JSON) -> Any:
        """Return the body as parsed JSON.

        Raises ServiceError if it is something else or has more than `largest` bytes, and
        UnexpectedRedirect for a web page.
        """
        body = self.body(largest)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            if body.lstrip().startswith(b"<"):
                raise UnexpectedRedirect(
                    f"{self._host} answered with a web page where an answer was due"
                ) from error
            raise ServiceError(f"{self._host} answered with something that is not JSON") from error

    def body(self, largest: int = _LONGEST_JSON) -> bytes:
        """Return the whole body. Raises ServiceError if it has more than `largest` bytes."""
        body = bytearray()
        with contextlib.closing(self.chunks()) as chunks:
            for chunk in chunks:
                body += chunk
                if len(body) > largest:
                    raise ServiceError(f"{self._host} answered with more than {largest} bytes")
        return bytes(body)

    def error_body(self) -> str:
        """Return the body of an error as text; "" if it does not end soon or is too long.

        A body that the connection breaks off is returned as far as it arrived.
        """
        body = bytearray()
        try:
            with contextlib.closing(self.chunks()) as chunks:
                for chunk in chunks:
                    body += chunk
                    if len(body) > _LONGEST_JSON:
                        return ""
        except NetworkError:
            pass
        except RekaError:
            return ""
        return body.decode("utf-8", "replace")

    def quote_body(self, body: str) -> str:
        """Return what the body of an error says: its JSON, an event or a plain text."""
        event = _EVENT.search(body)
        text = event[1] if event else body.strip()
        try:
            return self.quote(json.loads(text))
        except RecursionError:
            return ""
        except ValueError:
            is_readable = text.count("\ufffd") * 20 <= len(text)
            is_page = text.startswith("<") or self.media_type == "text/html"
            return self.quote(text) if is_readable and not is_page else ""

    def quote(self, error: object) -> str:
        """Return the text of an error (parsed JSON, or a string) as one short line, safe to show."""
        return self._redact(" ".join(clean(error_text(error)).split()))[:_LONGEST_QUOTE]

    def end_within(self, seconds: float) -> None:
        """Allow no more time than this for the rest of the body, which is not worth more."""
        self._exchange.end_within(seconds)

    def close(self) -> None:
        self._raw.close()
        self._exchange.end()

    def _is_compressed(self) -> bool:
        """Return whether the body is compressed.

        Raises ServiceError for a compression that urllib3 cannot decode. Content-Encoding may also
        hold what is none, such as `none` or a charset.
        """
        header = self.headers.get("Content-Encoding", "").lower()
        codings = [
            one for one in map(str.strip, header.split(",")) if not _NO_CODING.fullmatch(one)
        ]
        unknown = [one for one in codings if one not in self._raw.raw.CONTENT_DECODERS]
        if unknown:
            self.close()
            raise ServiceError(
                f"the response of {self._host} cannot be read: "
                f"it is compressed with {clean(unknown[0])[:20]!r}, which was not requested"
            )
        # urllib3 reads the header itself, and would take an unknown word for deflate
        self._raw.raw.headers["Content-Encoding"] = ", ".join(codings)
        return bool(codings)


@contextlib.contextmanager
def translate_errors(exchange: Exchange, host: str) -> Iterator[None]:
    """Raise our errors for those of requests, urllib3 and sockets."""
    try:
        yield
    except (*LIBRARY_ERRORS, OSError) as error:
        exchange.call.cancellation.raise_if_canceled()  # an aborted connection fails in many ways
        limits = exchange.call.limits
        if limits.deadline.has_passed:
            raise limits.deadline.error() from error
        if _is_rejected_upload(exchange, error):
            message = f"{host} closed the connection during the upload: it may accept less at once"
            raise BadInput(message, hint=TOO_LARGE_HINT) from error
        raise translate(error, host, limits) from error


def _is_rejected_upload(exchange: Exchange, error: Exception) -> bool:
    """Whether a server closed the connection because the request is larger than it accepts."""
    if exchange.may_be_stale or exchange.received_bytes:
        return False
    if exchange.is_upload_cut:
        return exchange.body_bytes >= BLOCK_BYTES
    return exchange.body_bytes >= _LARGE_UPLOAD and is_reset(error)
