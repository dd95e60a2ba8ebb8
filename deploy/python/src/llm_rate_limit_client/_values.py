"""What is asked and what is answered. Money is whole micro-dollars (1,000,000 are $1), times are whole seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

DAEMON_UNREACHABLE = "daemon_unreachable"


@dataclass(frozen=True)
class Usage:
    """What a call came to, or what it is expected to come to.

    Attributes:
        input_tokens: tokens of the prompt that came from no cache.
        output_tokens: tokens of the answer, those of reasoning among them.
        cache_read_input_tokens: tokens of the prompt that came from the provider's cache.
        cache_write_input_tokens: tokens of the prompt that were written into it.
        cost_micros: the call's price in micro-dollars. Left out, the daemon's table of prices says it.
        provider_usage: the provider's own usage object, in place of the tokens above: OpenAI's, Anthropic's or
            Gemini's. The daemon tells them apart, and nobody has to subtract cached tokens.
        reasoning_tokens: of the output, what the model thought.
        audio_input_tokens: of the input, sound.
        image_input_tokens: of the input, pictures.
        audio_output_tokens: of the output, sound.
        image_output_tokens: of the output, pictures.

    What is None is not told: it is taken for 0 by a settlement, and learned by a reservation.

    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cost_micros: int | None = None
    provider_usage: Mapping[str, object] | None = None
    reasoning_tokens: int | None = None
    audio_input_tokens: int | None = None
    image_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    image_output_tokens: int | None = None


@dataclass(frozen=True)
class Call:
    """A call to a model, as far as limits look at it.

    Attributes:
        user: who is limited: any text of 1 to 256 bytes of UTF-8.
        cost: how many requests it counts as, from 1 to 1,000,000.
        model: the model's name, as limits and prices have it.
        provider: the provider's name, likewise.
        groups: the user's groups, which count where the daemon has ``LLM_RATE_LIMIT_GROUPS=given``.
        labels: what the file's limits match or have a window for, such as ``{"session": "4711"}``.
        estimate: what it is expected to come to. Left out, the daemon uses what it has learned.
        quotas: what the caller's plan gives of limits with ``quota_from_call``, by their names.

    """

    user: str
    cost: int = 1
    model: str | None = None
    provider: str | None = None
    groups: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    estimate: Usage | None = None
    quotas: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimate:
    """What a reservation holds.

    Attributes:
        source: ``given`` by the call, ``learned`` from earlier ones, or ``none``: nothing is known and nothing held.
        learned_from: ``user`` or ``model``, where it was learned.
        usage: the tokens and micro-dollars.

    """

    source: str
    usage: Usage
    learned_from: str | None = None


@dataclass(frozen=True)
class Lease:
    """What a reservation holds until it is settled, released, or lapses.

    Attributes:
        token: an opaque text, its name on the wire.
        user: its owner, who is charged.
        expires_in: seconds from the reservation on after which it lapses, unless it is renewed.
        estimate: what it holds.

    """

    token: str
    user: str
    expires_in: int
    estimate: Estimate


@dataclass(frozen=True)
class Decision:
    """The answer to a check or a reservation. A denial is one, and no exception.

    Attributes:
        allowed: whether to let the call through.
        limit_name: the limit that the numbers are of; None where none applies or nobody decided.
        limit: its quota.
        remaining: what is left of it; None where nobody counted.
        retry_after: seconds after which to ask again, at least 1 in a denial; None where no wait helps.
        retry_after_at_most: seconds after which the call passes for certain, where ``retry_after`` is a forecast.
        reset_after: seconds until the full quota is free.
        degraded: whether Redis should have decided and did not.
        reason: why it is degraded: ``daemon_unreachable``, or the daemon's own word.
        message: for people, in a denial.
        at_capacity: whether it was slots of concurrency that were missing.
        shadow_denied: whether it would be a denial, were the daemon not in shadow mode.
        lease: what was reserved; None for a check, a denial, and where Redis did not decide.
        headers: ``Retry-After`` and those that say how the quota stands, as ``LLM_RATE_LIMIT_HEADERS`` has them
            sent, to be handed on.
        over: the limits of which more is used than their soft line, which denies nobody.

    """

    allowed: bool
    limit_name: str | None = None
    limit: int | None = None
    remaining: int | None = None
    retry_after: int | None = 0
    retry_after_at_most: int | None = None
    reset_after: int | None = None
    degraded: bool = False
    reason: str | None = None
    message: str | None = None
    at_capacity: bool = False
    shadow_denied: bool = False
    lease: Lease | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    over: tuple[str, ...] = ()

    @classmethod
    def fail_open(cls) -> Decision:
        """Decide where the daemon cannot be asked."""
        return cls(allowed=True, degraded=True, reason=DAEMON_UNREACHABLE)


@dataclass(frozen=True)
class Refund:
    """What became of a refund. All of it is final: nothing is to be sent again.

    Attributes:
        refunded: whether some limit gave something back; False where nothing was left.
        repeated: whether it had been done before, by its id.
        uncounted: units that could not be counted, each with the reason, as ``{"unit": …, "reason": …}``.

    """

    refunded: bool
    repeated: bool = False
    uncounted: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Settlement:
    """What became of a settlement or of reported usage. All of it is final: nothing is to be sent again.

    Attributes:
        charged: whether at least one limit counted something of it.
        repeated: whether it had been settled, released or charged before.
        too_late: whether the lease lapsed so long ago that nobody knows.
        user: the lease's owner, where another user was named.
        uncounted: units that could not be counted, each with the reason, as ``{"unit": …, "reason": …}``.
        ignored: members that were passed over, each with the reason.

    """

    charged: bool
    repeated: bool = False
    too_late: bool = False
    user: str | None = None
    uncounted: tuple[Mapping[str, Any], ...] = ()
    ignored: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Status:
    """What a user has used of the limit of checks; all None where that is switched off."""

    user: str
    limit: int | None
    used: int | None
    remaining: int | None
    reset_after: int | None


@dataclass(frozen=True)
class LimitStanding:
    """How one limit stands for a user.

    Attributes:
        name: the limit's name.
        unit: ``requests``, ``tokens``, …; ``spend`` is in micro-dollars.
        limit: the quota; None where it is unlimited.
        used: what is used and held.
        remaining: what is left.
        reset_after: seconds until all of it is free.
        details: everything that the daemon says of it.

    """

    name: str
    unit: str
    limit: int | None
    used: int | None
    remaining: int | None
    reset_after: int | None
    details: Mapping[str, Any]
