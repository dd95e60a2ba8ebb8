"""What can go wrong beside a denial, which is a decision and no error."""

from __future__ import annotations


class LimiterError(Exception):
    """The parent of all errors of this package."""


class UnavailableError(LimiterError):
    """Nobody could do what was asked: the daemon is away, or Redis is.

    Whether it was done all the same is not known. What names a lease or a ``request_id`` may be sent again: it is
    done once.
    """


class RequestRefusedError(LimiterError):
    """The daemon does not understand the request: a fault of the caller, never of the user who is limited.

    Attributes:
        status: the HTTP status, from 400 to 499.
        detail: what is wrong and what is accepted.

    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"the daemon refuses the request with {status}: {detail}")
        self.status = status
        self.detail = detail


class ProtocolError(LimiterError):
    """Bytes came that are no answer of the daemon's."""
