"""HTTP/1.1 as the daemon speaks it, without any input or output of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from .errors import ProtocolError

MAX_HEAD_BYTES = 65_536
MAX_BODY_BYTES = 16 * 1_048_576

_HEAD_END = b"\r\n\r\n"
_OK = range(200, 300)


@dataclass(frozen=True)
class Request:
    """One call to the daemon.

    Attributes:
        method: GET or POST.
        target: path and query.
        body: what is sent as JSON, if anything.
        is_repeatable: whether it is done once, however often it is sent.

    """

    method: str
    target: str
    body: Mapping[str, object] | None = None
    is_repeatable: bool = False

    def encode(self, authority: str) -> bytes:
        """Write it as it goes over the socket."""
        head = f"{self.method} {self.target} HTTP/1.1\r\nHost: {authority}\r\n"
        if self.body is None:
            return f"{head}\r\n".encode("ascii")
        # Everything that is not ASCII is escaped, so that half a surrogate pair is told as what it is.
        payload = json.dumps(self.body, separators=(",", ":"))
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n{payload}".encode(
            "ascii"
        )


@dataclass(frozen=True)
class Response:
    """One answer: its status, its headers by lower-case names, and its body as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    keeps_alive: bool = True

    @property
    def is_ok(self) -> bool:
        """Whether what was asked was done."""
        return self.status in _OK

    def json(self) -> dict[str, Any]:
        """Read the body, a JSON object.

        Raises:
            ProtocolError: where it is none.

        """
        if not self.body:
            return {}
        try:
            value = json.loads(self.body)
        except ValueError as error:
            raise ProtocolError(f"cannot read the answer: {error}") from error
        if not isinstance(value, dict):
            raise ProtocolError("cannot read the answer: it is no JSON object")
        return cast("dict[str, Any]", value)


@dataclass
class ResponseParser:
    """Reads one answer from bytes that come in parts; for the next answer there is another parser."""

    _buffer: bytearray = field(default_factory=bytearray)
    _head: Response | None = None
    _body_start: int = 0
    _length: int = 0

    def feed(self, data: bytes) -> Response | None:
        """Take more bytes; give the answer once it is whole.

        Raises:
            ProtocolError: where they are no answer, are larger than bounds allow, or go on behind the answer.

        """
        self._buffer += data
        if self._head is None and not self._read_head():
            return None
        have = len(self._buffer) - self._body_start
        if have < self._length:
            return None
        if have > self._length or self._head is None:
            raise ProtocolError("more bytes came than the answer has")
        body = bytes(self._buffer[self._body_start :])
        return Response(self._head.status, self._head.headers, body, self._head.keeps_alive)

    def _read_head(self) -> bool:
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise ProtocolError(f"the head of the answer is above {MAX_HEAD_BYTES} bytes")
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        version, _, rest = lines[0].partition(" ")
        code = rest[:3]
        if version not in ("HTTP/1.1", "HTTP/1.0") or not code.isdigit():
            raise ProtocolError(f"no answer begins with {lines[0][:80]!r}")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon:
                raise ProtocolError(f"no header is {line[:80]!r}")
            headers[name.strip().lower()] = value.strip()
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdigit() or int(length) > MAX_BODY_BYTES:
            raise ProtocolError("the answer has no length, or one that is out of bounds")
        keeps_alive = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        self._head = Response(int(code), headers, b"", keeps_alive)
        self._body_start = end + len(_HEAD_END)
        # A 204 has no body, whatever its headers say.
        self._length = 0 if self._head.status == 204 else int(length)  # noqa: PLR2004
        return True
