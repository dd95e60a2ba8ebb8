"""The client for asyncio."""

from __future__ import annotations

import asyncio
import uuid
from types import TracebackType
from typing import Callable, TypeVar

from . import _calls
from ._address import Address
from ._async_pool import AsyncPool
from ._availability import Availability, logger
from ._calls import AnyLease
from ._client import DEFAULT_CONNECTIONS, DEFAULT_TIMEOUT_SECONDS
from ._outbox import Outbox
from ._reservation import ReservationState
from ._values import Call, Decision, LimitStanding, Refund, Settlement, Status, Usage
from ._wire import Request, Response
from .errors import LimiterError, ProtocolError, RequestRefusedError, UnavailableError

_Answer = TypeVar("_Answer")


class AsyncClient:
    """Asks the daemon, as ``Client`` does, without blocking the event loop.

    It belongs to the loop that uses it: under another one it begins anew, with connections of its own.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        max_connections: int = DEFAULT_CONNECTIONS,
    ) -> None:
        """Make a client; nothing is connected yet, and no loop needs to run.

        Args:
            address: ``unix:///path``, ``/path`` or ``http://host:port``; else what ``LLM_RATE_LIMIT_SOCKET`` says,
                else the daemon's default socket.
            timeout: seconds after which a call gives up, connecting and waiting included.
            max_connections: how many there may be at a time; they stay open.

        Raises:
            ValueError: for an address that is none.

        """
        self._address = Address.parse(address)
        self._timeout = timeout
        self._max_connections = max_connections
        self._availability = Availability(str(self._address))
        self._pool: AsyncPool | None = None
        self._outbox = Outbox()
        self._sender: asyncio.Task[None] | None = None

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Settlements that are under way are waited for, for one deadline."""
        if self._sender is not None and not self._sender.done():
            await asyncio.wait([self._sender], timeout=self._timeout)
            self._sender.cancel()
        if len(self._outbox):
            logger.warning("%d settlements could not be delivered", len(self._outbox))
        if self._pool is not None:
            self._pool.close()

    async def check(self, call: Call | str) -> Decision:
        """Decide whether a call may go on, and charge its requests.

        Args:
            call: the call, or only the user.

        Raises:
            RequestRefusedError: where the daemon does not understand the call.

        """
        call = Call(call) if isinstance(call, str) else call
        return await self._decide(_calls.check(call), call)

    def reserve(self, call: Call | str, *, ttl: int | None = None) -> AsyncReservation:
        """Decide, and hold what the call is expected to come to for as long as an ``async with`` block lasts.

        Args:
            call: the call, or only the user.
            ttl: seconds after which the lease lapses unless it is renewed; the limits file's, where left out.

        """
        return AsyncReservation(self, Call(call) if isinstance(call, str) else call, ttl)

    async def take_lease(self, call: Call, *, ttl: int | None = None) -> Decision:
        """Decide and hold, as ``reserve`` does; the caller settles or releases the lease of the decision.

        Raises:
            RequestRefusedError: where the daemon does not understand the call.

        """
        try:
            return await self._decide(_calls.reserve(call, ttl), call)
        except RequestRefusedError as error:
            if error.status != _calls.NOT_FOUND:
                raise
            self._availability.cannot_reserve()
            return await self.check(call)

    async def settle(
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
        return await self._ask(_calls.settle(lease, usage, model, provider), _calls.settlement)

    async def release(self, lease: AnyLease) -> bool:
        """Give back what a lease holds, and charge nothing; False where it had ended before.

        Raises:
            UnavailableError: where it could not be done, or is not known to be done.

        """
        return await self._ask(_calls.release(lease), _calls.was_released)

    async def renew(self, lease: AnyLease, ttl: int) -> bool:
        """Let a lease live for ``ttl`` seconds from now; False where it has ended.

        Raises:
            UnavailableError: where it could not be done, or is not known to be done.

        """
        return await self._ask(_calls.renew(lease, ttl), _calls.was_renewed)

    async def usage(self, call: Call, usage: Usage, *, request_id: str | None = None) -> Settlement:
        """Charge what a call came to that nothing was reserved for. It is never denied.

        Args:
            call: whose and which call; its cost and estimate are passed over.
            usage: what it came to.
            request_id: a text of 1 to 128 bytes under which it is charged once, however often it is sent.

        Raises:
            UnavailableError: where it could not be done, or is not known to be done.

        """
        return await self._ask(_calls.report(call, usage, request_id), _calls.settlement)

    async def refund(
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
        return await self._ask(_calls.refund(call, usage or Usage(), requests, request_id), _calls.refunded)

    async def status(self, user: str) -> Status:
        """Tell what a user has used of the limit of checks; consumes nothing.

        Raises:
            UnavailableError: where the daemon or Redis is away.

        """
        return await self._ask(_calls.status(user), _calls.user_status)

    async def limits(
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
        return await self._ask(_calls.limits(user, groups, model, provider), _calls.standings)

    def deliver(self, request: Request) -> None:
        """Send what ends a call, from a task of its own, again and again until it has arrived."""
        loop = asyncio.get_running_loop()
        if self._outbox.put(request, loop.time()):
            logger.error("%d settlements are dropped: too many wait for the rate limiter", self._outbox.dropped)
        if self._sender is None or self._sender.done() or self._sender.get_loop() is not loop:
            self._sender = loop.create_task(self._send())

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            letter = self._outbox.next(loop.time())
            if letter is None:
                return
            try:
                is_delivered = await self._ask(letter.request, _calls.is_final)
            except UnavailableError:
                is_delivered = False
            except BaseException:
                self._outbox.back(letter)
                raise
            if is_delivered:
                self._outbox.delivered()
            else:
                await asyncio.sleep(self._outbox.back(letter))

    async def _decide(self, request: Request, call: Call) -> Decision:
        try:
            return await self._ask(request, lambda response: _calls.decision(response, call.user))
        except UnavailableError:
            return Decision.fail_open()

    async def _ask(self, request: Request, read: Callable[[Response], _Answer]) -> _Answer:
        pool = self._pool
        if pool is None or not pool.serves(asyncio.get_running_loop()):
            pool = self._pool = AsyncPool(self._address, self._max_connections)
        try:
            answer = read(await pool.exchange(request, self._timeout))
        except (OSError, ProtocolError) as error:
            self._availability.away(error)
            raise UnavailableError(f"the daemon cannot be asked: {error}") from error
        except LimiterError:
            # It answered, and what it said is no decision.
            self._availability.back()
            raise
        self._availability.back()
        return answer


class AsyncReservation(ReservationState):
    """A call whose quota is held while an ``async with`` block lasts."""

    def __init__(self, client: AsyncClient, call: Call, ttl: int | None) -> None:
        super().__init__(call)
        self._client = client
        self._ttl = ttl

    async def __aenter__(self) -> AsyncReservation:
        self.decision = await self._client.take_lease(self.call, ttl=self._ttl)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        request = self.end(kind, uuid.uuid4().hex)
        if request is not None:
            # Not waited for: a task that is being cancelled must not wait, and nobody needs the answer.
            self._client.deliver(request)
