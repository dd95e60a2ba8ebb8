"""The blocking client."""

from __future__ import annotations

import threading
import time
import uuid
from types import TracebackType
from typing import Callable, TypeVar

from . import _calls
from ._address import Address
from ._availability import Availability, logger
from ._calls import AnyLease
from ._outbox import Outbox
from ._reservation import ReservationState
from ._sync_pool import SyncPool
from ._values import Call, Decision, LimitStanding, Refund, Settlement, Status, Usage
from ._wire import Request, Response
from .errors import LimiterError, ProtocolError, RequestRefusedError, UnavailableError

DEFAULT_TIMEOUT_SECONDS = 0.2
DEFAULT_CONNECTIONS = 64


_Answer = TypeVar("_Answer")


class Client:
    """Asks the daemon; may be shared by threads.

    A check or a reservation never raises because the daemon is away: it is allowed, with ``degraded`` true and
    ``daemon_unreachable`` as its reason.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        max_connections: int = DEFAULT_CONNECTIONS,
    ) -> None:
        """Make a client; nothing is connected yet.

        Args:
            address: ``unix:///path``, ``/path`` or ``http://host:port``; else what ``LLM_RATE_LIMIT_SOCKET`` says,
                else the daemon's default socket.
            timeout: seconds after which a call gives up, connecting and waiting included.
            max_connections: how many there may be at a time; they stay open.

        Raises:
            ValueError: for an address that is none.

        """
        where = Address.parse(address)
        self._pool = SyncPool(where, max_connections)
        self._timeout = timeout
        self._availability = Availability(str(where))
        self._outbox = Outbox()
        self._outbox_changed = threading.Condition()
        self._sender: threading.Thread | None = None
        self._is_closed = False

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Settlements that could not be delivered yet are tried once more."""
        with self._outbox_changed:
            self._is_closed = True
            self._outbox_changed.notify_all()
            sender = self._sender
        if sender is not None:
            sender.join(timeout=2 * self._timeout + 1)
        self._pool.close()

    def check(self, call: Call | str) -> Decision:
        """Decide whether a call may go on, and charge its requests.

        Args:
            call: the call, or only the user.

        Raises:
            RequestRefusedError: where the daemon does not understand the call.

        """
        call = Call(call) if isinstance(call, str) else call
        return self._decide(_calls.check(call), call)

    def reserve(self, call: Call | str, *, ttl: int | None = None) -> Reservation:
        """Decide, and hold what the call is expected to come to for as long as a ``with`` block lasts.

        ::

            with client.reserve(Call("alice", model="gpt-4o")) as reservation:
                if reservation.allowed:
                    answer = ask_the_model()
                    reservation.report(Usage(provider_usage=answer["usage"]))

        Args:
            call: the call, or only the user.
            ttl: seconds after which the lease lapses unless it is renewed; the limits file's, where left out.

        """
        return Reservation(self, Call(call) if isinstance(call, str) else call, ttl)

    def take_lease(self, call: Call, *, ttl: int | None = None) -> Decision:
        """Decide and hold, as ``reserve`` does; the caller settles or releases the lease of the decision.

        Raises:
            RequestRefusedError: where the daemon does not understand the call.

        """
        try:
            return self._decide(_calls.reserve(call, ttl), call)
        except RequestRefusedError as error:
            if error.status != _calls.NOT_FOUND:
                raise
            self._availability.cannot_reserve()
            return self.check(call)

    def settle(
        self, lease: AnyLease, usage: Usage, *, model: str | None = None, provider: str | None = None
    ) -> Settlement:
        """Charge what a call came to in place of what its lease holds; once, however often it is sent.

        Args:
            lease: what ``take_lease`` gave.
            usage: what the call came to.
            model: the model that answered, where it is another one than was asked for.
            provider: likewise.

        Raises:
            UnavailableError: where it could not be done, or is not known to be done.
            RequestRefusedError: where the lease is none.

        """
        return self._ask(_calls.settle(lease, usage, model, provider), _calls.settlement)

    def release(self, lease: AnyLease) -> bool:
        """Give back what a lease holds, and charge nothing; False where it had ended before.

        Raises:
            UnavailableError: where it could not be done, or is not known to be done.

        """
        return self._ask(_calls.release(lease), _calls.was_released)

    def renew(self, lease: AnyLease, ttl: int) -> bool:
        """Let a lease live for ``ttl`` seconds from now; False where it has ended.

        Raises:
            UnavailableError: where it could not be done, or is not known to be done.

        """
        return self._ask(_calls.renew(lease, ttl), _calls.was_renewed)

    def usage(self, call: Call, usage: Usage, *, request_id: str | None = None) -> Settlement:
        """Charge what a call came to that nothing was reserved for. It is never denied.

        Args:
            call: whose and which call; its cost and estimate are passed over.
            usage: what it came to.
            request_id: a text of 1 to 128 bytes under which it is charged once, however often it is sent.

        Raises:
            UnavailableError: where it could not be done, or is not known to be done.

        """
        return self._ask(_calls.report(call, usage, request_id), _calls.settlement)

    def refund(
        self, call: Call, usage: Usage | None = None, *, requests: int = 0, request_id: str | None = None
    ) -> Refund:
        """Take back what was charged by mistake, in every limit that counted it and never below nothing.

        Args:
            call: as it was when it was charged; its cost and estimate are passed over.
            usage: what was charged; what the daemon's prices said of it is given back as well.
            requests: how many requests are given back.
            request_id: a text of 1 to 128 bytes under which it is done once, however often it is sent; it may be that
                of the usage that is taken back.

        Raises:
            UnavailableError: where it could not be done, or is not known to be done.

        """
        return self._ask(_calls.refund(call, usage or Usage(), requests, request_id), _calls.refunded)

    def status(self, user: str) -> Status:
        """Tell what a user has used of the limit of checks; consumes nothing.

        Raises:
            UnavailableError: where the daemon or Redis is away.

        """
        return self._ask(_calls.status(user), _calls.user_status)

    def limits(
        self,
        user: str,
        *,
        groups: tuple[str, ...] = (),
        model: str | None = None,
        provider: str | None = None,
    ) -> tuple[LimitStanding, ...]:
        """Tell how each limit in force stands for a user; consumes nothing.

        Args:
            user: the user.
            groups: the user's groups, where calls name them.
            model: whose windows to show, where a limit has a window for each model.
            provider: likewise.

        Raises:
            UnavailableError: where the daemon or Redis is away.

        """
        return self._ask(_calls.limits(user, groups, model, provider), _calls.standings)

    def deliver(self, request: Request) -> None:
        """Send what ends a call. What cannot be delivered now is sent from a thread of its own, later."""
        if self._delivers(request):
            return
        with self._outbox_changed:
            if self._outbox.put(request, time.monotonic()):
                logger.error("%d settlements are dropped: too many wait for the rate limiter", self._outbox.dropped)
            # One that is not alive was left behind by a fork.
            if (self._sender is None or not self._sender.is_alive()) and not self._is_closed:
                self._sender = threading.Thread(target=self._send, name="llm-rate-limit-outbox", daemon=True)
                self._sender.start()

    def _send(self) -> None:
        # How many are tried once more after the client was closed.
        left: int | None = None
        while True:
            with self._outbox_changed:
                if self._is_closed and left is None:
                    left = len(self._outbox)
                if left == 0 and len(self._outbox):
                    logger.error("%d settlements could not be delivered", len(self._outbox))
                    return
                letter = self._outbox.next(time.monotonic())
                if letter is None:
                    self._sender = None
                    return
            is_delivered = self._delivers(letter.request)
            with self._outbox_changed:
                left = left - 1 if left is not None else None
                if is_delivered:
                    self._outbox.delivered()
                    continue
                pause = self._outbox.back(letter)
                if not self._is_closed:
                    self._outbox_changed.wait(pause)

    def _delivers(self, request: Request) -> bool:
        try:
            return self._ask(request, _calls.is_final)
        except UnavailableError:
            return False

    def _decide(self, request: Request, call: Call) -> Decision:
        try:
            return self._ask(request, lambda response: _calls.decision(response, call.user))
        except UnavailableError:
            return Decision.fail_open()

    def _ask(self, request: Request, read: Callable[[Response], _Answer]) -> _Answer:
        try:
            answer = read(self._pool.exchange(request, time.monotonic() + self._timeout))
        except (OSError, ProtocolError) as error:
            self._availability.away(error)
            raise UnavailableError(f"the daemon cannot be asked: {error}") from error
        except LimiterError:
            # It answered, and what it said is no decision.
            self._availability.back()
            raise
        self._availability.back()
        return answer


class Reservation(ReservationState):
    """A call whose quota is held while a ``with`` block lasts."""

    def __init__(self, client: Client, call: Call, ttl: int | None) -> None:
        super().__init__(call)
        self._client = client
        self._ttl = ttl

    def __enter__(self) -> Reservation:
        self.decision = self._client.take_lease(self.call, ttl=self._ttl)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        request = self.end(kind, uuid.uuid4().hex)
        if request is not None:
            self._client.deliver(request)
