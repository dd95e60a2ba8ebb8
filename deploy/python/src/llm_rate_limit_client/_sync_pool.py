"""Blocking connections, kept open, shared by threads."""

from __future__ import annotations

import os
import socket
import threading
import time

from ._address import Address
from ._pool import ClosedError, DeadlineError, is_stale, may_ask_again
from ._wire import Request, Response, ResponseParser

_PART = 65_536


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise DeadlineError
    return left


class _Connection:
    def __init__(self, address: Address, deadline: float) -> None:
        if address.path is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(_left(deadline))
            try:
                self._socket.connect(address.path)
            except BaseException:
                self._socket.close()
                raise
        else:
            self._socket = socket.create_connection((address.host, address.port), timeout=_left(deadline))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def is_stale(self) -> bool:
        return is_stale(self._socket.fileno())

    def close(self) -> None:
        self._socket.close()

    def exchange(self, data: bytes, deadline: float) -> Response:
        rest = memoryview(data)
        while rest:
            self._socket.settimeout(_left(deadline))
            try:
                rest = rest[self._socket.send(rest) :]
            except socket.timeout as error:
                raise DeadlineError from error
            except OSError as error:
                # Something of the request did not get out, so nobody has all of it.
                raise ClosedError(is_unsent=True) from error
        parser = ResponseParser()
        while True:
            self._socket.settimeout(_left(deadline))
            try:
                part = self._socket.recv(_PART)
            except socket.timeout as error:
                raise DeadlineError from error
            except OSError as error:
                raise ClosedError(is_unsent=False) from error
            if not part:
                raise ClosedError(is_unsent=False)
            response = parser.feed(part)
            if response is not None:
                return response


class SyncPool:
    """At most ``size`` connections at a time; who needs one more waits for it within the deadline."""

    def __init__(self, address: Address, size: int) -> None:
        self._address = address
        self._authority = address.authority
        self._slots = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._process = os.getpid()
        self._is_closed = False

    def exchange(self, request: Request, deadline: float) -> Response:
        """Send a request and give its answer.

        Raises:
            OSError: where there was none before the deadline, a time of ``time.monotonic``.
            ProtocolError: where it was none.

        """
        self._leave_parent()
        data = request.encode(self._authority)
        if not self._slots.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise DeadlineError
        try:
            idle = self._take_idle()
            if idle is not None:
                try:
                    return self._exchange(idle, data, deadline)
                except OSError as error:
                    if not may_ask_again(request, error, was_idle=True):
                        raise
            return self._exchange(_Connection(self._address, deadline), data, deadline)
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close what is idle; what is in use closes when it is done."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _exchange(self, connection: _Connection, data: bytes, deadline: float) -> Response:
        try:
            response = connection.exchange(data, deadline)
        except BaseException:
            # An answer that still comes must not be taken for another request's.
            connection.close()
            raise
        with self._lock:
            if response.keeps_alive and not self._is_closed:
                self._idle.append(connection)
                return response
        connection.close()
        return response

    def _take_idle(self) -> _Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not connection.is_stale:
                return connection
            connection.close()

    def _leave_parent(self) -> None:
        """After a fork, leave the parent's connections to it: answers would go to either of the two."""
        if self._process == os.getpid():
            return
        with self._lock:
            if self._process != os.getpid():
                for connection in self._idle:
                    connection.close()
                self._idle = []
                self._process = os.getpid()
