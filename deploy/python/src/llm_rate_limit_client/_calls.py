"""The requests of every method, and how their answers are read: what both clients have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn, Union
from urllib.parse import quote, urlencode

from ._availability import logger
from ._values import Call, Decision, Estimate, Lease, LimitStanding, Refund, Settlement, Status, Usage
from ._wire import Request, Response
from .errors import ProtocolError, RequestRefusedError, UnavailableError

_HANDED_ON = tuple(
    (name.lower(), name)
    for name in (
        "Retry-After",
        "RateLimit",
        "RateLimit-Policy",
        "X-RateLimit-Limit",
        "X-RateLimit-Remaining",
        "X-RateLimit-Reset",
    )
)
_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_write_input_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "image_input_tokens",
    "audio_output_tokens",
    "image_output_tokens",
    "cost_micros",
)

DENIED = 429
NOT_FOUND = 404
UNAVAILABLE = 503
_CLIENT_ERRORS = range(400, 500)

#: A lease, or its token as it was kept somewhere.
AnyLease = Union[Lease, str]


def _usage_members(usage: Usage | None) -> dict[str, object]:
    if usage is None:
        return {}
    if usage.provider_usage is not None:
        members: dict[str, object] = {"usage": dict(usage.provider_usage)}
        if usage.cost_micros is not None:
            members["cost_micros"] = usage.cost_micros
        return members
    counts = ((name, getattr(usage, name)) for name in _COUNTS)
    return {name: count for name, count in counts if count is not None}


def _call_members(call: Call) -> dict[str, object]:
    members: dict[str, object] = {"user": call.user}
    if call.cost != 1:
        members["cost"] = call.cost
    if call.model:
        members["model"] = call.model
    if call.provider:
        members["provider"] = call.provider
    if call.groups:
        members["groups"] = list(call.groups)
    if call.labels:
        members["labels"] = dict(call.labels)
    if call.quotas:
        members["quotas"] = dict(call.quotas)
    members.update(_usage_members(call.estimate))
    return members


def _lease_members(lease: AnyLease) -> dict[str, object]:
    if isinstance(lease, str):
        return {"lease": lease}
    return {"lease": lease.token, "user": lease.user}


def check(call: Call | str) -> Request:
    """Ask whether a call may go on, and charge its requests."""
    call = Call(call) if isinstance(call, str) else call
    return Request("POST", "/v1/check", _call_members(call))


def reserve(call: Call, ttl: int | None) -> Request:
    """Ask, and hold what the call is expected to come to."""
    members = _call_members(call)
    if ttl is not None:
        members["ttl"] = ttl
    return Request("POST", "/v1/reserve", members)


def settle(lease: AnyLease, usage: Usage, model: str | None, provider: str | None) -> Request:
    """Charge what a call came to in place of what its lease holds."""
    members = _lease_members(lease)
    if model:
        members["model"] = model
    if provider:
        members["provider"] = provider
    members.update(_usage_members(usage))
    return Request("POST", "/v1/settle", members, is_repeatable=True)


def release(lease: AnyLease) -> Request:
    """Give back what a lease holds."""
    return Request("POST", "/v1/release", _lease_members(lease), is_repeatable=True)


def renew(lease: AnyLease, ttl: int) -> Request:
    """Let a lease live longer."""
    return Request("POST", "/v1/renew", {**_lease_members(lease), "ttl": ttl}, is_repeatable=True)


def report(call: Call, usage: Usage, request_id: str | None) -> Request:
    """Charge what a call came to that nothing was reserved for."""
    members = _call_members(call)
    members.pop("cost", None)
    for name in (*_COUNTS, "usage"):
        members.pop(name, None)
    members.update(_usage_members(usage))
    if request_id is not None:
        members["request_id"] = request_id
    return Request("POST", "/v1/usage", members, is_repeatable=request_id is not None)


def refund(call: Call, usage: Usage, requests: int, request_id: str | None) -> Request:
    """Take back what was charged by mistake."""
    reported = report(call, usage, request_id)
    members = {**(reported.body or {}), "refund": True}
    if requests:
        members["cost"] = requests
    return replace(reported, body=members)


def status(user: str) -> Request:
    """Look at the limit of checks."""
    return Request("GET", f"/v1/users/{quote(user, safe='', errors='surrogatepass')}", is_repeatable=True)


def limits(user: str, groups: tuple[str, ...], model: str | None, provider: str | None) -> Request:
    """Look at all limits."""
    pairs = [("group", group) for group in groups]
    pairs += [(name, value) for name, value in (("model", model), ("provider", provider)) if value]
    query = f"?{urlencode(pairs)}" if pairs else ""
    path = f"/v1/users/{quote(user, safe='', errors='surrogatepass')}/usage"
    return Request("GET", path + query, is_repeatable=True)


def _raise(response: Response) -> NoReturn:
    detail = response.json().get("detail")
    if response.status in _CLIENT_ERRORS:
        raise RequestRefusedError(response.status, str(detail))
    if response.status == UNAVAILABLE:
        raise UnavailableError(str(detail))
    raise ProtocolError(f"the daemon answers with status {response.status}")


def _lease(answer: Mapping[str, Any], user: str) -> Lease | None:
    token = answer.get("lease")
    if not isinstance(token, str):
        return None
    held = answer.get("estimate") or {}
    usage = Usage(**{name: held.get(name) for name in _COUNTS})
    estimate = Estimate(str(held.get("source", "none")), usage, held.get("learned_from"))
    return Lease(token, user, int(answer.get("expires_in") or 0), estimate)


def decision(response: Response, user: str) -> Decision:
    """Read the answer to a check or a reservation.

    Raises:
        RequestRefusedError: where the daemon does not understand the question.
        ProtocolError: where it is no answer.

    """
    answer = response.json()
    headers = {name: response.headers[key] for key, name in _HANDED_ON if key in response.headers}
    if response.status == UNAVAILABLE and "allowed" not in answer:
        # The failure mode is closed: nobody decided, and the call must not go on.
        wait = headers.get("Retry-After", "1")
        return Decision(
            allowed=False,
            degraded=True,
            reason="closed",
            message=answer.get("detail"),
            retry_after=int(wait) if wait.isdigit() else 1,
            headers=headers,
        )
    if not (response.is_ok or response.status in (DENIED, UNAVAILABLE)):
        _raise(response)
    if not isinstance(answer.get("allowed"), bool):
        raise ProtocolError("the answer is no decision")
    return Decision(
        allowed=answer["allowed"],
        limit_name=answer.get("limit_name"),
        limit=answer.get("limit"),
        remaining=answer.get("remaining"),
        retry_after=answer.get("retry_after"),
        retry_after_at_most=answer.get("retry_after_at_most"),
        reset_after=answer.get("reset_after"),
        degraded=bool(answer.get("degraded")),
        reason=answer.get("reason"),
        message=answer.get("message"),
        at_capacity=bool(answer.get("at_capacity")),
        shadow_denied=bool(answer.get("shadow_denied")),
        lease=_lease(answer, user),
        headers=headers,
        over=tuple(answer.get("over", ())),
    )


def settlement(response: Response) -> Settlement:
    """Read the answer to a settlement or to reported usage."""
    if not response.is_ok:
        _raise(response)
    answer = response.json()
    return Settlement(
        charged=bool(answer.get("charged")),
        repeated=bool(answer.get("repeated")),
        too_late=bool(answer.get("too_late")),
        user=answer.get("user"),
        uncounted=tuple(answer.get("uncounted") or ()),
        ignored=tuple(answer.get("ignored") or ()),
    )


def refunded(response: Response) -> Refund:
    """Read the answer to a refund."""
    if not response.is_ok:
        _raise(response)
    answer = response.json()
    return Refund(
        refunded=bool(answer.get("refunded")),
        repeated=bool(answer.get("repeated")),
        uncounted=tuple(answer.get("uncounted") or ()),
    )


def was_released(response: Response) -> bool:
    """Read the answer to a release: whether the lease stood."""
    if response.status == NOT_FOUND:
        return False
    if not response.is_ok:
        _raise(response)
    return response.json().get("released") is True


def was_renewed(response: Response) -> bool:
    """Read the answer to a renewal: whether the lease stands."""
    if response.status == NOT_FOUND:
        return False
    if not response.is_ok:
        _raise(response)
    return True


def is_final(response: Response) -> bool:
    """Say whether what ends a call needs no second sending: it was done, or will never be."""
    if response.status in _CLIENT_ERRORS and response.status != NOT_FOUND:
        logger.error("the rate limiter refuses a settlement, which is dropped: %s", response.body[:500])
    return response.is_ok or response.status in _CLIENT_ERRORS


def user_status(response: Response) -> Status:
    """Read how the limit of checks stands."""
    if not response.is_ok:
        _raise(response)
    answer = response.json()
    return Status(
        str(answer.get("user")),
        answer.get("limit"),
        answer.get("used"),
        answer.get("remaining"),
        answer.get("reset_after"),
    )


def standings(response: Response) -> tuple[LimitStanding, ...]:
    """Read how all limits stand."""
    if not response.is_ok:
        _raise(response)
    return tuple(
        LimitStanding(
            str(limit.get("name")),
            str(limit.get("unit")),
            limit.get("limit"),
            limit.get("used"),
            limit.get("remaining"),
            limit.get("reset_after"),
            limit,
        )
        for limit in response.json().get("limits") or ()
    )
