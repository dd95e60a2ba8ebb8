"""Where the daemon listens."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

DEFAULT_SOCKET = "/run/llm-rate-limit/llm-rate-limit.sock"
SOCKET_VARIABLE = "LLM_RATE_LIMIT_SOCKET"


@dataclass(frozen=True)
class Address:
    """A Unix socket's path, or a host and a port."""

    path: str | None = None
    host: str = "localhost"
    port: int = 0

    @classmethod
    def parse(cls, text: str | None = None) -> Address:
        """Read ``unix:///path``, a plain ``/path`` or ``http://host:port``.

        Without a text it is what ``LLM_RATE_LIMIT_SOCKET`` says, else the daemon's default socket.

        Raises:
            ValueError: for any other text.

        """
        text = text or os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET
        if text.startswith("/"):
            return cls(path=text)
        url = urlsplit(text)
        is_bare = not (url.query or url.fragment or url.username or url.password)
        if url.scheme == "unix" and not url.netloc and url.path.startswith("/") and is_bare:
            return cls(path=unquote(url.path))
        if url.scheme == "http" and url.hostname and url.path in ("", "/") and is_bare:
            return cls(host=url.hostname, port=url.port or 80)
        raise ValueError(f"cannot use the address {text!r}: accepted are unix:///path, /path and http://host:port")

    @property
    def authority(self) -> str:
        """What the ``Host`` header says."""
        if self.path is not None:
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return self.path if self.path is not None else self.authority
