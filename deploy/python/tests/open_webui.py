"""Open WebUI's own code that loads and runs filters, with its database, in a thread of its own.

What calls it here does so in the order of Open WebUI's middleware: for one answer ``request`` before each call of a
model, ``stream`` for each part, and ``outlet`` at the end, all in one task.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from .support import PATIENCE_SECONDS, ROOT

FILTER = ROOT / "deploy/open-webui/llm_rate_limit.py"
NAME = "rate_limit"

_T = TypeVar("_T")


class Lines(logging.Handler):
    """What the filter has written into Open WebUI's log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def with_text(self, text: str) -> list[str]:
        return [line for line in self.lines if text in line]


class OpenWebUI:
    """One process of Open WebUI, with the filter on its page of functions, active and for all models."""

    def __init__(self, folder: Path) -> None:
        # Read when it is imported.
        os.environ.update(DATA_DIR=str(folder), WEBUI_SECRET_KEY="secret", OFFLINE_MODE="true")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._app = SimpleNamespace(state=SimpleNamespace())
        # It writes a traceback for each refusal.
        logging.getLogger("open_webui.utils.filter").setLevel(logging.CRITICAL)
        self.log = Lines()
        logging.getLogger("llm_rate_limit").addHandler(self.log)
        self.run(self._install())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    async def _install(self) -> None:
        from open_webui.internal.db import Base, engine
        from open_webui.models.functions import FunctionForm, FunctionMeta, Functions
        from open_webui.models.groups import Groups  # noqa: F401 - it makes their tables known

        Base.metadata.create_all(engine)
        form = FunctionForm(id=NAME, name="Rate limit", content=FILTER.read_text(), meta=FunctionMeta())
        await Functions.insert_new_function("admin", "filter", form)
        await Functions.update_function_by_id(NAME, {"is_active": True, "is_global": True})

    def set_valves(self, **valves: object) -> None:
        """Save what an admin has set."""
        from open_webui.models.functions import Functions

        self.run(Functions.update_function_valves_by_id(NAME, valves))

    def make_group(self, name: str, *users: str) -> None:
        from open_webui.internal.db import SessionLocal
        from open_webui.models.groups import GroupForm, GroupMember, Groups

        group = self.run(Groups.insert_new_group("admin", GroupForm(name=name, description="")))
        # Open WebUI's own way disconnects their sessions, with code that is not installed here.
        with SessionLocal() as session:
            for user in users:
                member = GroupMember(id=f"{name}-{user}", group_id=group.id, user_id=user, created_at=0, updated_at=0)
                session.add(member)
            session.commit()

    def module(self) -> Any:
        """The filter, as Open WebUI has loaded it."""
        return self._app.state.FUNCTIONS[NAME]

    def answer(self, **turn: Any) -> None:
        """Answer once in a chat, from beginning to end."""
        self.run(Turn(self._app, **turn).whole())

    def passed_at_once(self, count: int, **turn: Any) -> int:
        """Answer many times at once; say how many were not refused."""

        async def all_of_them() -> list[Any]:
            turns = [Turn(self._app, **turn).whole() for _ in range(count)]
            return await asyncio.gather(*turns, return_exceptions=True)

        return sum(result is None for result in self.run(all_of_them()))

    def start(self, **turn: Any) -> Turn:
        """Begin an answer, which goes on when it is told to; its first call of a model is allowed already."""
        started = Turn(self._app, **turn)
        self.run(started.begin())
        return started

    def end(self, turn: Turn, *, cut: bool = False) -> None:
        self.run(turn.end(cut=cut))


class Turn:
    """One answer in a chat."""

    def __init__(
        self,
        app: object,
        *,
        user: str,
        model: str = "gpt-4o",
        role: str = "user",
        rounds: tuple[Any, ...] = (),
        outlet: Mapping[str, Any] | None = None,
        has_outlet: bool = True,
        is_streamed: bool = True,
        base: str | None = None,
        chat: object = "chat",
    ) -> None:
        """Say how it goes.

        Args:
            app: Open WebUI's.
            user: who asks.
            model: which one is asked.
            role: the user's.
            rounds: the parts of each stream; an exception is a model that cannot be reached.
            outlet: the usage of the last message, where Open WebUI has one.
            has_outlet: whether Open WebUI gets so far.
            is_streamed: whether the answer comes in parts.
            base: the model that a model of the workspace is made of.
            chat: the chat's id.

        """
        self.request = SimpleNamespace(app=app, state=SimpleNamespace())
        self._user, self._model, self._rounds, self._outlet = user, model, rounds, outlet
        self._has_outlet, self._is_streamed = has_outlet, is_streamed
        info = {"id": model, "info": {"base_model_id": base} if base else {}}
        metadata = {"user_id": user, "chat_id": chat, "message_id": f"message-{id(self)}", "session_id": "session"}
        self._extra: dict[str, Any] = {
            "__user__": {"id": user, "email": f"{user}@example.com", "role": role},
            "__metadata__": metadata,
            "__request__": self.request,
            "__model__": info,
        }
        self.sent: list[dict[str, Any]] = []
        self._began, self._may_end = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        self._task = asyncio.create_task(self.whole(holds=True))
        waiting = asyncio.create_task(self._began.wait())
        await asyncio.wait((self._task, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._task.done():
            self._task.result()

    async def end(self, *, cut: bool) -> None:
        if self._task is None:
            raise AssertionError("it has not begun")
        if cut:
            self._task.cancel()
            await asyncio.wait((self._task,))
            return
        self._may_end.set()
        await self._task

    async def whole(self, *, holds: bool = False) -> None:
        from open_webui.utils import filter as filters

        functions = await filters.get_filter_functions(self.request, self._extra["__model__"], [])
        context = filters.get_filter_context(self.request)

        async def run(kind: str, data: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
            shared = None if kind == "outlet" else context
            found, _ = await filters.process_filter_functions(self.request, shared, functions, kind, data, extra)
            return dict(found)

        for parts in self._rounds or ((),):
            body = {"model": self._model, "messages": [], "stream": self._is_streamed}
            self.sent.append(await run("request", body, self._extra))
            if isinstance(parts, Exception):
                raise parts
            for part in parts:
                await run("stream", part, {"__body__": body, **self._extra})
            if holds:
                self._began.set()
                await self._may_end.wait()
        if self._has_outlet:
            last = {"role": "assistant", "content": "hello", **({"usage": dict(self._outlet)} if self._outlet else {})}
            body = {"model": self._model, "messages": [{"role": "user", "content": "hi"}, last]}
            await run("outlet", body, self._extra)
