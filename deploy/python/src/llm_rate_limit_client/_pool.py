"""What both pools of connections have in common: when a connection is fit for use, and when to ask once more."""

from __future__ import annotations

import select

from ._wire import Request


class DeadlineError(OSError):
    """There was no answer in time."""

    def __init__(self) -> None:
        super().__init__("no answer in time")


class ClosedError(OSError):
    """The connection ended before there was an answer.

    Attributes:
        is_unsent: whether the request certainly did not arrive whole, and so was not done.

    """

    def __init__(self, *, is_unsent: bool) -> None:
        super().__init__("the connection was closed before there was an answer")
        self.is_unsent = is_unsent


def is_stale(descriptor: int) -> bool:
    """Say whether an idle connection cannot be used: it was closed, or bytes lie there that nobody asked for."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def may_ask_again(request: Request, error: OSError, *, was_idle: bool) -> bool:
    """Say whether a request that failed may be sent once more, on a fresh connection.

    Only one that had lain idle may have been closed for that reason; and only what was not done, or is done once
    however often it is sent, may be sent twice.
    """
    return was_idle and isinstance(error, ClosedError) and (error.is_unsent or request.is_repeatable)
