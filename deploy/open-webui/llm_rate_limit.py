"""
title: Rate limits of llm-rate-limit
author: llm-rate-limit
version: 0.1.0
required_open_webui_version: 0.12.4
description: Reserves before every call of a model, refuses by the limits of the daemon, settles with the real usage.
"""

# This file is pasted into Open WebUI's admin page: it imports what Open WebUI has and nothing else.

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import logging
import os
import time
import uuid
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, Field, field_validator

log = logging.getLogger("llm_rate_limit")

_CONNECTIONS = 64
_MAX_ANSWER_BYTES = 1_048_576
_MAX_TEXT_BYTES = 256
_MAX_GROUPS = 128
_MAX_COUNT = 1_000_000_000_000
_MAX_CALLS = 100_000
_MAX_CALL_SECONDS = 7_200.0
_MAX_LETTERS = 10_000
#: A lease is remembered for an hour after it has lapsed, so a settlement is worth sending for nearly as long.
_MAX_LETTER_AGE_SECONDS = 3_000.0
_FIRST_PAUSE_SECONDS = 0.05
_LAST_PAUSE_SECONDS = 2.0
#: The daemon counts as back when nothing has failed for as long: one that answers now and then is said away once.
_STEADY_SECONDS = 1.0
_GROUPS_KEPT_SECONDS = 30.0
_OK = range(200, 300)
_REFUSED = (429, 503)
_NOT_FOUND = 404
_SERVER_ERRORS = 500
_LABELS = ("assistant", "chat", "role", "session")
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_write_input_tokens", "cost_micros")
#: What the daemon's absence looks like, the deadline included, and bytes that are no answer.
_UNREACHABLE = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)


class RateLimitedError(Exception):
    """A refusal; its text is what the user reads."""


# -- What is asked


def _text(value: object) -> str | None:
    """Make a text of 1 to 256 bytes of UTF-8, the longest that limits tell apart; a longer one is told by its SHA-256.

    Clients choose some of them, such as the chat's id, and none may be a question that the daemon refuses.
    """
    encoded = b"" if value is None else str(value).encode("utf-8", "replace")
    if len(encoded) > _MAX_TEXT_BYTES:
        return "sha256:" + hashlib.sha256(encoded).hexdigest()
    return encoded.decode() or None


def _members(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _largest(reported: dict[str, Any], *names: str) -> int | None:
    found = [reported.get(name) for name in names]
    counts = [
        int(count)
        for count in found
        if isinstance(count, (int, float)) and not isinstance(count, bool) and 0 <= count <= _MAX_COUNT
    ]
    return max(counts, default=None)


def usage_of(reported: object) -> dict[str, int] | None:
    """Read a usage object as providers and Open WebUI have it; None where it counts no tokens.

    Of several rounds Open WebUI adds up ``input_tokens`` and ``output_tokens``, while ``prompt_tokens`` and
    ``completion_tokens`` stay those of the last one: so the largest is taken.
    """
    told = _members(reported)
    given = _largest(told, "input_tokens", "prompt_tokens", "prompt_eval_count")
    output = _largest(told, "output_tokens", "completion_tokens", "eval_count", "predicted_n")
    cached = [_largest(_members(told.get(name)), "cached_tokens") for name in _DETAILS]
    if given is None and "prompt_n" in told:
        # llama.cpp counts what it evaluated and what it had.
        cached.append(_largest(told, "cache_n"))
        given = (_largest(told, "prompt_n") or 0) + (cached[-1] or 0)
    if given is None and output is None:
        return None
    read = min(given or 0, max((count for count in cached if count is not None), default=0))
    return {"input_tokens": (given or 0) - read, "output_tokens": output or 0, "cache_read_input_tokens": read}


_DETAILS = ("prompt_tokens_details", "input_tokens_details")


@dataclass(eq=False)
class _Call:
    """One call of a model that is under way."""

    members: dict[str, Any]
    """What was asked about."""
    lease: str | None
    """None where nobody could decide; then what it came to is reported by itself."""
    estimate: dict[str, int]
    is_streamed: bool
    usage: dict[str, int] | None = None
    """What the provider has said last; some say it with each part."""
    is_answered: bool = False
    renewer: asyncio.Task[None] | None = None


@dataclass(frozen=True)
class _Letter:
    """The end of a call: what counts once, however often it is sent."""

    path: str
    body: dict[str, Any]


@dataclass(eq=False)
class _Turn:
    """The calls for one answer in a chat: the first one, and one for each round of tools."""

    request: object
    call: _Call | None = None


class _Daemon:
    """HTTP/1.1 to the daemon over connections that stay open, at most 64 of them."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.loop = asyncio.get_running_loop()
        self._url = _url(address)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._free = asyncio.Semaphore(_CONNECTIONS)
        self._is_closed = False

    def close(self) -> None:
        """Close what is idle; what is in use closes when it is done."""
        self._is_closed = True
        if not self.loop.is_closed():
            for _, writer in self._idle:
                writer.transport.abort()
        self._idle.clear()

    async def ask(self, path: str, body: dict[str, Any], seconds: float) -> tuple[int, dict[str, Any]]:
        """Send a request and give status and body of its answer.

        Raises:
            OSError: where there was none in time; so do ``EOFError`` and ``ValueError``, where it was none.

        """
        payload = json.dumps(body, separators=(",", ":")).encode("ascii")
        host = "localhost" if self._url[0] is not None else f"{self._url[1]}:{self._url[2]}"
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: "
        data = f"{head}{len(payload)}\r\n\r\n".encode() + payload
        async with asyncio.timeout(seconds), self._free:
            while self._idle:
                reader, writer = self._idle.pop()
                if reader.at_eof() or writer.is_closing():
                    writer.close()
                    continue
                # The daemon may have gone in this moment. What is asked twice is a settlement, which counts once, or a
                # reservation, of which the first one lapses.
                with contextlib.suppress(ConnectionError, EOFError):
                    return await self._exchange(reader, writer, data)
                break
            path_of, host_of, port = self._url
            if path_of is not None:
                reader, writer = await asyncio.open_unix_connection(path_of)
            else:
                reader, writer = await asyncio.open_connection(host_of, port)
            return await self._exchange(reader, writer, data)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes
    ) -> tuple[int, dict[str, Any]]:
        try:
            writer.write(data)
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            headers = dict(line.split(":", 1) for line in head[1:] if ":" in line)
            length = int(headers.get("content-length", "0"))
            version, _, status = head[0].partition(" ")
            if not version.startswith("http/1.") or length > _MAX_ANSWER_BYTES:
                raise ValueError(f"no answer begins with {head[0][:80]!r}")  # noqa: TRY301 - it aborts as any other
            body = await reader.readexactly(length)
        except BaseException:
            # An answer that still comes must not be taken for another request's.
            writer.transport.abort()
            raise
        if self._is_closed or headers.get("connection", "").strip() == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(status[:3]), _members(json.loads(body)) if body else {}


def _url(address: str) -> tuple[str | None, str, int]:
    if address.startswith("/"):
        return address, "", 0
    url = urlsplit(address)
    if url.scheme == "unix" and not url.netloc and url.path.startswith("/"):
        return unquote(url.path), "", 0
    if url.scheme == "http" and url.hostname and url.path in ("", "/"):
        return None, url.hostname, url.port or 80
    raise ValueError(f"cannot use the address {address!r}: accepted are unix:///path, /path and http://host:port")


class Filter:
    """Open WebUI has one object of it for each of its processes, and calls the methods whose names it knows."""

    class Valves(BaseModel):
        """What an admin sets, on the page of the function."""

        priority: int = Field(0, description="Filters run from the lowest number to the highest.")
        address: str = Field(
            os.environ.get("LLM_RATE_LIMIT_SOCKET") or "/run/llm-rate-limit/llm-rate-limit.sock",
            description="Where the daemon listens: unix:///path, /path or http://host:port.",
        )
        deadline_ms: int = Field(
            200, ge=1, le=60_000, description="How long a call may wait for its decision; then it is allowed."
        )
        ttl: int = Field(
            60, ge=4, le=86_400, description="Seconds after which what a process that died held is free again."
        )
        user: Literal["id", "email"] = Field("id", description="Who is limited: the user's id, or e-mail address.")
        groups: Literal["none", "name", "id"] = Field(
            "none", description="What of the user's groups is sent, for a daemon with LLM_RATE_LIMIT_GROUPS=given."
        )
        labels: str = Field(
            "assistant,chat,role", description=f"Which labels are sent: any of {', '.join(_LABELS)}, with commas."
        )
        admins_exempt: bool = Field(default=False, description="Whether admins are not limited, nor counted.")
        ask_for_usage: bool = Field(
            default=True, description="Whether streams are asked to tell their usage. Off for providers that refuse it."
        )

        @field_validator("address")
        @classmethod
        def _check_address(cls, value: str) -> str:
            _url(value)
            return value

        @field_validator("labels")
        @classmethod
        def _check_labels(cls, value: str) -> str:
            names = [name.strip() for name in value.split(",") if name.strip()]
            if not set(names) <= set(_LABELS):
                raise ValueError(f"cannot use the labels {value!r}: accepted are {', '.join(_LABELS)}, with commas")
            return ",".join(names)

    def __init__(self) -> None:
        self.valves = self.Valves()
        self._turns: dict[tuple[int, object], _Turn] = {}
        self._letters: deque[tuple[float, _Letter]] = deque()
        self._postman: asyncio.Task[None] | None = None
        self._connected: _Daemon | None = None
        self._groups: dict[str, tuple[float, list[str]]] = {}
        self._away_since: float | None = None
        self._failed_at = 0.0
        self._said: str | None = None

    # -- What Open WebUI calls

    async def request(
        self,
        body: dict[str, Any],
        __user__: dict[str, Any] | None = None,
        __metadata__: dict[str, Any] | None = None,
        __model__: dict[str, Any] | None = None,
        __request__: object = None,
    ) -> dict[str, Any]:
        """Reserve before a call of a model; each round of tools is one.

        Raises:
            RateLimitedError: where the call is refused.

        """
        valves, user, metadata = self.valves, _members(__user__), _members(__metadata__)
        key = (id(__request__), metadata.get("message_id"))
        turn = self._turns.get(key)
        if turn is not None:
            # The round before is over, and its slot is free before this one asks for one.
            await self._send(self._end(turn))
        who = _text(user.get(valves.user))
        if who is None or (valves.admins_exempt and user.get("role") == "admin"):
            return body
        if valves.ask_for_usage and body.get("stream"):
            body["stream_options"] = {**_members(body.get("stream_options")), "include_usage": True}
        members = self._question(who, user, body, metadata, _members(__model__))
        if valves.groups != "none":
            members["groups"] = await self._groups_of(str(user.get("id")), valves.groups)
        try:
            answer = await self._reserve(members)
            if turn is None:
                turn = self._open(key, __request__)
            turn.call = self._hold(members, answer, is_streamed=bool(body.get("stream")))
        except RateLimitedError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong here, the user would read it in place of an answer
            self._say(f"cannot ask the rate limiter, such calls are allowed: {error!r}")
        return body

    def stream(self, event: Any, __metadata__: dict[str, Any] | None = None, __request__: object = None) -> Any:
        """Take note of the usage, which comes with the last part of a stream, and with some providers in each."""
        turn = self._turns.get((id(__request__), _members(__metadata__).get("message_id")))
        if turn is not None and turn.call is not None and isinstance(event, dict):
            turn.call.is_answered = turn.call.is_answered or not event.get("error")
            reported = event.get("usage") or _members(event.get("response")).get("usage")
            usage = usage_of({**_members(event.get("timings")), **_members(reported)})
            turn.call.usage = usage or turn.call.usage
        return event

    async def outlet(
        self, body: dict[str, Any], __metadata__: dict[str, Any] | None = None, __request__: object = None
    ) -> dict[str, Any]:
        """Settle with what the answer came to; a stream has told it before."""
        key = (id(__request__), _members(__metadata__).get("message_id"))
        turn = self._turns.pop(key, None)
        if turn is not None and turn.call is not None:
            messages = body.get("messages") or [{}]
            turn.call.is_answered = True
            turn.call.usage = turn.call.usage or usage_of(_members(messages[-1]).get("usage"))
            await self._send(self._end(turn))
        return body

    # -- What is asked

    def _question(
        self, who: str, user: dict[str, Any], body: dict[str, Any], metadata: dict[str, Any], model: dict[str, Any]
    ) -> dict[str, Any]:
        # A model of the workspace is charged as the one that it is made of.
        base = _members(model.get("info")).get("base_model_id")
        said = {
            "assistant": body.get("model") if base else None,
            "chat": metadata.get("chat_id"),
            "role": user.get("role"),
            "session": metadata.get("session_id"),
        }
        labels = {name: _text(said[name]) for name in self.valves.labels.split(",") if name}
        members = {"user": who, "model": _text(base or body.get("model"))}
        return {**members, "labels": {name: value for name, value in labels.items() if value is not None}}

    async def _groups_of(self, user: str, member: str) -> list[str]:
        now = time.monotonic()
        kept = self._groups.get(user + member)
        if kept is not None and kept[0] > now:
            return kept[1]
        try:
            from open_webui.models.groups import Groups  # noqa: PLC0415

            found = [_text(getattr(group, member)) for group in await Groups.get_groups_by_member_id(user)]
        except Exception as error:  # noqa: BLE001 - Open WebUI's database has errors of many kinds
            self._say(f"cannot read the groups of users, calls are asked about without them: {error}")
            return []
        if len(self._groups) >= _MAX_CALLS:
            self._groups.clear()
        names = [name for name in found if name is not None][:_MAX_GROUPS]
        self._groups[user + member] = (now + _GROUPS_KEPT_SECONDS, names)
        return names

    async def _reserve(self, members: dict[str, Any]) -> dict[str, Any]:
        """Ask; give the answer of the daemon, which is empty where it gave none.

        Raises:
            RateLimitedError: where the call is refused.

        """
        try:
            status, answer = await self._ask("/v1/reserve", {**members, "ttl": self.valves.ttl})
        except _UNREACHABLE:
            return {}
        if status in _OK and answer.get("allowed") is True:
            return answer
        if status in _REFUSED and answer.get("allowed") is False:
            limit = f" ({answer['limit_name']})" if answer.get("limit_name") else ""
            raise RateLimitedError(f"Rate limit reached{limit}. {answer.get('message') or 'Try again later.'}")
        if status in _REFUSED:
            # The failure mode is closed.
            raise RateLimitedError("The rate limiter cannot decide at the moment. Try again in a moment.")
        self._say(f"the rate limiter refuses to be asked, such calls are allowed: {answer.get('detail') or status}")
        return {}

    async def _ask(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        valves = self.valves
        daemon = self._connected
        if daemon is None or daemon.address != valves.address or daemon.loop is not asyncio.get_running_loop():
            if daemon is not None:
                daemon.close()
            daemon = self._connected = _Daemon(valves.address)
        try:
            answer = await daemon.ask(path, body, valves.deadline_ms / 1_000)
        except _UNREACHABLE as error:
            self._failed_at = time.monotonic()
            if self._away_since is None:
                self._away_since = self._failed_at
                why = str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
                log.warning(
                    "the rate limiter at %s is away, calls are allowed until it is back: %s", daemon.address, why
                )
            raise
        if self._away_since is not None and time.monotonic() - self._failed_at >= _STEADY_SECONDS:
            seconds = time.monotonic() - self._away_since
            self._away_since = None
            log.warning("the rate limiter at %s is back after %.1f s", daemon.address, seconds)
        return answer

    def _say(self, text: str) -> None:
        """Say once what is wrong, until something else is."""
        if text != self._said:
            self._said = text
            log.error("%s", text)

    # -- Calls under way

    def _open(self, key: tuple[int, object], request: object) -> _Turn:
        if len(self._turns) >= _MAX_CALLS:
            oldest = self._turns.pop(next(iter(self._turns)))
            self._post(self._end(oldest, is_cut=True))
        turn = self._turns[key] = _Turn(request)
        task = asyncio.current_task()
        if task is not None:
            # ``outlet`` is not called where the user presses stop, a client hangs up or the model fails. But the task
            # in which a chat is answered ends in each of these cases.
            task.add_done_callback(functools.partial(self._over, key, turn))
        return turn

    def _over(self, key: tuple[int, object], turn: _Turn, task: asyncio.Task[Any]) -> None:
        if self._turns.get(key) is turn:
            del self._turns[key]
        self._post(self._end(turn, is_cut=task.cancelled()))

    def _hold(self, members: dict[str, Any], answer: dict[str, Any], *, is_streamed: bool) -> _Call:
        held = _members(answer.get("estimate"))
        estimate = {name: held[name] for name in _COUNTS if isinstance(held.get(name), int)}
        call = _Call(members, answer.get("lease"), estimate, is_streamed)
        if call.lease is not None:
            call.renewer = asyncio.get_running_loop().create_task(self._renew(call.lease, members["user"]))
        return call

    async def _renew(self, lease: str, user: str) -> None:
        end = time.monotonic() + _MAX_CALL_SECONDS
        while time.monotonic() < end:
            await asyncio.sleep(self.valves.ttl / 2)
            with contextlib.suppress(*_UNREACHABLE):
                await self._ask("/v1/renew", {"lease": lease, "user": user, "ttl": self.valves.ttl})

    def _end(self, turn: _Turn, *, is_cut: bool = False) -> _Letter | None:
        """End the call of a turn: what it came to is charged, else the estimate, and nothing of one that failed."""
        call, turn.call = turn.call, None
        if call is None:
            return None
        if call.renewer is not None:
            call.renewer.cancel()
        if call.lease is None:
            # Nobody could decide when it began. What it came to counts all the same, once somebody counts again.
            if call.usage is None:
                return None
            return _Letter("/v1/usage", {**call.members, **call.usage, "request_id": uuid.uuid4().hex})
        name = {"lease": call.lease, "user": call.members["user"]}
        if call.usage is not None:
            return _Letter("/v1/settle", {**name, **call.usage})
        if call.is_answered or is_cut or not call.is_streamed:
            # Without a word about its usage. Were it free, pressing stop would be; and an answer that is no stream and
            # asks an API's client to run tools never gets to ``outlet``.
            return _Letter("/v1/settle", {**name, **call.estimate})
        return _Letter("/v1/release", name)

    # -- What has been spent is not lost to a restart of the daemon

    async def _send(self, letter: _Letter | None) -> None:
        """Send a letter at once, where the daemon can be asked; else it waits."""
        if letter is None:
            return
        if self._away_since is not None or not await self._arrives(letter):
            self._post(letter)

    def _post(self, letter: _Letter | None) -> None:
        if letter is None:
            return
        self._keep(time.monotonic() + _MAX_LETTER_AGE_SECONDS, letter)
        loop = asyncio.get_running_loop()
        if self._postman is None or self._postman.done() or self._postman.get_loop() is not loop:
            self._postman = loop.create_task(self._deliver())

    def _keep(self, expires_at: float, letter: _Letter) -> None:
        if len(self._letters) >= _MAX_LETTERS:
            self._letters.popleft()
            self._say(f"more than {_MAX_LETTERS} settlements wait for the rate limiter, some are dropped")
        self._letters.append((expires_at, letter))

    async def _arrives(self, letter: _Letter) -> bool:
        """Send a letter; say whether it needs no second sending: it was done, or will never be."""
        try:
            status, answer = await self._ask(letter.path, letter.body)
        except _UNREACHABLE:
            return False
        if status in _OK or status == _NOT_FOUND:
            return True
        if status < _SERVER_ERRORS:
            self._say(f"the rate limiter refuses a settlement, which is dropped: {answer.get('detail') or status}")
        return status < _SERVER_ERRORS

    async def _deliver(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while self._letters:
            expires_at, letter = self._letters.popleft()
            if expires_at <= time.monotonic():
                continue
            if await self._arrives(letter):
                pause = _FIRST_PAUSE_SECONDS
                continue
            # Behind the others, so that one user whom Redis cannot serve holds up nobody else.
            self._keep(expires_at, letter)
            await asyncio.sleep(pause)
            pause = min(_LAST_PAUSE_SECONDS, pause * 2)
