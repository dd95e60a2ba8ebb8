"""The callback for LiteLLM's proxy: one line in its configuration.

::

    litellm_settings:
      callbacks: [llm_rate_limit_client.litellm.handler]

It reserves before a call, refuses with 429, and settles with what the call came to. ``Settings`` in ``_gateway``
has the variables that configure it; the daemon is found as ``LLM_RATE_LIMIT_SOCKET`` says.
"""

from __future__ import annotations

import asyncio
import time
import uuid
import weakref
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, NoReturn

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger
from openai import OpenAIError

from . import _calls
from ._async_client import AsyncClient
from ._availability import logger
from ._gateway import MODEL_CALLS, Settings, TooManyTagsError, call_of, provider_usage, usage_of
from ._held import HeldCall, HeldCalls
from ._money import micros
from ._values import Call, Decision, Usage
from .errors import LimiterError

_BAD_REQUEST = 400
_TOO_MANY = 429
_UNAVAILABLE = 503
_CLIENT_GONE = 499
#: A call that LiteLLM drops without a word may still be told the end of by an event that is under way.
_GRACE_SECONDS = 5.0
#: No call lasts longer: LiteLLM's own timeout is 6,000 seconds.
_MAX_CALL_SECONDS = 7_200.0
_PROVIDERS_KEPT_SECONDS = 30.0
_MAX_PROVIDERS = 1_000

#: The call of the request that is being served. LiteLLM hands it on to its events, in whichever task they run.
_current: ContextVar[HeldCall | None] = ContextVar("llm_rate_limit_call", default=None)


class Providers:
    """The provider of a model of the router's, where all of its deployments have the same."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, str | None]] = {}

    def of(self, model: str) -> str | None:
        """Name the provider; None where it is not known before the router has chosen."""
        now = time.monotonic()
        known = self._known.get(model)
        if known is not None and known[0] > now:
            return known[1]
        if len(self._known) >= _MAX_PROVIDERS:
            self._known.clear()
        provider = self._ask(model)
        self._known[model] = (now + _PROVIDERS_KEPT_SECONDS, provider)
        return provider

    @staticmethod
    def _ask(model: str) -> str | None:
        try:
            from litellm import get_llm_provider  # noqa: PLC0415
            from litellm.proxy.proxy_server import llm_router  # noqa: PLC0415

            deployments = (llm_router.get_model_list(model_name=model) if llm_router is not None else None) or ()
            found = set()
            for deployment in deployments:
                params = deployment["litellm_params"]
                found.add(params.get("custom_llm_provider") or get_llm_provider(params["model"])[1])
        except Exception:  # noqa: BLE001 - it is LiteLLM's own business, and a call must not fail for it
            return None
        return str(found.pop()) if len(found) == 1 else None


class RateLimitHandler(CustomLogger):
    """Holds a lease for each call of a model, from before it is made until LiteLLM tells how it ended."""

    def __init__(self, settings: Settings | None = None, client: AsyncClient | None = None) -> None:
        """Read the configuration; nothing is connected yet.

        Args:
            settings: those of the environment, where left out.
            client: one to the daemon that ``LLM_RATE_LIMIT_SOCKET`` names, where left out.

        Raises:
            ValueError: for a variable whose value is not accepted: the proxy does not start then.

        """
        super().__init__()
        self._settings = settings or Settings.from_environment()
        self._client = client or AsyncClient(timeout=self._settings.timeout)
        self._held = HeldCalls()
        self._providers = Providers()
        self._renewer: asyncio.Task[None] | None = None
        self._said: str | None = None

    # -- What LiteLLM calls

    async def async_pre_call_hook(
        self,
        user_api_key_dict: Any,
        cache: object,  # noqa: ARG002
        data: dict[str, Any],
        call_type: str,
    ) -> None:
        """Reserve; refuse with 429, or with 503 where the failure mode is ``closed``."""
        if call_type not in MODEL_CALLS or user_api_key_dict is None:
            return
        try:
            call = call_of(self._settings, user_api_key_dict, data, call_type, self._providers.of)
            if call is None:
                return
            decision = await self._client.take_lease(call, ttl=self._settings.ttl)
            if decision.allowed:
                self._hold(call, decision, user_api_key_dict, data)
                return
        except TooManyTagsError as error:
            raise HTTPException(status_code=_BAD_REQUEST, detail={"error": str(error)}) from error
        except Exception as error:  # noqa: BLE001
            # Whatever is wrong here: any exception but an HTTPException would be a 500 for the client.
            self._say_unasked(error)
            return
        self._refuse(decision, call)

    async def async_log_success_event(
        self,
        kwargs: Mapping[str, Any],
        response_obj: Any,
        start_time: object,  # noqa: ARG002
        end_time: object,  # noqa: ARG002
    ) -> None:
        """Settle with what the call came to: after the last deployment that was tried, and after a cut stream."""
        payload = kwargs.get("standard_logging_object") or {}
        call_id = payload.get("litellm_call_id") or kwargs.get("litellm_call_id")
        metadata = payload.get("metadata") or {}
        held = self._find(call_id, metadata.get("user_api_key_hash"))
        if held is None or not self._held.remove(held):
            return
        cost = kwargs.get("response_cost")
        usage = usage_of(payload, response_obj, cost)
        model = payload.get("model_group") or held.call.model
        self._settle(held, usage, model, payload.get("custom_llm_provider"))

    async def async_post_call_failure_hook(
        self,
        request_data: dict[str, Any],
        original_exception: Exception,
        user_api_key_dict: Any,
        traceback_str: str | None = None,  # noqa: ARG002
    ) -> None:
        """Release: no deployment answered. What a provider had counted by then is charged.

        A failure event is one attempt, and others may follow; this is the end of the call.
        """
        held = self._find(request_data.get("litellm_call_id"), getattr(user_api_key_dict, "api_key", None))
        if held is None:
            return
        # LiteLLM counts a prompt for every failure, and tells a price only where the provider is taken to bill it.
        cost = micros(request_data.get("response_cost"))
        if cost:
            if self._held.remove(held):
                partial = provider_usage(request_data.get("combined_usage_object"))
                self._settle(held, Usage(provider_usage=partial, cost_micros=cost), held.call.model, None)
        elif getattr(original_exception, "status_code", None) == _CLIENT_GONE:
            self._end_unheard(held)
        elif isinstance(original_exception, OpenAIError) and not isinstance(original_exception, HTTPException):
            held.is_rejected = True
            self._end_unheard(held)
        else:
            # LiteLLM itself, such as a guardrail, before the model was asked or after it has answered: then the event
            # that says so may still be under way.
            held.is_rejected = True
            asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._end_unheard, held)

    # -- Holding a call

    def _hold(self, call: Call, decision: Decision, auth: Any, data: Mapping[str, Any]) -> None:
        loop = asyncio.get_running_loop()
        call_id = str(data.get("litellm_call_id") or uuid.uuid4())
        now = loop.time()
        held = HeldCall(call_id, str(getattr(auth, "api_key", "")), call, decision.lease, now, now)
        logging_object = data.get("litellm_logging_obj")
        if logging_object is not None:
            # LiteLLM keeps it for as long as any event of this call can come. A stream that is cut before its first
            # part ends with no event at all.
            watch = weakref.finalize(logging_object, _tell, loop, weakref.WeakMethod(self._abandoned), held)
            watch.atexit = False
            held.is_watched = True
        if self._held.is_full:
            self._end_unheard(self._held.oldest)
        self._held.add(held)
        _current.set(held)
        if self._renewer is None or self._renewer.done() or self._renewer.get_loop() is not loop:
            self._renewer = loop.create_task(self._renew())

    def _find(self, call_id: object, owner: str | None) -> HeldCall | None:
        if call_id is None:
            return None
        current = _current.get()
        if current is not None and current.call_id == call_id and not current.is_over:
            return current
        return self._held.find(str(call_id), owner)

    def _settle(self, held: HeldCall, usage: Usage, model: str | None, provider: str | None) -> None:
        if held.lease is not None:
            self._client.deliver(_calls.settle(held.lease, usage, model, provider))
            return
        # Nobody could decide when it began. What it came to counts all the same, as soon as somebody counts again.
        call = Call(
            held.call.user,
            model=model,
            provider=provider or held.call.provider,
            groups=held.call.groups,
            labels=held.call.labels,
        )
        self._client.deliver(_calls.report(call, usage, uuid.uuid4().hex))

    def _abandoned(self, held: HeldCall) -> None:
        """Take note that LiteLLM has forgotten a call. An event of it may be under way all the same."""
        if not held.is_over:
            asyncio.get_running_loop().call_later(_GRACE_SECONDS, self._end_unheard, held)

    def _end_unheard(self, held: HeldCall) -> None:
        """End a call of which no usage was told: a client that hangs up pays the estimate, a failed call nothing."""
        if not self._held.remove(held) or held.lease is None:
            return
        if held.is_rejected:
            self._client.deliver(_calls.release(held.lease))
        else:
            self._client.deliver(_calls.settle(held.lease, held.lease.estimate.usage, None, None))

    async def _renew(self) -> None:
        """Renew the leases of calls that last, while there are any."""
        loop = asyncio.get_running_loop()
        pause = max(0.5, self._settings.ttl / 8)
        while len(self._held):
            await asyncio.sleep(pause)
            now = loop.time()
            for held in self._held:
                if now - held.began_at > (_MAX_CALL_SECONDS if held.is_watched else self._settings.ttl - 2 * pause):
                    self._end_unheard(held)
                elif held.lease is not None and now - held.renewed_at > self._settings.ttl / 2:
                    try:
                        await self._client.renew(held.lease, self._settings.ttl)
                        held.renewed_at = now
                    except LimiterError as error:
                        logger.debug("cannot renew a lease: %s", error)

    # -- Refusing

    def _refuse(self, decision: Decision, call: Call) -> NoReturn:
        detail = {"error": decision.message or "Rate limit exceeded.", "limit_name": decision.limit_name}
        headers = {name.lower(): value for name, value in decision.headers.items()}
        if decision.degraded:
            raise HTTPException(status_code=_UNAVAILABLE, detail=detail, headers=headers)
        if self._settings.falls_back:
            from litellm.proxy.common_utils.proxy_rate_limit_error import ProxyRateLimitError  # noqa: PLC0415

            raise ProxyRateLimitError(detail=detail, headers=headers, model=call.model)
        raise HTTPException(status_code=_TOO_MANY, detail=detail, headers=headers)

    def _say_unasked(self, error: Exception) -> None:
        """Say once for each reason in a row why calls are allowed that nobody decided."""
        said = str(error) or type(error).__name__
        if said != self._said:
            self._said = said
            is_known = isinstance(error, LimiterError)
            logger.error("cannot ask the rate limiter, such calls are allowed: %s", said, exc_info=not is_known)


def _tell(loop: asyncio.AbstractEventLoop, method: Any, held: HeldCall) -> None:
    """Hand a call to the handler, from whichever thread the collector runs in."""
    target = method()
    if target is None or held.is_over:
        return
    try:
        loop.call_soon_threadsafe(target, held)
    except RuntimeError:
        # The loop is closed, and with it the proxy: the lease lapses.
        return


handler = RateLimitHandler()
