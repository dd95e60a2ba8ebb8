"""Both clients against a real daemon and a real redis-server."""

from __future__ import annotations

import asyncio
import inspect
import os
import socketserver
import threading
import unittest
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Union

from llm_rate_limit_client import (
    DAEMON_UNREACHABLE,
    AsyncClient,
    Call,
    Client,
    RequestRefusedError,
    UnavailableError,
    Usage,
)

from .support import TESTS, Daemon, ProcessTestCase, Redis, eventually

LIMITS = """
limits:
  - {name: tokens, per: user, unit: tokens, quota: 1000000, window: 1d}
  - {name: spend, per: user, unit: spend, quota: $100, window: 1d}
  - {name: calls, per: user, unit: concurrency, quota: 4}
prices:
  models:
    gpt-4o: {input: 2500000, output: 10000000}
    gpt-4o-mini: {input: 150000, output: 600000}
"""
USAGE = Usage(provider_usage={"prompt_tokens": 900, "completion_tokens": 80})
#: What that costs of gpt-4o, in micro-dollars.
SPENT = 3_050
AnyClient = Union[Client, AsyncClient]


async def close(client: AnyClient) -> None:
    if isinstance(client, AsyncClient):
        await client.aclose()
    else:
        client.close()


async def value(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


async def settled(daemon: Daemon, user: str, limit: str, used: int) -> None:
    """Wait until a settlement has arrived: nothing is held any more, and what counts is what was charged."""
    for _ in range(6_000):
        if daemon.used(user, "calls") == 0 and daemon.used(user, limit) == used:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{limit} of {user} is {daemon.used(user, limit)} and not {used}")


@asynccontextmanager
async def block(reservation: Any) -> AsyncIterator[Any]:
    """A block of either client's reservation."""
    if hasattr(reservation, "__aenter__"):
        async with reservation as entered:
            yield entered
    else:
        with reservation as entered:
            yield entered


class BothClients(ProcessTestCase, unittest.IsolatedAsyncioTestCase):
    """What holds for both: a test of each subclass."""

    kind: type[AnyClient]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        limits = cls.limits_file(LIMITS)
        cls.redis = cls.ending(Redis(cls.folder))
        cls.daemon = cls.ending(Daemon(cls.folder, cls.redis, REQUESTS="20", LIMITS_FILE=limits, GROUPS="given"))

    def client(self, address: str = "", **options: Any) -> AnyClient:
        # A deadline that no busy machine meets, but where a test is about it.
        client = self.kind(address or self.daemon.socket, **{"timeout": 30.0, **options})

        self.addAsyncCleanup(close, client)
        return client

    async def test_exactly_the_quota_is_allowed_and_the_rest_is_told_when_to_come_back(self) -> None:
        client = self.client()
        decisions = [await value(client.check(Call("quota", model="gpt-4o"))) for _ in range(25)]
        assert sum(decision.allowed for decision in decisions) == 20
        last = decisions[-1]
        assert not last.degraded
        assert (last.limit_name, last.limit, last.remaining) == ("requests", 20, 0)
        assert 3_500 < last.retry_after <= 3_600
        assert last.headers["Retry-After"] == str(last.retry_after)
        assert last.message.startswith("Try again in")

    async def test_any_text_is_a_user(self) -> None:
        client = self.client()
        for user in ("tenant/αβγ", "a\x00b", "a b+c%2F?&#", "日本", "x" * 256):
            assert (await value(client.check(Call(user, model="gpt-4o")))).remaining == 19, user
            assert (await value(client.status(user))).used == 1, user
            assert {found.name for found in await value(client.limits(user))} == {
                "requests",
                "tokens",
                "spend",
                "calls",
            }

    async def test_a_call_that_cannot_be_understood_is_an_error_with_what_is_accepted(self) -> None:
        client = self.client()
        for call in (Call("cost", cost=0), Call(""), Call("\ud800"), Call("x" * 257)):
            with self.assertRaises(RequestRefusedError) as caught:
                await value(client.check(call))
            assert caught.exception.status == 400

    async def test_a_reservation_holds_and_settles_with_what_was_reported(self) -> None:
        client = self.client()
        async with block(client.reserve(Call("reports", model="gpt-4o"), ttl=60)) as reservation:
            assert reservation.allowed
            assert reservation.lease.expires_in == 60
            assert self.daemon.used("reports", "calls") == 1
            reservation.report(USAGE)
        await settled(self.daemon, "reports", "spend", SPENT)
        assert self.daemon.used("reports", "tokens") == 980

    async def test_a_call_that_was_served_by_another_model_is_charged_as_one(self) -> None:
        client = self.client()
        async with block(client.reserve(Call("other", model="gpt-4o"))) as reservation:
            reservation.report(USAGE, model="gpt-4o-mini")
        await settled(self.daemon, "other", "spend", 183)

    async def test_a_reservation_is_released_by_an_exception(self) -> None:
        client = self.client()
        with self.assertRaises(ValueError):
            async with block(client.reserve(Call("fails", model="gpt-4o"))):
                raise ValueError
        await settled(self.daemon, "fails", "spend", 0)
        assert (await value(client.status("fails"))).used == 0

    async def test_a_reservation_that_was_told_nothing_is_settled_with_the_estimate(self) -> None:
        client = self.client()
        estimate = Usage(input_tokens=100, output_tokens=10, cost_micros=77)
        async with block(client.reserve(Call("silent", model="gpt-4o", estimate=estimate))):
            pass
        await settled(self.daemon, "silent", "spend", 77)
        assert self.daemon.used("silent", "tokens") == 110

    async def test_slots_are_denied_when_all_are_held_and_free_again_after(self) -> None:
        client = self.client()
        # Nothing but the slot is held, whatever was learned.
        slot = Call("slots", model="gpt-4o", estimate=Usage(input_tokens=0, output_tokens=0, cost_micros=0))
        leases = [(await value(client.take_lease(slot, ttl=60))).lease for _ in range(4)]
        denied = await value(client.take_lease(slot))
        assert not denied.allowed
        assert denied.at_capacity
        assert not denied.degraded
        assert denied.limit_name == "calls"
        assert denied.retry_after >= 1
        assert await value(client.renew(leases[0], 120))
        assert await value(client.release(leases[0]))
        assert not await value(client.release(leases[0].token))
        assert not await value(client.renew(leases[0], 60))
        assert (await value(client.take_lease(slot))).allowed
        first = await value(client.settle(leases[1], USAGE))
        again = await value(client.settle(leases[1], USAGE))
        assert (first.charged, again.charged, again.repeated) == (True, False, True)
        assert self.daemon.used("slots", "spend") == SPENT

    async def test_a_refund_takes_back_once_what_was_charged(self) -> None:
        client = self.client()
        call = Call("refunded", model="gpt-4o")
        await value(client.usage(call, USAGE, request_id="r1"))
        first, again = [await value(client.refund(call, USAGE, request_id="r1")) for _ in range(2)]
        assert (first.refunded, again.refunded, again.repeated) == (True, False, True)
        assert self.daemon.used("refunded", "spend") == 0
        # Nothing was charged of requests.
        assert not (await value(client.refund(call, requests=1))).refunded

    async def test_usage_is_charged_once_under_its_id(self) -> None:
        client = self.client()
        call = Call("once", model="gpt-4o")
        charged = [(await value(client.usage(call, USAGE, request_id="r1"))).charged for _ in range(3)]
        assert charged == [True, False, False]
        assert self.daemon.used("once", "spend") == SPENT

    async def test_a_group_that_a_call_names_and_its_labels_are_handed_on(self) -> None:
        client = self.client()
        call = Call("grouped", model="gpt-4o", provider="openai", groups=("red",), labels={"session": "s"})
        assert (await value(client.check(call))).allowed
        names = [found.name for found in await value(client.limits("grouped", groups=("red",), model="gpt-4o"))]
        assert "requests" in names

    async def test_tcp_serves_as_the_socket_does(self) -> None:
        client = self.client(f"http://127.0.0.1:{self.daemon.port}")
        assert (await value(client.check(Call("tcp", model="gpt-4o")))).remaining == 19
        assert (await value(client.check(Call("tcp", model="gpt-4o")))).remaining == 18

    async def test_connections_are_kept(self) -> None:
        client = self.client()
        await value(client.check(Call("kept", model="gpt-4o")))
        before = self.daemon.metric('llm_rate_limit_connections_total{result="accepted"}')
        for _ in range(10):
            await value(client.check(Call("kept", model="gpt-4o")))
        # One of them is that of the first reading.
        assert self.daemon.metric('llm_rate_limit_connections_total{result="accepted"}') == before + 1

    async def test_a_daemon_that_hangs_lets_calls_pass_and_is_said_once_and_that_it_is_back(self) -> None:
        client = self.client(timeout=0.2)
        with self.assertLogs("llm_rate_limit_client") as logged:
            self.daemon.stop()
            try:
                decisions = [await value(client.check("hangs")) for _ in range(3)]
                with self.assertRaises(UnavailableError):
                    await value(client.status("hangs"))
            finally:
                self.daemon.resume()
            for _ in range(6_000):
                back = await value(client.check(Call("hangs", model="gpt-4o")))
                if any("is back after" in record.getMessage() for record in logged.records):
                    break
                await asyncio.sleep(0.01)
        assert all(
            (found.allowed, found.degraded, found.reason) == (True, True, DAEMON_UNREACHABLE) for found in decisions
        )
        assert not back.degraded
        texts = [record.getMessage() for record in logged.records]
        assert texts
        assert len(texts) % 2 == 0
        for index, text in enumerate(texts):
            assert ("is back after" if index % 2 else "is away") in text

    async def test_redis_that_hangs_is_degraded_by_the_daemons_word(self) -> None:
        client = self.client()
        self.redis.stop()
        try:
            decision = await value(client.check(Call("redis", model="gpt-4o")))
            with self.assertRaises(UnavailableError):
                await value(client.usage(Call("redis"), USAGE, request_id="r2"))
        finally:
            self.redis.resume()
        assert (decision.allowed, decision.degraded) == (True, True)
        assert decision.reason.startswith("redis_")

        def is_back() -> bool:
            status, answer = self.daemon.ask("GET", "/healthz")
            return status == 200 and bool(answer["enforcing"])

        eventually(is_back, "the daemon decides again")


class SyncClientTests(BothClients):
    kind = Client

    def test_threads_share_a_client_and_the_quota_is_exact(self) -> None:
        client = Client(self.daemon.socket, timeout=30, max_connections=3)
        allowed: list[bool] = []
        # More than the daemon's own limit of file descriptors could hide.
        threads = [
            threading.Thread(
                target=lambda: allowed.extend(client.check(Call("threads", model="gpt-4o")).allowed for _ in range(10))
            )
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.close()
        self.assertEqual((len(allowed), sum(allowed)), (80, 20))

    def test_a_fork_has_connections_of_its_own(self) -> None:
        client = Client(self.daemon.socket, timeout=30)
        self.assertEqual(client.check(Call("fork", model="gpt-4o")).remaining, 19)
        child = os.fork()
        if child == 0:
            os._exit(0 if client.check(Call("fork", model="gpt-4o")).remaining == 18 else 1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(client.check(Call("fork", model="gpt-4o")).remaining, 17)
        client.close()

    def test_the_address_comes_from_the_environment(self) -> None:
        os.environ["LLM_RATE_LIMIT_SOCKET"] = self.daemon.socket
        try:
            with Client(timeout=30) as client:
                self.assertEqual(client.check(Call("environment", model="gpt-4o")).remaining, 19)
        finally:
            del os.environ["LLM_RATE_LIMIT_SOCKET"]


class AsyncClientTests(BothClients):
    kind = AsyncClient

    async def test_many_calls_at_once_share_few_connections_and_the_quota_is_exact(self) -> None:
        client = AsyncClient(self.daemon.socket, timeout=30, max_connections=3)
        before = self.daemon.metric('llm_rate_limit_connections_total{result="accepted"}')
        decisions = await asyncio.gather(*(client.check(Call("many", model="gpt-4o")) for _ in range(80)))
        after = self.daemon.metric('llm_rate_limit_connections_total{result="accepted"}')
        await client.aclose()
        self.assertEqual(sum(decision.allowed for decision in decisions), 20)
        self.assertLessEqual(after - before, 3 + 1)

    async def test_a_task_that_is_cancelled_pays_the_estimate(self) -> None:
        client = self.client()
        assert isinstance(client, AsyncClient)
        inside = asyncio.Event()

        async def call() -> None:
            estimate = Usage(input_tokens=10, output_tokens=1, cost_micros=55)
            async with client.reserve(Call("cancelled", model="gpt-4o", estimate=estimate)):
                inside.set()
                await asyncio.sleep(3_600)

        task = asyncio.ensure_future(call())
        await inside.wait()
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        await settled(self.daemon, "cancelled", "spend", 55)

    def test_a_client_serves_one_loop_after_the_other(self) -> None:
        client = AsyncClient(self.daemon.socket, timeout=30)
        for remaining in (19, 18):
            self.assertEqual(asyncio.run(client.check(Call("loops", model="gpt-4o"))).remaining, remaining)


# The loader would take it for tests of its own.
del BothClients


class RestartTests(ProcessTestCase, unittest.IsolatedAsyncioTestCase):
    """What becomes of connections and settlements while the daemon is restarted."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        limits = cls.limits_file(LIMITS)
        cls.redis = cls.ending(Redis(cls.folder))
        cls.daemon = cls.ending(Daemon(cls.folder, cls.redis, REQUESTS="1000", LIMITS_FILE=limits))

    async def test_connections_that_a_restart_closed_cost_no_decision(self) -> None:
        asking = AsyncClient(self.daemon.socket, timeout=30)
        with Client(self.daemon.socket, timeout=30) as client:
            for _ in range(3):
                self.assertFalse(client.check(Call("again", model="gpt-4o")).degraded)
                self.assertFalse((await asking.check(Call("again", model="gpt-4o"))).degraded)
                self.daemon.restart()
        self.assertEqual(self.daemon.used("again", "requests"), 6)
        await asking.aclose()

    async def test_a_settlement_waits_for_the_daemon_to_come_back(self) -> None:
        for client in (Client(self.daemon.socket, timeout=30), AsyncClient(self.daemon.socket, timeout=30)):
            user = type(client).__name__
            async with block(client.reserve(Call(user, model="gpt-4o"))) as reservation:
                self.daemon.end()
                reservation.report(USAGE)
            # It is away when the settlement is sent first, since this is the order of things in this thread.
            await asyncio.sleep(0.2)
            self.daemon.start()
            await asyncio.get_running_loop().run_in_executor(None, self.daemon.wait)
            await settled(self.daemon, user, "spend", SPENT)
            await close(client)

    def test_closing_a_client_delivers_what_waits_where_it_can(self) -> None:
        client = Client(self.daemon.socket, timeout=30)
        with client.reserve(Call("closes", model="gpt-4o")) as reservation:
            self.daemon.end()
            reservation.report(USAGE)
        self.daemon.start()
        self.daemon.wait()
        client.close()
        self.assertEqual((self.daemon.used("closes", "spend"), self.daemon.used("closes", "calls")), (SPENT, 0))

    def test_closing_a_client_tells_what_could_not_be_delivered(self) -> None:
        client = Client(self.daemon.socket, timeout=30)
        with client.reserve(Call("lost", model="gpt-4o")) as reservation:
            self.daemon.end()
            reservation.report(USAGE)
        with self.assertLogs("llm_rate_limit_client") as logged:
            client.close()
        self.daemon.start()
        self.daemon.wait()
        self.assertIn("1 settlements could not be delivered", logged.records[-1].getMessage())

    async def test_a_call_that_nobody_could_decide_is_charged_when_the_daemon_is_back(self) -> None:
        client = AsyncClient(self.daemon.socket, timeout=30)
        self.daemon.end()
        async with client.reserve(Call("undecided", model="gpt-4o")) as reservation:
            self.assertTrue(reservation.allowed)
            self.assertTrue(reservation.decision.degraded)
            reservation.report(USAGE)
        self.daemon.start()
        await asyncio.get_running_loop().run_in_executor(None, self.daemon.wait)
        await settled(self.daemon, "undecided", "spend", SPENT)
        await client.aclose()


class ReadMeTests(ProcessTestCase):
    def test_the_example_runs_as_it_stands(self) -> None:
        redis = self.ending(Redis(self.folder))
        daemon = self.ending(Daemon(self.folder, redis, LIMITS_FILE=self.limits_file(LIMITS), GROUPS="given"))
        text = (TESTS.parent / "README.md").read_text()
        example = (
            text.split("```python\n")[1].split("```")[0].replace("Client()", f"Client({daemon.socket!r}, timeout=30)")
        )
        exec(compile(example, "README.md", "exec"), {})
        # The check of a call that names no model is denied, since nobody knows what it costs.
        self.assertEqual(daemon.used("alice%40example.com", "spend"), SPENT)
        self.assertEqual(daemon.used("alice%40example.com", "calls"), 0)


class ClosedTests(ProcessTestCase):
    def test_closed_without_redis_is_a_refusal(self) -> None:
        redis = self.ending(Redis(self.folder))
        daemon = self.ending(Daemon(self.folder, redis, FAILURE_MODE="closed"))
        redis.end()
        with Client(daemon.socket, timeout=30) as client:
            decision = client.check("alice")
        self.assertEqual((decision.allowed, decision.degraded, decision.retry_after), (False, True, 1))
        assert decision.message is not None
        self.assertIn("failure mode is closed", decision.message)


class StrangeServer(socketserver.ThreadingUnixStreamServer):
    """Answers each path as it is told, whatever a daemon would say."""

    daemon_threads = True

    def __init__(self, path: str, answers: dict[str, bytes]) -> None:
        self.answers, self.paths = answers, []  # type: ignore[var-annotated]
        super().__init__(path, _StrangeHandler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()


class _StrangeHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, StrangeServer)
        while True:
            line = self.rfile.readline().decode()
            if not line:
                return
            length = 0
            while True:
                header = self.rfile.readline()
                if header in (b"\r\n", b""):
                    break
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            self.rfile.read(length)
            path = line.split(" ")[1]
            self.server.paths.append(path)
            answer = self.server.answers[path]
            if not answer:
                return
            self.wfile.write(answer)


def answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


class StrangeServerTests(ProcessTestCase, unittest.IsolatedAsyncioTestCase):
    """What a daemon of another version, or no daemon at all, may answer."""

    async def test_where_there_are_no_reservations_calls_are_checked_and_it_is_said_once(self) -> None:
        allowed = answer(200, b'{"allowed":true,"limit_name":"requests","limit":20,"remaining":19}')
        paths = {"/v1/reserve": answer(404, b'{"title":"Not Found","status":404,"detail":"x"}'), "/v1/check": allowed}
        path = str(self.folder / "old")
        server = self.ending(StrangeServer(path, paths))
        for client in (Client(path, timeout=30), AsyncClient(path, timeout=30)):
            with self.assertLogs("llm_rate_limit_client") as logged:
                for _ in range(3):
                    async with block(client.reserve("alice")) as reservation:
                        self.assertEqual(reservation.decision.remaining, 19)
            self.assertEqual(["serves no reservations" in record.getMessage() for record in logged.records], [True])
            await close(client)
        self.assertEqual(server.paths, ["/v1/reserve", "/v1/check"] * 6)

    async def test_what_is_no_answer_lets_calls_pass(self) -> None:
        for number, strange in enumerate(
            (b"hello\r\n\r\n", answer(200, b"[]"), answer(200, b"{}"), answer(500, b"{}"), answer(302, b""), b"")
        ):
            path = str(self.folder / f"strange-{number}")
            self.ending(StrangeServer(path, {"/v1/check": strange}))
            for client in (Client(path, timeout=30), AsyncClient(path, timeout=30)):
                for _ in range(2):
                    decision = await value(client.check("alice"))
                    self.assertEqual((decision.allowed, decision.reason), (True, DAEMON_UNREACHABLE), strange)
                await close(client)

    async def test_a_check_that_may_have_been_done_is_not_sent_twice_and_a_status_is(self) -> None:
        allowed = answer(200, b'{"allowed":true,"limit_name":null}')
        path = str(self.folder / "closes")
        for client in (Client(path, timeout=30), AsyncClient(path, timeout=30)):
            server = StrangeServer(path, {"/v1/check": allowed, "/v1/users/a": answer(200, b'{"user":"a"}')})
            await value(client.check("a"))
            server.answers["/v1/check"] = b""
            self.assertTrue((await value(client.check("a"))).degraded)
            self.assertEqual(server.paths, ["/v1/check", "/v1/check"])
            await value(client.status("a"))
            server.answers["/v1/users/a"] = b""
            with self.assertRaises(UnavailableError):
                await value(client.status("a"))
            # Once on the connection that had lain idle, once on a fresh one.
            self.assertEqual(server.paths[2:], ["/v1/users/a"] * 3)
            server.end()
            Path(path).unlink()
            await close(client)


if __name__ == "__main__":
    unittest.main()
