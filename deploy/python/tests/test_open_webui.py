"""The filter of deploy/open-webui, run by Open WebUI's own code, with a real daemon and a real redis-server."""

from __future__ import annotations

import ast
import tempfile
import time
import unittest
import unittest.mock
import uuid
from pathlib import Path
from sys import stdlib_module_names
from typing import Any

from .open_webui import FILTER, OpenWebUI
from .support import Daemon, Redis, eventually

LIMITS = """
limits:
  - {name: tokens, per: user, unit: tokens, quota: 1000000, window: 1d}
  - {name: spend, per: user, unit: spend, quota: $100, window: 1d}
  - {name: team, per: group, unit: requests, quota: 3, window: 1h}
  - {name: helper, per: user, unit: requests, quota: 2, window: 1h, match: {assistant: helper}}
  - {name: chats, per: [user, label:chat], unit: requests, quota: 2, window: 1h, match: {role: guest}, missing: deny}
  - {name: calls, per: user, unit: concurrency, quota: 4}
  - {name: one-call, per: user, unit: concurrency, quota: 1, match: {role: guest}}
prices:
  unknown_model: free
  models: {gpt-4o: {input: 2500000, output: 10000000}}
"""
REQUESTS = 20
PART = {"choices": [{"delta": {"content": "hel"}}]}
USAGE = {"choices": [], "usage": {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100}}
TOKENS = 100
STREAM = (PART, PART, USAGE)

folder: Path
redis: Redis
daemon: Daemon
webui: OpenWebUI


def setUpModule() -> None:
    global folder, redis, daemon, webui  # noqa: PLW0603
    made = tempfile.TemporaryDirectory(prefix="lrl-", dir="/tmp")
    unittest.addModuleCleanup(made.cleanup)
    folder = Path(made.name)
    redis = Redis(folder)
    unittest.addModuleCleanup(redis.end)
    limits = folder / "limits.yaml"
    limits.write_text(LIMITS)
    daemon = Daemon(folder, redis, REQUESTS=str(REQUESTS), LIMITS_FILE=str(limits), GROUPS="given")
    unittest.addModuleCleanup(daemon.end)
    data = folder / "data"
    data.mkdir()
    webui = OpenWebUI(data)
    unittest.addModuleCleanup(webui.close)


class FilterTestCase(unittest.TestCase):
    def setUp(self) -> None:
        self.set_valves()
        #: A user of this test alone.
        self.user = self.id().rpartition(".")[2].removeprefix("test_")[:60]
        webui.log.lines.clear()

    def set_valves(self, **valves: object) -> None:
        # Far above what a decision takes: on a busy machine none shall be let through for its deadline.
        webui.set_valves(**{"address": f"unix://{daemon.socket}", "deadline_ms": 30_000, **valves})

    def used(self, limit: str, user: str | None = None, query: str = "") -> int:
        return daemon.used(user or self.user, limit, query)

    def settled(self, limit: str, expected: int, user: str | None = None) -> None:
        """Wait until what counts is what was charged, and nothing is held."""

        def found() -> bool:
            return self.used("calls", user) == 0 and self.used(limit, user) == expected

        try:
            eventually(found, limit, seconds=60)
        except AssertionError:
            raise AssertionError(
                f"{limit} is {self.used(limit, user)} and not {expected}, {self.used('calls', user)} are held"
            ) from None

    def answer(self, **turn: Any) -> None:
        webui.answer(**{"user": self.user, "rounds": (STREAM,), **turn})

    def refused(self, **turn: Any) -> str:
        """What the user reads: Open WebUI answers with 400 and the text of what a filter raises."""
        # The class is one of the module that Open WebUI has loaded.
        with self.assertRaises(Exception) as caught:
            self.answer(**turn)
        self.assertEqual(type(caught.exception).__name__, "RateLimitedError")
        return str(caught.exception)


class FileTests(unittest.TestCase):
    def test_it_imports_the_standard_library_pydantic_and_open_webui_alone(self) -> None:
        found = set()
        for node in ast.walk(ast.parse(FILTER.read_text())):
            if isinstance(node, ast.Import):
                found |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).partition(".")[0])
        self.assertEqual(found - stdlib_module_names, {"pydantic", "open_webui"})

    def test_open_webui_reads_its_title_and_installs_nothing_for_it(self) -> None:
        from open_webui.utils.plugin import extract_frontmatter

        read = extract_frontmatter(FILTER.read_text())
        self.assertEqual(read["title"], "Rate limits of llm-rate-limit")
        self.assertNotIn("requirements", read)


class DecisionTests(FilterTestCase):
    def test_a_call_is_settled_with_the_usage_of_its_stream(self) -> None:
        self.answer()
        self.settled("tokens", TOKENS)
        self.assertEqual(self.used("requests"), 1)
        # 90 and 10 tokens of gpt-4o.
        self.assertEqual(self.used("spend"), 225 + 100)

    def test_a_denial_tells_the_user_how_long_to_wait_and_charges_nothing(self) -> None:
        for _ in range(REQUESTS):
            self.answer()
        self.assertEqual(self.refused(), "Rate limit reached (requests). Try again in 1 hour.")
        self.settled("tokens", TOKENS * REQUESTS)

    def test_each_round_of_tools_is_a_call_and_holds_one_slot(self) -> None:
        # A guest has one call at a time: the slot of a round is free when the next one begins.
        self.answer(rounds=(STREAM, STREAM), role="guest", outlet={"input_tokens": 180, "output_tokens": 20})
        self.settled("tokens", 2 * TOKENS)
        self.assertEqual(self.used("requests"), 2)

    def test_a_round_of_tools_is_refused_as_a_first_call_is(self) -> None:
        self.assertIn("chats", self.refused(rounds=(STREAM, STREAM, STREAM), role="guest"))
        self.settled("tokens", 2 * TOKENS)
        self.assertEqual(self.used("requests"), 2)

    def test_two_users_have_a_quota_each(self) -> None:
        for _ in range(REQUESTS):
            self.answer()
        self.refused()
        self.answer(user="another-one")
        self.settled("requests", 1, user="another-one")

    def test_many_at_once_are_limited_exactly(self) -> None:
        passed = 0
        # Four calls run at a time, so it takes some attempts until the quota of requests is used up.
        while self.used("requests") < REQUESTS:
            passed += webui.passed_at_once(60, user=self.user, rounds=(STREAM,))
            eventually(lambda: self.used("calls") == 0, "all are settled")
        self.assertEqual(passed, REQUESTS)
        self.assertIn("(requests)", self.refused())

    def test_calls_at_the_same_time_are_limited_and_their_slots_come_back(self) -> None:
        turns = [webui.start(user=self.user, rounds=((PART,),)) for _ in range(4)]
        self.assertIn("(calls)", self.refused())
        for turn in turns:
            webui.end(turn)
        eventually(lambda: self.used("calls") == 0, "the slots are free")
        self.answer()

    def test_a_chat_that_a_client_names_as_it_likes_opens_no_limit(self) -> None:
        for chat in ("x" * 100_000, "\ud800", 4711):
            self.answer(role="guest", chat=chat)
            self.answer(role="guest", chat=chat)
            self.assertIn("(chats)", self.refused(role="guest", chat=chat))

    def test_connections_stay_open(self) -> None:
        self.answer()
        self.settled("requests", 1)
        # Those of this test's own questions are counted, too.
        before = daemon.metric("llm_rate_limit_connections_total")
        own = daemon.metric("llm_rate_limit_connections_total") - before
        for _ in range(10):
            self.answer()
        self.assertEqual(daemon.metric("llm_rate_limit_connections_total") - before, 2 * own)


class UsageTests(FilterTestCase):
    def test_an_answer_that_is_no_stream_is_settled_from_outlet(self) -> None:
        # Of several rounds only these names are sums.
        told = {
            "input_tokens": 300,
            "output_tokens": 30,
            "total_tokens": 330,
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "prompt_tokens_details": {"cached_tokens": 200},
        }
        self.answer(rounds=(), is_streamed=False, outlet=told)
        self.settled("tokens", 330)

    def test_a_stream_that_tells_its_usage_with_each_part_pays_the_last_one(self) -> None:
        self.answer(rounds=(({**USAGE, "usage": {"prompt_tokens": 90, "completion_tokens": 1}}, USAGE, PART),))
        self.settled("tokens", TOKENS)

    def test_the_events_of_responses_and_the_counts_of_llama_cpp_are_read(self) -> None:
        done = {"type": "response.completed", "response": {"usage": {"input_tokens": 40, "output_tokens": 2}}}
        counts = {"choices": [], "timings": {"prompt_n": 7, "cache_n": 3, "predicted_n": 5}}
        self.answer(rounds=((PART, done), (PART, counts)))
        self.settled("tokens", 42 + 15)

    def test_streams_are_asked_for_their_usage(self) -> None:
        turn = webui.start(user=self.user)
        webui.end(turn)
        self.assertEqual(turn.sent[0]["stream_options"], {"include_usage": True})
        self.set_valves(ask_for_usage=False)
        turn = webui.start(user=self.user)
        webui.end(turn)
        self.assertNotIn("stream_options", turn.sent[0])

    def test_stopping_an_answer_pays_the_estimate(self) -> None:
        for _ in range(4):
            self.answer()
        self.settled("tokens", 4 * TOKENS)
        webui.end(webui.start(user=self.user, rounds=((PART, PART),)), cut=True)
        self.settled("tokens", 5 * TOKENS)
        # Before its first part, as well.
        webui.end(webui.start(user=self.user, rounds=((),)), cut=True)
        self.settled("tokens", 6 * TOKENS)
        self.assertEqual(self.used("requests"), 6)

    def test_a_stream_that_tells_no_usage_pays_the_estimate(self) -> None:
        for _ in range(4):
            self.answer()
        self.answer(rounds=((PART,),))
        self.settled("tokens", 5 * TOKENS)

    def test_a_model_that_fails_costs_nothing(self) -> None:
        with self.assertRaises(ConnectionError):
            self.answer(rounds=(ConnectionError("the model is away"),))
        self.answer(rounds=(({"error": {"message": "overloaded"}},),), has_outlet=False)
        self.settled("requests", 0)

    def test_an_answer_without_outlet_that_is_no_stream_is_a_request(self) -> None:
        # Open WebUI calls none for an API's client that is asked to run a tool.
        self.answer(rounds=(), is_streamed=False, has_outlet=False)
        self.settled("requests", 1)

    def test_a_call_that_lasts_keeps_what_it_holds(self) -> None:
        self.set_valves(ttl=6)
        turn = webui.start(user=self.user, rounds=((PART,),))
        time.sleep(7)
        self.assertEqual(self.used("calls"), 1)
        webui.end(turn)
        self.settled("requests", 1)


class ValveTests(FilterTestCase):
    def test_the_names_of_groups_share_a_limit(self) -> None:
        webui.make_group("researchers", "ada", "alan")
        self.set_valves(groups="name")
        self.answer(user="ada")
        self.answer(user="alan")
        self.answer(user="ada")
        self.assertIn("(team)", self.refused(user="alan"))
        self.assertEqual(self.used("team", "ada", "?group=researchers"), 3)
        # Who is in no group is under no limit of groups.
        self.answer()

    def test_no_groups_are_sent_unless_that_is_set(self) -> None:
        webui.make_group("writers", "jane")
        for _ in range(4):
            self.answer(user="jane")
        self.assertEqual(self.used("team", "jane", "?group=writers"), 0)

    def test_admins_are_limited_unless_they_are_exempt(self) -> None:
        self.answer(role="admin")
        self.settled("requests", 1)
        self.set_valves(admins_exempt=True)
        self.answer(role="admin")
        self.answer()
        self.settled("requests", 2)

    def test_the_user_can_be_the_address(self) -> None:
        self.set_valves(user="email")
        self.answer()
        self.settled("requests", 1, user=f"{self.user}@example.com")

    def test_a_model_of_the_workspace_is_charged_as_its_base_and_limited_by_its_name(self) -> None:
        self.answer(model="helper", base="gpt-4o")
        self.answer(model="helper", base="gpt-4o")
        self.assertIn("(helper)", self.refused(model="helper", base="gpt-4o"))
        self.answer()
        self.settled("spend", 3 * 325)

    def test_labels_that_are_not_set_are_not_sent(self) -> None:
        self.set_valves(labels="role")
        for _ in range(3):
            self.answer(model="helper", base="gpt-4o")
        # The limit of guests needs the chat.
        self.assertIn("label chat", self.refused(role="guest"))

    def test_what_is_not_accepted_cannot_be_saved(self) -> None:
        self.answer()
        valves = webui.module().Valves
        for wrong, text in (
            ({"address": "redis://localhost"}, "accepted are unix:///path, /path and http://host:port"),
            ({"labels": "chat,colour"}, "accepted are assistant, chat, role, session"),
            ({"deadline_ms": 0}, "greater than or equal to 1"),
            ({"groups": "all"}, "'none', 'name' or 'id'"),
        ):
            with self.subTest(wrong), self.assertRaisesRegex(ValueError, text):
                valves(**wrong)

    def test_the_daemon_is_asked_over_tcp_too(self) -> None:
        self.set_valves(address=f"http://127.0.0.1:{daemon.port}")
        self.answer()
        self.settled("requests", 1)


class OutageTests(FilterTestCase):
    def test_without_the_daemon_calls_are_allowed_and_what_they_came_to_is_charged_when_it_is_back(self) -> None:
        self.answer()
        self.settled("tokens", TOKENS)
        daemon.end()
        for _ in range(3):
            self.answer()
        self.assertEqual(len(webui.log.lines), 1, webui.log.lines)
        self.assertRegex(webui.log.lines[0], "^the rate limiter at .* is away, calls are allowed until it is back: ")
        daemon.start()
        daemon.wait()
        self.settled("tokens", 4 * TOKENS)
        # Their requests were asked about by nobody.
        self.assertEqual(self.used("requests"), 1)
        eventually(self.is_said_back, "the log says that it is back")
        self.assertEqual(len(webui.log.lines), 2, webui.log.lines)

    def is_said_back(self) -> bool:
        # Each time another user, whose quota is not used up.
        self.answer(user=str(uuid.uuid4()))
        return bool(webui.log.with_text("is back after"))

    def test_a_call_that_is_under_way_while_the_daemon_restarts_is_settled_once(self) -> None:
        turn = webui.start(user=self.user, rounds=(STREAM,))
        daemon.end()
        webui.end(turn)
        daemon.start()
        daemon.wait()
        self.settled("tokens", TOKENS)
        self.assertEqual(self.used("requests"), 1)
        eventually(self.is_said_back, "the log says that it is back")

    def test_settlements_that_wait_are_bounded(self) -> None:
        self.answer()
        self.settled("tokens", TOKENS)
        names = type(webui.module())._post.__globals__
        bound, names["_MAX_LETTERS"] = names["_MAX_LETTERS"], 2
        self.addCleanup(names.update, _MAX_LETTERS=bound)
        daemon.end()
        for _ in range(4):
            self.answer()
        self.assertEqual(len(webui.log.with_text("some are dropped")), 1, webui.log.lines)
        daemon.start()
        daemon.wait()
        self.settled("tokens", (1 + 2) * TOKENS)
        eventually(self.is_said_back, "the log says that it is back")

    def test_a_daemon_that_hangs_is_waited_for_until_the_deadline(self) -> None:
        self.answer()
        self.settled("requests", 1)
        self.set_valves(deadline_ms=50, ttl=4)
        daemon.stop()
        try:
            for _ in range(3):
                self.answer()
        finally:
            daemon.resume()
        self.assertEqual(len(webui.log.with_text("is away")), 1, webui.log.lines)
        self.assertTrue(webui.log.lines[0].endswith("no answer in time"), webui.log.lines)
        self.set_valves()
        # What it is asked and answers too late is held by nobody, and lapses.
        self.settled("tokens", 4 * TOKENS)
        eventually(self.is_said_back, "the log says that it is back")

    def test_without_redis_the_failure_mode_decides(self) -> None:
        place = folder / "lost"
        place.mkdir()
        lost = Redis(place)
        self.addCleanup(lost.end)
        modes = {
            mode: Daemon(place, lost, mode, FAILURE_MODE=mode, REDIS_TIMEOUT_MS="1000") for mode in ("open", "closed")
        }
        for mode, asked in modes.items():
            self.addCleanup(asked.end)
            self.set_valves(address=asked.socket)
            self.answer(user=mode)
        lost.end()
        self.set_valves(address=modes["open"].socket)
        self.answer(user="open")
        self.set_valves(address=modes["closed"].socket)
        self.assertEqual(
            self.refused(user="closed"), "The rate limiter cannot decide at the moment. Try again in a moment."
        )
        # The daemon is there all the while.
        self.assertEqual(webui.log.lines, [])
        lost.start()
        lost.wait()
        eventually(lambda: modes["closed"].ask("GET", "/readyz?require=redis")[0] == 200, "the daemon decides")
        self.answer(user="closed")

    def test_a_fault_of_the_filter_is_said_once_and_refuses_nobody(self) -> None:
        self.answer()
        with unittest.mock.patch.object(webui.module(), "_hold", side_effect=KeyError("lease")):
            self.answer()
            self.answer()
        self.assertEqual(webui.log.lines, ["cannot ask the rate limiter, such calls are allowed: KeyError('lease')"])

    def test_a_daemon_that_does_not_understand_is_said_once(self) -> None:
        # Its limits file lets leases live for a minute.
        short = folder / "short.yaml"
        short.write_text("lease: {ttl: 10s, max_ttl: 60s}\n" + LIMITS.lstrip())
        other = Daemon(folder, redis, "short", LIMITS_FILE=str(short))
        self.addCleanup(other.end)
        self.set_valves(ttl=86_400, address=other.socket)
        self.answer()
        self.answer()
        self.assertEqual(len(webui.log.with_text("refuses to be asked, such calls are allowed")), 1, webui.log.lines)
