"""What a reserved call tells of itself, and how its lease ends: a state that neither sends nor waits."""

from __future__ import annotations

from . import _calls
from ._values import Call, Decision, Lease, Usage
from ._wire import Request


class ReservationState:
    """A call that was asked for. What is common to both clients' reservations.

    Attributes:
        call: what was asked.
        decision: the answer.

    """

    def __init__(self, call: Call) -> None:
        self.call = call
        self.decision = Decision.fail_open()
        self._usage: Usage | None = None
        self._model: str | None = None
        self._provider: str | None = None
        self._is_over = False

    @property
    def allowed(self) -> bool:
        """Whether the call may go on."""
        return self.decision.allowed

    @property
    def lease(self) -> Lease | None:
        """What is held for it; None for a denial, and where nobody could decide."""
        return self.decision.lease

    def report(self, usage: Usage, *, model: str | None = None, provider: str | None = None) -> None:
        """Tell what the call came to: it is charged at the end of the block. The last report counts.

        Args:
            usage: its tokens and price.
            model: the model that answered, where it is another one than was asked for.
            provider: likewise.

        """
        self._usage, self._model, self._provider = usage, model, provider

    def end(self, error: type[BaseException] | None, request_id: str) -> Request | None:
        """Say what is to be sent at the end of the block; None where nothing is.

        - What was reported is charged, whatever ended the block: it has been spent.
        - An exception of which nothing was reported releases: the call failed.
        - What was cut off from outside (a task that is cancelled, a generator that is closed, Ctrl-C), and what ended
          without a report, is charged with the estimate: a client that hangs up pays.

        Args:
            error: what ended the block.
            request_id: names the usage of a call that has no lease.

        """
        if self._is_over or not self.decision.allowed:
            return None
        self._is_over = True
        lease = self.decision.lease
        if lease is None:
            if self._usage is None:
                return None
            return _calls.report(self._served(), self._usage, request_id)
        if self._usage is not None:
            return _calls.settle(lease, self._usage, self._model, self._provider)
        if error is not None and issubclass(error, Exception) and not _is_cancellation(error):
            return _calls.release(lease)
        return _calls.settle(lease, lease.estimate.usage, None, None)

    def release(self) -> Request | None:
        """Say what is to be sent to give everything back at once; None where nothing is."""
        if self._is_over or self.decision.lease is None:
            return None
        self._is_over = True
        return _calls.release(self.decision.lease)

    def _served(self) -> Call:
        call = self.call
        return Call(
            user=call.user,
            model=self._model or call.model,
            provider=self._provider or call.provider,
            groups=call.groups,
            labels=call.labels,
        )


def _is_cancellation(error: type[BaseException]) -> bool:
    # concurrent.futures has a cancellation that is an Exception; asyncio's has been none since Python 3.8.
    return error.__name__ == "CancelledError"
