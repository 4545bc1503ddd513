"""One response: its body as it arrives, and the connection given back when it has ended."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Generator, Iterator
from typing import Any

import requests

from reka_cli.errors import RekaError, ServiceError
from reka_cli.escapes import clean
from reka_cli.transport.connections import Exchange
from reka_cli.transport.failures import LIBRARY_ERRORS, UnexpectedRedirect, error_text, translate

_READ_SIZE = 65_536
_LONGEST_JSON = 1 << 20  # bytes of an answer that is not a stream
_LONGEST_QUOTE = 300  # characters of a service's own words in one of our messages
_LAST_BYTES_S = (
    0.05  # for the end of a body whose answer is complete: a connection is worth no more
)


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

    def json(self) -> Any:
        """Read the body as JSON; raise ServiceError if it is something else, or too long."""
        body = self.body()
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            if body.lstrip().startswith(b"<"):
                raise UnexpectedRedirect(
                    f"{self._host} answered with a web page where an answer was due"
                ) from error
            raise ServiceError(f"{self._host} answered with something that is not JSON") from error

    def body(self) -> bytes:
        """Read the body, which is not a stream; raise ServiceError if it is too long."""
        body = bytearray()
        with contextlib.closing(self.chunks()) as chunks:
            for chunk in chunks:
                body += chunk
                if len(body) > _LONGEST_JSON:
                    raise ServiceError(
                        f"{self._host} answered with more than {_LONGEST_JSON} bytes"
                    )
        return bytes(body)

    def quote(self, error: object) -> str:
        """Return the service's own words (JSON of an error, or a text) as one short line that is safe to show."""
        return self._redact(" ".join(clean(error_text(error)).split()))[:_LONGEST_QUOTE]

    def end_within(self, seconds: float) -> None:
        """Allow no more time than this for the rest of the body, which is not worth more."""
        self._exchange.end_within(seconds)

    def close(self) -> None:
        self._raw.close()
        self._exchange.end()

    def _is_compressed(self) -> bool:
        """Return whether there is something to decompress; raise ServiceError for what urllib3 cannot."""
        encodings = self.headers.get("Content-Encoding", "").lower().split(",")
        known = {"", "identity", *self._raw.raw.CONTENT_DECODERS}
        unknown = [one for one in map(str.strip, encodings) if one not in known]
        if unknown:
            self.close()
            raise ServiceError(
                f"the answer of {self._host} cannot be read: "
                f"it is compressed ({clean(unknown[0])[:20]}), which nobody asked for"
            )
        return encodings != [""]


@contextlib.contextmanager
def translate_errors(exchange: Exchange, host: str) -> Iterator[None]:
    """Turn what requests, urllib3 and sockets raise into our errors."""
    try:
        yield
    except (*LIBRARY_ERRORS, OSError) as error:
        exchange.call.cancellation.raise_if_canceled()  # an aborted connection fails in many ways
        limits = exchange.call.limits
        if limits.deadline.has_passed:
            raise limits.deadline.error() from error
        raise translate(error, host, limits) from error
