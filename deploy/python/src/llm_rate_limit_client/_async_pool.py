"""Connections of one event loop, kept open."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import cast

from ._address import Address
from ._pool import ClosedError, DeadlineError, is_stale, may_ask_again
from ._wire import Request, Response, ResponseParser
from .errors import ProtocolError


class _Connection(asyncio.Protocol):
    """One request at a time; its answer, or why there is none, is the result of a future."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._descriptor = -1
        self._parser = ResponseParser()
        self._answer: asyncio.Future[Response] | None = None
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._descriptor = transport.get_extra_info("socket").fileno()
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or answer.done():
            self.close()
            return
        try:
            response = self._parser.feed(data)
        except ProtocolError as error:
            answer.set_exception(error)
            self.close()
            return
        if response is not None:
            answer.set_result(response)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            # EPIPE: the end of the request found the connection closed, so nobody has all of it.
            self._answer.set_exception(ClosedError(is_unsent=isinstance(error, BrokenPipeError)))

    @property
    def is_usable(self) -> bool:
        return self.is_open and not is_stale(self._descriptor)

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    async def exchange(self, data: bytes, deadline: float) -> Response:
        if self._transport is None:
            raise ClosedError(is_unsent=True)
        self._parser = ResponseParser()
        answer = self._answer = self._loop.create_future()
        timer = self._loop.call_at(deadline, _expire, answer)
        try:
            self._transport.write(data)
            return cast("Response", await answer)
        except BaseException:
            # An answer that still comes must not be taken for another request's.
            self.close()
            raise
        finally:
            timer.cancel()
            self._answer = None


def _expire(answer: asyncio.Future[Response]) -> None:
    if not answer.done():
        answer.set_exception(DeadlineError())


class AsyncPool:
    """At most ``size`` connections at a time; who needs one more waits for it within the deadline."""

    def __init__(self, address: Address, size: int) -> None:
        self._address = address
        self._authority = address.authority
        self._loop = asyncio.get_running_loop()
        self._free = size
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._idle: list[_Connection] = []
        self._process = os.getpid()
        self._is_closed = False

    def serves(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether it is this loop's, and this process's."""
        return self._loop is loop and self._process == os.getpid()

    async def exchange(self, request: Request, timeout: float) -> Response:
        """Send a request and give its answer.

        Raises:
            OSError: where there was none within ``timeout`` seconds.
            ProtocolError: where it was none.

        """
        deadline = self._loop.time() + timeout
        data = request.encode(self._authority)
        await self._take_slot(deadline)
        try:
            idle = self._take_idle()
            if idle is not None:
                try:
                    return await self._exchange(idle, data, deadline)
                except OSError as error:
                    if not may_ask_again(request, error, was_idle=True):
                        raise
            return await self._exchange(await self._connect(deadline), data, deadline)
        finally:
            self._give_slot()

    def close(self) -> None:
        """Close what is idle; what is in use closes when it is done."""
        self._is_closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    async def _exchange(self, connection: _Connection, data: bytes, deadline: float) -> Response:
        response = await connection.exchange(data, deadline)
        if response.keeps_alive and connection.is_open and not self._is_closed:
            self._idle.append(connection)
        else:
            connection.close()
        return response

    async def _connect(self, deadline: float) -> _Connection:
        loop = self._loop

        async def connect() -> _Connection:
            if self._address.path is not None:
                _, made = await loop.create_unix_connection(lambda: _Connection(loop), self._address.path)
            else:
                _, made = await loop.create_connection(
                    lambda: _Connection(loop), self._address.host, self._address.port
                )
            return made

        try:
            return await asyncio.wait_for(connect(), max(0.0, deadline - loop.time()))
        except asyncio.TimeoutError as error:
            raise DeadlineError from error

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.close()
        return None

    async def _take_slot(self, deadline: float) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(turn)
        try:
            await asyncio.wait_for(turn, max(0.0, deadline - self._loop.time()))
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # The slot came in the moment in which it was given up.
                self._give_slot()
            if isinstance(error, asyncio.TimeoutError):
                raise DeadlineError from error
            raise

    def _give_slot(self) -> None:
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
