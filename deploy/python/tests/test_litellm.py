"""Two real LiteLLM proxies, each with a daemon of its own, over one real redis-server.

They are started once, with the configuration of deploy/litellm and some models more, and a local server that speaks
OpenAI's protocol behind them.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from . import upstream as openai
from .proxy import CONFIGURATION, Proxy
from .support import Daemon, Redis, eventually
from .upstream import Upstream

LIMITS = """
limits:
  - {name: tokens, per: user, unit: tokens, quota: 1000000, window: 1d}
  - {name: spend, per: user, unit: spend, quota: $100, window: 1d}
  - {name: team, per: group, unit: spend, quota: $100, window: 1d}
  - {name: nightly, per: user, unit: requests, quota: 2, window: 1h, match: {tag.nightly: "yes"}}
  - {name: openai, per: user, unit: requests, quota: 900, window: 1h, match: {provider: openai}}
  - {name: one-session, per: [user, label:session], unit: requests, quota: 3, window: 1h}
  - {name: calls, per: user, unit: concurrency, quota: 100}
  - {name: large, per: user, unit: requests, quota: 15, window: 1h, match: {model: gpt-4o}}
prices:
  unknown_model: {price-of: any}
  models: {any: {input: 2500000, output: 10000000}}
"""
REQUESTS = 20
#: What a call of the local server costs by LiteLLM's prices, in micro-dollars.
GPT_4O = 3_050
GPT_4O_MINI = 183
TOKENS = openai.PROMPT_TOKENS + openai.COMPLETION_TOKENS

#: Far above what a decision takes: on a busy machine none shall be let through for its deadline.
ENVIRONMENT = {"OPENAI_API_KEY": "x", "LLM_RATE_LIMIT_LITELLM_DEADLINE_MS": "30000"}

folder: Path
redis: Redis
upstream: Upstream
daemons: list[Daemon] = []
proxies: list[Proxy] = []


def configuration() -> Path:
    """Write the configuration of deploy/litellm, as it is, with identities for the tests and models that are mocked."""
    told = yaml.safe_load(CONFIGURATION.read_text())
    told["general_settings"]["custom_auth"] = "proxy_auth.user_api_key_auth"
    told["litellm_settings"]["callbacks"].append("proxy_rejections.handler")
    openai_like = {"api_key": "x", "api_base": "os.environ/OPENAI_API_BASE"}
    told["model_list"] += [
        {"model_name": "mock", "litellm_params": {"model": "openai/gpt-4o", "api_key": "x", "mock_response": "hello"}},
        {"model_name": "unpriced", "litellm_params": {"model": "openai/nobody-knows", **openai_like}},
        {"model_name": "embedding", "litellm_params": {"model": "openai/text-embedding-3-small", **openai_like}},
        {
            "model_name": "claude",
            "litellm_params": {
                "model": "anthropic/claude-3-5-sonnet-20240620",
                "api_key": "x",
                "mock_response": "hello",
            },
        },
    ]
    # A deployment that failed is tried again at once: tests come faster than a cooldown ends.
    told["router_settings"]["disable_cooldowns"] = True
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(told))
    return path


def setUpModule() -> None:
    global folder, redis, upstream  # noqa: PLW0603
    made = tempfile.TemporaryDirectory(prefix="lrl-", dir="/tmp")
    unittest.addModuleCleanup(made.cleanup)
    folder = Path(made.name)
    redis = Redis(folder)
    unittest.addModuleCleanup(redis.end)
    upstream = Upstream()
    unittest.addModuleCleanup(upstream.close)
    limits = folder / "limits.yaml"
    limits.write_text(LIMITS)
    told = configuration()
    for number in (1, 2):
        daemon = Daemon(
            folder, redis, f"daemon-{number}", REQUESTS=str(REQUESTS), LIMITS_FILE=str(limits), GROUPS="given"
        )
        unittest.addModuleCleanup(daemon.end)
        daemons.append(daemon)
        proxy = Proxy(
            folder,
            f"proxy-{number}",
            told,
            {
                **ENVIRONMENT,
                "OPENAI_API_BASE": upstream.url,
                "LLM_RATE_LIMIT_SOCKET": f"unix://{daemon.socket}",
                # The second proxy meets the outages.
                "LLM_RATE_LIMIT_LITELLM_DEADLINE_MS": "30000" if number == 1 else "1000",
                "LLM_RATE_LIMIT_LITELLM_TTL": "60" if number == 1 else "10",
            },
        )
        unittest.addModuleCleanup(proxy.end)
        proxies.append(proxy)
    for proxy in proxies:
        proxy.wait()
    # What a proxy does at its first call only is over then.
    for proxy in proxies:
        eventually(lambda proxy=proxy: proxy.chat("warm", model="mock")[0] == 200, "a first answer")  # type: ignore[misc]


def used(user: str, limit: str, query: str = "") -> int:
    return daemons[0].used(user, limit, query)


def settled(user: str, limit: str, expected: int, query: str = "") -> None:
    """Wait until what counts is what was charged, and nothing is held."""

    def found() -> bool:
        return used(user, "calls") == 0 and used(user, limit, query) == expected

    try:
        eventually(found, f"{limit} of {user} is {expected}", seconds=60)
    except AssertionError:
        raise AssertionError(
            f"{limit} of {user} is {used(user, limit, query)} and not {expected}, {used(user, 'calls')} are held"
        ) from None


def cut(proxy: Proxy, user: str, text: str, *, parts: int, stream: bool = True, model: str = "gpt-4o") -> None:
    """Send a request and hang up after some parts of its answer; after the model has it, where there are none."""
    before = len(upstream.requests)
    connection = proxy.connect()
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": text}]}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer sk-{user}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    eventually(lambda: len(upstream.requests) > before, "the model has the request")
    if parts:
        response = connection.getresponse()
        for _ in range(parts):
            response.readline()
        response.close()
    connection.close()


class DecisionTests(unittest.TestCase):
    def test_two_proxies_over_one_redis_allow_exactly_the_quota_and_refuse_the_rest_as_openai_does(self) -> None:
        def ask(number: int) -> tuple[int, dict[str, str], dict[str, Any]]:
            return proxies[number % 2].chat("exact", model="mock")

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(ask, range(REQUESTS + 10)))
        self.assertEqual(sorted(status for status, _, _ in answers), [200] * REQUESTS + [429] * 10)
        settled("exact", "requests", REQUESTS)
        for status, headers, answer in answers:
            if status == 429:
                self.assertTrue(0 < int(headers["retry-after"]) <= 3_600)
                self.assertIn('"requests";r=0;t=', headers["ratelimit"])
                self.assertIn('"requests";q=20;w=3600', headers["ratelimit-policy"])
                error = answer["error"]
                self.assertEqual((error["type"], error["code"], error["param"]), ("rate_limit_error", "429", None))
                self.assertIn("Try again in", error["message"])
                self.assertEqual(error["provider_specific_fields"]["limit_name"], "requests")

    def test_a_stream_is_refused_before_it_begins(self) -> None:
        for _ in range(REQUESTS):
            daemons[1].ask("POST", "/v1/check", {"user": "refused", "model": "mock"})
        status, headers, answer = proxies[0].chat("refused", model="mock", stream=True)
        self.assertEqual((status, answer["error"]["type"]), (429, "rate_limit_error"))
        self.assertIn("retry-after", headers)

    def test_a_denial_does_not_fall_back(self) -> None:
        for _ in range(REQUESTS):
            daemons[1].ask("POST", "/v1/check", {"user": "steady", "model": "mock"})
        before = upstream.count("gpt-4o-mini")
        self.assertEqual(proxies[0].chat("steady")[0], 429)
        self.assertEqual(upstream.count("gpt-4o-mini"), before)

    def test_team_provider_tag_and_session_are_what_limits_look_at(self) -> None:
        tagged: dict[str, Any] = {"metadata": {"tags": ["nightly"]}}
        statuses = [proxies[0].chat("tagged.red", **tagged)[0] for _ in range(3)]
        self.assertEqual(statuses, [200, 200, 429])
        self.assertEqual(proxies[0].chat("tagged.red")[0], 200)
        settled("tagged", "team", 3 * GPT_4O, "?group=red")
        self.assertEqual(used("tagged", "openai"), 3)
        tags = {"tags": ["x" * 10_000]}
        self.assertEqual(proxies[0].chat("tagged", metadata=tags)[0], 400)
        session: dict[str, Any] = {"litellm_session_id": "s1"}
        statuses = [proxies[0].chat("session", model="mock", **session)[0] for _ in range(4)]
        self.assertEqual(statuses, [200, 200, 200, 429])
        self.assertEqual(proxies[0].chat("session", model="mock", litellm_session_id="s2")[0], 200)


class SettlementTests(unittest.TestCase):
    def test_real_tokens_and_cost_are_charged(self) -> None:
        self.assertEqual(proxies[0].chat("real")[0], 200)
        settled("real", "spend", GPT_4O)
        self.assertEqual((used("real", "tokens"), used("real", "requests")), (TOKENS, 1))

    def test_a_model_without_a_price_of_litellms_has_the_daemons(self) -> None:
        self.assertEqual(proxies[0].chat("unpriced", model="unpriced")[0], 200)
        settled("unpriced", "spend", GPT_4O)

    def test_a_stream_is_charged_at_its_end(self) -> None:
        status, _, answer = proxies[0].chat("streams", stream=True)
        self.assertEqual(status, 200)
        self.assertIn("[DONE]", answer["text"])
        settled("streams", "spend", GPT_4O)
        self.assertEqual(used("streams", "tokens"), TOKENS)

    def test_embeddings_are_charged(self) -> None:
        body = {"model": "embedding", "input": "hello"}
        status, _, _ = proxies[0].ask("POST", "/v1/embeddings", body, {"Authorization": "Bearer sk-embeds"})
        self.assertEqual(status, 200)
        # 900 tokens at 2 cents a million.
        settled("embeds", "spend", 18)
        self.assertEqual(used("embeds", "tokens"), openai.PROMPT_TOKENS)

    def test_messages_and_responses_are_charged(self) -> None:
        for path, body in (
            ("/v1/messages", {"model": "claude", "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]}),
            ("/v1/responses", {"model": "mock", "input": "hello"}),
        ):
            user = path.rsplit("/", 1)[1]
            status, _, answer = proxies[0].ask("POST", path, body, {"Authorization": f"Bearer sk-{user}"})
            self.assertEqual(status, 200)
            usage = answer["usage"]
            settled(user, "tokens", usage["input_tokens"] + usage["output_tokens"])

    def test_calls_that_name_one_id_are_charged_each(self) -> None:
        with ThreadPoolExecutor(5) as pool:
            statuses = list(
                pool.map(lambda _: proxies[0].chat("same", headers={"x-litellm-call-id": "the-same"})[0], range(5))
            )
        self.assertEqual(statuses, [200] * 5)
        settled("same", "spend", 5 * GPT_4O)
        self.assertEqual(used("same", "requests"), 5)


class LeaseTests(unittest.TestCase):
    def test_what_is_held_is_held_for_as_long_as_the_call_lasts(self) -> None:
        # Longer than the second proxy's leases last unless they are renewed.
        upstream.part_seconds, usual = 0.4, upstream.part_seconds
        answered, before = upstream.answered, len(upstream.requests)
        answers: list[int] = []
        thread = threading.Thread(target=lambda: answers.append(proxies[1].chat("lasts", text="slow")[0]))
        thread.start()
        eventually(lambda: len(upstream.requests) > before, "the model has the request")
        upstream.part_seconds = usual
        held = []
        while upstream.answered == answered:
            held.append(used("lasts", "calls"))
            time.sleep(0.2)
        thread.join()
        self.assertEqual((answers, set(held[:-1])), ([200], {1}))
        settled("lasts", "spend", GPT_4O)


class CutTests(unittest.TestCase):
    def test_a_stream_that_is_cut_is_charged_for_what_was_streamed(self) -> None:
        cut(proxies[0], "cuts", "slow", parts=5)
        eventually(lambda: used("cuts", "calls") == 0, "nothing is held")
        self.assertEqual(used("cuts", "requests"), 1)
        self.assertGreater(used("cuts", "tokens"), 0)
        self.assertGreater(used("cuts", "spend"), 0)

    def test_a_stream_that_is_cut_before_its_first_part_is_not_free(self) -> None:
        cut(proxies[0], "early", "late", parts=0)
        eventually(lambda: used("early", "calls") == 0, "nothing is held")
        self.assertEqual(used("early", "requests"), 1)
        self.assertGreater(used("early", "spend"), 0)

    def test_a_client_that_hangs_up_pays_for_the_answer_that_the_model_gave(self) -> None:
        cut(proxies[0], "gone", "slow", parts=0, stream=False)
        settled("gone", "spend", GPT_4O)

    def test_a_call_of_which_litellm_says_no_word_is_charged_the_estimate(self) -> None:
        # A mocked stream of /v1/messages ends with no event. Four calls teach what such a call comes to.
        body = {"model": "claude", "max_tokens": 50, "messages": [{"role": "user", "content": "x"}]}
        headers = {"Authorization": "Bearer sk-silent"}
        for _ in range(4):
            self.assertEqual(proxies[0].ask("POST", "/v1/messages", body, headers)[0], 200)
        eventually(lambda: used("silent", "calls") == 0, "nothing is held")
        tokens = used("silent", "tokens")
        self.assertEqual(proxies[0].ask("POST", "/v1/messages", {**body, "stream": True}, headers)[0], 200)
        settled("silent", "tokens", tokens // 4 * 5)
        self.assertEqual(used("silent", "requests"), 5)

    def test_a_stream_that_the_model_breaks_off_is_charged_for_what_was_streamed(self) -> None:
        proxies[0].chat("broken-off", text="breaks", stream=True)
        eventually(lambda: used("broken-off", "calls") == 0, "nothing is held")
        self.assertGreater(used("broken-off", "tokens"), 0)


class FailureTests(unittest.TestCase):
    def tearDown(self) -> None:
        upstream.broken.clear()

    def test_a_call_that_no_deployment_answers_gives_everything_back(self) -> None:
        upstream.broken = {"gpt-4o": 1_000, "gpt-4o-mini": 1_000}
        self.assertEqual(proxies[0].chat("fails")[0], 500)
        settled("fails", "requests", 0)
        self.assertEqual((used("fails", "tokens"), used("fails", "spend")), (0, 0))

    def test_a_call_that_is_tried_again_is_charged_once(self) -> None:
        before = upstream.count("gpt-4o")
        upstream.broken = {"gpt-4o": 1}
        self.assertEqual(proxies[0].chat("again")[0], 200)
        self.assertGreaterEqual(upstream.count("gpt-4o") - before, 2)
        settled("again", "spend", GPT_4O)
        self.assertEqual(used("again", "requests"), 1)

    def test_a_call_that_falls_back_is_charged_once_as_one_of_the_model_that_answered(self) -> None:
        upstream.broken = {"gpt-4o": 1_000}
        self.assertEqual(proxies[0].chat("falls")[0], 200)
        settled("falls", "spend", GPT_4O_MINI)
        self.assertEqual((used("falls", "requests"), used("falls", "tokens")), (1, TOKENS))


class RejectionTests(unittest.TestCase):
    def test_a_call_that_is_rejected_before_the_model_is_asked_gives_everything_back(self) -> None:
        self.assertEqual(proxies[0].chat("barred")[0], 400)
        settled("barred", "requests", 0)

    def test_an_answer_that_is_rejected_is_charged_since_the_model_gave_it(self) -> None:
        self.assertEqual(proxies[0].chat("censored")[0], 400)
        settled("censored", "spend", GPT_4O)
        self.assertEqual(used("censored", "requests"), 1)


class OutageTests(unittest.TestCase):
    def test_a_daemon_that_is_killed_lets_calls_pass_and_is_asked_again_when_it_is_back(self) -> None:
        proxy, daemon = proxies[1], daemons[1]
        daemon.end()
        try:
            for _ in range(3):
                self.assertEqual(proxy.chat("killed")[0], 200)
        finally:
            daemon.start()
            daemon.wait()
        # What was called meanwhile is charged, its requests aside: those are decided or not at all.
        settled("killed", "spend", 3 * GPT_4O)
        self.assertEqual(proxy.chat("killed")[0], 200)
        settled("killed", "requests", 1)

        # It is said when nothing has failed for a second, by the next call.
        def is_said_back() -> bool:
            proxy.chat("said-back", model="mock")
            return proxy.output.count("is back after") == proxy.output.count("is away")

        eventually(is_said_back, "the log says that the daemon is back")
        lines = [line for line in proxy.output.splitlines() if "the rate limiter at" in line]
        self.assertTrue(all(("is back after" if index % 2 else "is away") in line for index, line in enumerate(lines)))
        self.assertGreaterEqual(len(lines), 2)

    def test_a_call_that_is_under_way_while_the_daemon_restarts_is_settled(self) -> None:
        proxy, daemon = proxies[1], daemons[1]
        answers: list[int] = []
        before = len(upstream.requests)
        thread = threading.Thread(target=lambda: answers.append(proxy.chat("during", text="slow")[0]))
        thread.start()
        eventually(lambda: len(upstream.requests) > before, "the model has the request")
        daemon.end()
        thread.join()
        time.sleep(0.5)
        daemon.start()
        daemon.wait()
        self.assertEqual(answers, [200])
        settled("during", "spend", GPT_4O)
        self.assertEqual(used("during", "requests"), 1)

    def test_a_daemon_that_hangs_lets_calls_pass(self) -> None:
        proxy, daemon = proxies[1], daemons[1]
        daemon.stop()
        try:
            self.assertEqual(proxy.chat("hangs", model="mock")[0], 200)
        finally:
            daemon.resume()

    def test_redis_that_hangs_lets_calls_pass_and_limits_again_when_it_is_back(self) -> None:
        redis.stop()
        try:
            self.assertEqual(proxies[1].chat("redis", model="mock")[0], 200)
        finally:
            redis.resume()

        def decides() -> bool:
            return all(daemon.ask("GET", "/readyz?require=redis")[0] == 200 for daemon in daemons)

        eventually(decides, "both daemons decide again")
        eventually(lambda: self._is_counted("redis-back"), "calls count again")

    def _is_counted(self, user: str) -> bool:
        before = used(user, "requests")
        self.assertEqual(proxies[1].chat(user, model="mock")[0], 200)
        return used(user, "requests") > before


class ConfigurationTests(unittest.TestCase):
    def test_a_denial_falls_back_where_that_is_switched_on_and_is_charged_once(self) -> None:
        environment = {**ENVIRONMENT, "OPENAI_API_BASE": upstream.url, "LLM_RATE_LIMIT_LITELLM_FALLBACK": "yes"}
        proxy = Proxy(
            folder, "falls", folder / "config.yaml", {**environment, "LLM_RATE_LIMIT_SOCKET": daemons[0].socket}
        )
        self.addCleanup(proxy.end)
        proxy.wait()
        daemons[0].ask("POST", "/v1/check", {"user": "switched", "model": "gpt-4o", "cost": 15})
        before = upstream.count("gpt-4o"), upstream.count("gpt-4o-mini")
        self.assertEqual(proxy.chat("switched")[0], 200)
        self.assertEqual((upstream.count("gpt-4o"), upstream.count("gpt-4o-mini")), (before[0], before[1] + 1))
        settled("switched", "spend", GPT_4O_MINI)
        self.assertEqual(used("switched", "requests"), 16)

    def test_without_redis_the_failure_mode_closed_is_503_for_the_client(self) -> None:
        place = folder / "closed"
        place.mkdir()
        lost = Redis(place)
        self.addCleanup(lost.end)
        daemon = Daemon(place, lost, FAILURE_MODE="closed")
        self.addCleanup(daemon.end)
        lost.end()
        environment = {**ENVIRONMENT, "OPENAI_API_BASE": upstream.url, "LLM_RATE_LIMIT_SOCKET": daemon.socket}
        proxy = Proxy(folder, "closed", folder / "config.yaml", environment)
        self.addCleanup(proxy.end)
        proxy.wait()
        status, headers, answer = proxy.chat("closed", model="mock")
        self.assertEqual((status, headers["retry-after"]), (503, "1"))
        self.assertIn("failure mode is closed", answer["error"]["message"])

    def test_a_value_that_is_not_accepted_stops_the_start_and_says_what_is(self) -> None:
        proxy = Proxy(folder, "wrong", folder / "config.yaml", {"LLM_RATE_LIMIT_LITELLM_USER": "alice"})
        self.addCleanup(proxy.end)
        wanted = "cannot use LLM_RATE_LIMIT_LITELLM_USER=alice: accepted are one or more of user, key"
        eventually(lambda: wanted in proxy.output, "the proxy says what is wrong")


if __name__ == "__main__":
    unittest.main()
