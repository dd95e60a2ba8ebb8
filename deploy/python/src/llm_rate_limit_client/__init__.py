"""Client of llm-rate-limit, which decides rate limits, budgets and concurrency for LLM gateways.

``Client`` blocks, ``AsyncClient`` is for asyncio. Both ask over a Unix socket or TCP, give up after a deadline, and
let calls pass while the daemon is away.
"""

from ._async_client import AsyncClient, AsyncReservation
from ._client import Client, Reservation
from ._values import (
    DAEMON_UNREACHABLE,
    Call,
    Decision,
    Estimate,
    Lease,
    LimitStanding,
    Refund,
    Settlement,
    Status,
    Usage,
)
from .errors import LimiterError, ProtocolError, RequestRefusedError, UnavailableError

__all__ = [
    "DAEMON_UNREACHABLE",
    "AsyncClient",
    "AsyncReservation",
    "Call",
    "Client",
    "Decision",
    "Estimate",
    "Lease",
    "LimitStanding",
    "LimiterError",
    "ProtocolError",
    "Refund",
    "RequestRefusedError",
    "Reservation",
    "Settlement",
    "Status",
    "UnavailableError",
    "Usage",
]
