"""What a LiteLLM proxy knows of a call, as a call of ours; needs no LiteLLM."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

from ._client import DEFAULT_TIMEOUT_SECONDS
from ._money import micros
from ._values import Call, Usage

_PREFIX = "LLM_RATE_LIMIT_LITELLM_"
_MAX_SUBJECT_BYTES = 256
#: Of all tags of a request. Each byte may take six in JSON, and a body has at most 65,536.
_MAX_TAG_BYTES = 8_192
_MAX_COUNT = 1_000_000_000_000

#: What a user may be taken from: names here, and attributes of LiteLLM's ``UserAPIKeyAuth``.
_IDENTITIES = {
    "user": "user_id",
    "key": "api_key",
    "key_alias": "key_alias",
    "email": "user_email",
    "end_user": "end_user_id",
    "team": "team_id",
    "org": "org_id",
}
_LABELS = {
    "key": "api_key",
    "key_alias": "key_alias",
    "end_user": "end_user_id",
    "org": "org_id",
    "project": "project_id",
    "agent": "agent_id",
}
#: The calls that models answer, and that LiteLLM tells the end of.
MODEL_CALLS = frozenset(
    prefix + name
    for name in (
        "completion",
        "text_completion",
        "embedding",
        "image_generation",
        "image_edit",
        "moderation",
        "transcription",
        "speech",
        "rerank",
        "responses",
        "anthropic_messages",
        "generate_content",
        "generate_content_stream",
        "ocr",
    )
    for prefix in ("", "a")
)
_YES = ("yes", "true", "on", "1")
_NO = ("no", "false", "off", "0", "")


@dataclass(frozen=True)
class Settings:
    """How the callback is configured, by variables that begin with ``LLM_RATE_LIMIT_LITELLM_``.

    Attributes:
        user: what the user is taken from, the first that is there: ``USER``, by default ``user,key``.
        group: what the group is taken from: ``GROUP``, by default ``team``; empty for none.
        timeout: ``DEADLINE_MS``: how long a call may wait for its decision; here in seconds.
        ttl: ``TTL``: seconds after which the lease of a proxy that died lapses.
        falls_back: ``FALLBACK``: whether a denial sets off the router's fallbacks to other models.

    """

    user: tuple[str, ...] = ("user", "key")
    group: tuple[str, ...] = ("team",)
    timeout: float = DEFAULT_TIMEOUT_SECONDS
    ttl: int = 60
    falls_back: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the variables.

        Raises:
            ValueError: for a value that is not accepted, with what is.

        """
        variables = os.environ if environment is None else environment

        def value(name: str, default: str) -> str:
            return variables.get(_PREFIX + name, default).strip()

        def names(name: str, default: str) -> tuple[str, ...]:
            chosen = tuple(part.strip() for part in value(name, default).split(",") if part.strip())
            if not set(chosen) <= set(_IDENTITIES):
                raise ValueError(f"cannot use {_PREFIX}{name}={value(name, default)}: accepted are {_LIST}")
            return chosen

        def number(name: str, default: int, highest: int) -> int:
            text = value(name, str(default))
            if not text.isdigit() or not 1 <= int(text) <= highest:
                raise ValueError(f"cannot use {_PREFIX}{name}={text}: accepted are whole numbers from 1 to {highest}")
            return int(text)

        user = names("USER", "user,key")
        if not user:
            raise ValueError(f"cannot use {_PREFIX}USER=: accepted are {_LIST}")
        fallback = value("FALLBACK", "no").lower()
        if fallback not in _YES + _NO:
            raise ValueError(f"cannot use {_PREFIX}FALLBACK={fallback}: accepted are yes and no")
        return cls(
            user=user,
            group=names("GROUP", "team"),
            timeout=number("DEADLINE_MS", 200, 60_000) / 1_000,
            ttl=number("TTL", 60, 86_400),
            falls_back=fallback in _YES,
        )


_LIST = "one or more of " + ", ".join(_IDENTITIES) + ", with commas between them"


class TooManyTagsError(ValueError):
    """The tags of a request are more than can be asked about: it must not pass the limits that look at them."""

    def __init__(self) -> None:
        """Say what is accepted."""
        super().__init__(f"cannot use the tags: accepted are {_MAX_TAG_BYTES} bytes of them in all")


def subject(text: object) -> str | None:
    """Make a user or group of what a gateway has: a text of 1 to 256 bytes; a longer one is told by its SHA-256."""
    if text is None:
        return None
    encoded = str(text).encode("utf-8", "replace")
    if not encoded:
        return None
    if len(encoded) > _MAX_SUBJECT_BYTES:
        return "sha256:" + hashlib.sha256(encoded).hexdigest()
    return encoded.decode("utf-8")


def _first(auth: object, names: tuple[str, ...]) -> str | None:
    for name in names:
        found = subject(getattr(auth, _IDENTITIES[name], None))
        if found is not None:
            return found
    return None


def _metadata(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [value for value in (data.get("metadata"), data.get("litellm_metadata")) if isinstance(value, Mapping)]


def _labels(auth: object, data: Mapping[str, Any], call_type: str) -> dict[str, str]:
    labels = {"call_type": call_type}
    tag_bytes = 0
    for metadata in _metadata(data):
        tags = metadata.get("tags")
        for tag in tags if isinstance(tags, list) else ():
            tag_bytes += len(str(tag).encode("utf-8", "replace")) + 1
            if tag_bytes > _MAX_TAG_BYTES:
                raise TooManyTagsError
            # "env:prod" is the label tag.env with the value prod, "nightly" is tag.nightly with yes. Behind "tag.", so
            # that no tag, which clients choose, stands in for a label that LiteLLM vouches for.
            name, colon, value = str(tag).partition(":")
            label, said = subject(f"tag.{name}"), subject(value) if colon else "yes"
            if label is not None and said is not None:
                labels[label] = said
    session = data.get("litellm_session_id") or next(
        (metadata["session_id"] for metadata in _metadata(data) if metadata.get("session_id")), None
    )
    found = ((label, getattr(auth, attribute, None)) for label, attribute in _LABELS.items())
    for label, said in (*found, ("session", session)):
        text = subject(said)
        if text is not None:
            labels[label] = text
    return labels


def call_of(
    settings: Settings,
    auth: object,
    data: Mapping[str, Any],
    call_type: str,
    provider_of: Callable[[str], str | None] = lambda _: None,
) -> Call | None:
    """Make a call of ours; None where nobody can be named who makes it.

    Args:
        settings: which identity is the user.
        auth: LiteLLM's ``UserAPIKeyAuth``.
        data: the request's body, as LiteLLM has it.
        call_type: LiteLLM's name for the route.
        provider_of: the provider of a model, where all deployments of it have the same.

    Raises:
        TooManyTagsError: where the request has more tags than can be asked about.

    """
    user = _first(auth, settings.user)
    if user is None:
        return None
    group = _first(auth, settings.group)
    model = subject(data.get("model"))
    return Call(
        user=user,
        model=model,
        provider=provider_of(model) if model else None,
        groups=(group,) if group is not None else (),
        labels=_labels(auth, data, call_type),
    )


def _count(value: object) -> int | None:
    is_count = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT
    return int(value) if is_count else None  # type: ignore[call-overload]


def _object(value: object) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    dump = getattr(value, "model_dump", None)
    dumped = dump() if callable(dump) else None
    return dumped if isinstance(dumped, Mapping) else {}


_DETAILS = ("prompt_tokens_details", "input_tokens_details", "completion_tokens_details", "output_tokens_details")
_PARTS = ("cached_tokens", "reasoning_tokens", "audio_tokens", "image_tokens")


def provider_usage(value: object) -> dict[str, object] | None:
    """Take what the daemon reads from a usage object of LiteLLM's; None where it counts no tokens.

    LiteLLM gives OpenAI's form for all providers (what was cached is a part of the prompt), and on some routes the
    provider's own.
    """
    usage = _object(value)
    kept: dict[str, object] = {}
    for name in (
        "prompt_tokens",
        "completion_tokens",
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
    ):
        count = _count(usage.get(name))
        if count is not None:
            kept[name] = count
    if "prompt_tokens" in kept or "completion_tokens" in kept:
        kept.pop("input_tokens", None)
        kept.pop("output_tokens", None)
    elif "input_tokens" not in kept and "output_tokens" not in kept:
        return None
    for name in _DETAILS:
        details = _object(usage.get(name))
        counts = {part: _count(details.get(part)) for part in _PARTS}
        told = {part: count for part, count in counts.items() if count is not None}
        if told:
            kept[name] = told
    return kept


def usage_of(payload: Mapping[str, Any], response: object, cost: object) -> Usage:
    """Make what a call came to of LiteLLM's standard logging object.

    Args:
        payload: the standard logging object, or what there is of it.
        response: the model's answer, whose ``usage`` is taken where the payload has none.
        cost: float dollars; None or 0 where LiteLLM does not know the price, and the daemon's prices hold.

    """
    if payload.get("cache_hit") is True:
        # LiteLLM's own cache answered: nobody was asked, and nothing was spent.
        return Usage(input_tokens=0, output_tokens=0, cost_micros=0)
    metadata = _object(payload.get("metadata"))
    told = provider_usage(metadata.get("usage_object"))
    if told is None:
        told = provider_usage(
            response.get("usage") if isinstance(response, Mapping) else getattr(response, "usage", None)
        )
    # LiteLLM says 0 of a model whose price it does not know.
    spent = micros(cost) or None
    if told is not None:
        return Usage(provider_usage=told, cost_micros=spent)
    return Usage(
        input_tokens=_count(payload.get("prompt_tokens")) or 0,
        output_tokens=_count(payload.get("completion_tokens")) or 0,
        cost_micros=spent,
    )
