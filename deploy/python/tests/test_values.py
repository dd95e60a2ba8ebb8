"""Decisions that need no daemon: money, outbox, calls under way, what a gateway knows."""

from __future__ import annotations

import asyncio
import re
import types
import unittest
from decimal import Decimal
from typing import Any

from llm_rate_limit_client import Call, Decision, Estimate, Lease, Usage, _calls
from llm_rate_limit_client._gateway import Settings, TooManyTagsError, call_of, provider_usage, subject, usage_of
from llm_rate_limit_client._held import HeldCall, HeldCalls
from llm_rate_limit_client._money import MAX_MICROS, micros
from llm_rate_limit_client._outbox import Outbox
from llm_rate_limit_client._pool import ClosedError, DeadlineError, may_ask_again
from llm_rate_limit_client._reservation import ReservationState
from llm_rate_limit_client._wire import Request, Response

from .support import ROOT

LEASE = Lease("B1", "alice", 60, Estimate("learned", Usage(input_tokens=900, output_tokens=80, cost_micros=3050)))
ONCE = Request("POST", "/v1/settle", {}, is_repeatable=True)
PLAIN = Request("POST", "/v1/check", {})


class MoneyTests(unittest.TestCase):
    def test_dollars_are_rounded_up_to_micro_dollars_and_never_by_the_noise_of_floats(self) -> None:
        for dollars, expected in (
            (0, 0),
            (0.0, 0),
            (1, 1_000_000),
            (0.00305, 3_050),
            (0.0000275, 28),
            (6.000000000000001e-05, 60),
            (0.1 + 0.2, 300_000),
            (0.0022500000000000003, 2_250),
            (1e-09, 1),
            (0.00000100001, 2),
            (Decimal("1.0000001"), 1_000_001),
            (1e300, MAX_MICROS),
        ):
            self.assertEqual(micros(dollars), expected, dollars)

    def test_what_is_no_amount_is_none(self) -> None:
        for value in (None, True, "1", -0.01, float("nan"), float("inf")):
            self.assertIsNone(micros(value), value)


class HeaderTests(unittest.TestCase):
    def test_what_says_how_a_quota_stands_is_handed_on_and_nothing_else(self) -> None:
        names = ("Retry-After", "RateLimit", "RateLimit-Policy")
        older = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
        for sent in (names, older, (*names, *older), ("Retry-After",), ()):
            headers = {"date": "now", **{name.lower(): name[-1] for name in sent}}
            decision = _calls.decision(Response(429, headers, b'{"allowed":false}', keeps_alive=True), "alice")
            self.assertEqual(decision.headers, {name: name[-1] for name in sent})

    def test_the_limits_above_their_soft_line_are_named(self) -> None:
        for body, over in ((b'{"allowed":true,"over":["day","busy"]}', ("day", "busy")), (b'{"allowed":true}', ())):
            self.assertEqual(_calls.decision(Response(200, {}, body, keeps_alive=True), "alice").over, over)


class RetryTests(unittest.TestCase):
    def test_only_what_was_not_done_or_is_done_once_is_sent_twice(self) -> None:
        unsent, sent = ClosedError(is_unsent=True), ClosedError(is_unsent=False)
        for request, error, was_idle, expected in (
            (PLAIN, unsent, True, True),
            (PLAIN, sent, True, False),
            (ONCE, sent, True, True),
            (ONCE, sent, False, False),
            (PLAIN, unsent, False, False),
            (ONCE, DeadlineError(), True, False),
            (ONCE, ConnectionRefusedError(), True, False),
        ):
            self.assertEqual(may_ask_again(request, error, was_idle=was_idle), expected, (request, error, was_idle))


class OutboxTests(unittest.TestCase):
    def test_letters_leave_in_their_order(self) -> None:
        outbox = Outbox()
        for name in "abc":
            outbox.put(Request("POST", name), 0)
        sent = [letter.request.target for letter in (outbox.next(1), outbox.next(1), outbox.next(1)) if letter]
        self.assertEqual(sent, ["a", "b", "c"])
        self.assertIsNone(outbox.next(1))

    def test_a_full_one_drops_the_oldest_and_says_so_now_and_then(self) -> None:
        outbox = Outbox(max_letters=2)
        said = [outbox.put(Request("POST", str(number)), 0) for number in range(2_004)]
        self.assertEqual([number for number, is_said in enumerate(said) if is_said], [2, 1_002, 2_002])
        letter = outbox.next(1)
        assert letter is not None
        self.assertEqual((letter.request.target, outbox.dropped, len(outbox)), ("2002", 2_002, 1))

    def test_one_that_fails_goes_behind_the_others_and_pauses_grow_up_to_a_bound(self) -> None:
        outbox = Outbox()
        for name in "ab":
            outbox.put(Request("POST", name), 0)
        pauses = []
        for _ in range(12):
            letter = outbox.next(1)
            assert letter is not None
            pauses.append(outbox.back(letter))
        self.assertEqual(pauses, sorted(pauses))
        self.assertEqual((pauses[0], pauses[-1]), (0.05, 2.0))
        outbox.delivered()
        letter = outbox.next(1)
        assert letter is not None
        self.assertEqual(outbox.back(letter), 0.05)

    def test_what_is_too_old_is_never_sent(self) -> None:
        outbox = Outbox(max_age_seconds=10)
        outbox.put(PLAIN, 0)
        self.assertIsNone(outbox.next(10))
        self.assertEqual(outbox.dropped, 1)


class ReservationTests(unittest.TestCase):
    def _end(
        self, error: type[BaseException] | None, lease: Lease | None = LEASE, usage: Usage | None = None
    ) -> Request | None:
        state = ReservationState(Call("alice", model="gpt-4o", cost=3))
        state.decision = Decision(allowed=True, lease=lease)
        if usage is not None:
            state.report(usage, model="gpt-4o-mini")
        return state.end(error, "id-1")

    def _body(self, request: Request | None) -> dict[str, Any]:
        assert request is not None
        assert request.body is not None
        return dict(request.body)

    def test_what_was_reported_is_settled_whatever_ended_the_block(self) -> None:
        for error in (None, ValueError, asyncio.CancelledError):
            request = self._end(error, usage=Usage(input_tokens=5))
            assert request is not None
            self.assertEqual(request.target, "/v1/settle")
            self.assertEqual(
                self._body(request), {"lease": "B1", "user": "alice", "model": "gpt-4o-mini", "input_tokens": 5}
            )

    def test_an_exception_releases(self) -> None:
        request = self._end(ValueError)
        assert request is not None
        self.assertEqual(request.target, "/v1/release")

    def test_nothing_told_and_what_is_cut_off_is_settled_with_the_estimate(self) -> None:
        for error in (None, asyncio.CancelledError, GeneratorExit, KeyboardInterrupt):
            request = self._end(error)
            assert request is not None
            self.assertEqual(request.target, "/v1/settle", error)
            self.assertEqual(self._body(request)["cost_micros"], 3050)

    def test_usage_without_a_lease_is_charged_under_an_id_and_no_usage_is_nothing(self) -> None:
        request = self._end(None, lease=None, usage=Usage(cost_micros=7))
        assert request is not None
        self.assertEqual((request.target, request.is_repeatable), ("/v1/usage", True))
        expected = {"user": "alice", "model": "gpt-4o-mini", "cost_micros": 7, "request_id": "id-1"}
        self.assertEqual(self._body(request), expected)
        self.assertIsNone(self._end(None, lease=None))

    def test_it_ends_once_and_a_denial_not_at_all(self) -> None:
        state = ReservationState(Call("alice"))
        state.decision = Decision(allowed=True, lease=LEASE)
        self.assertIsNotNone(state.release())
        self.assertIsNone(state.end(None, "id"))
        state = ReservationState(Call("alice"))
        state.decision = Decision(allowed=False)
        self.assertIsNone(state.end(None, "id"))


class HeldCallsTests(unittest.TestCase):
    def test_calls_of_one_id_are_taken_once_each_and_by_their_own_key(self) -> None:
        held = HeldCalls()
        calls = [HeldCall("id", owner, Call("u"), LEASE, 0.0) for owner in ("k1", "k1", "k2")]
        for call in calls:
            held.add(call)
        found = []
        for owner in ("k2", None, "k1"):
            found.append(held.find("id", owner))
            assert found[-1] is not None
            self.assertTrue(held.remove(found[-1]))
        self.assertEqual(found, [calls[2], calls[0], calls[1]])
        self.assertFalse(held.remove(calls[0]))
        self.assertIsNone(held.find("id", None))
        self.assertEqual(len(held), 0)

    def test_there_is_a_bound_and_the_oldest_is_the_one_to_go(self) -> None:
        held = HeldCalls(max_held=2)
        first, second = (HeldCall(name, "k", Call("u"), LEASE, 0.0) for name in "ab")
        held.add(first)
        self.assertFalse(held.is_full)
        held.add(second)
        self.assertTrue(held.is_full)
        self.assertIs(held.oldest, first)
        held.remove(first)
        self.assertIs(held.oldest, second)


def auth(**members: object) -> types.SimpleNamespace:
    return types.SimpleNamespace(**members)


class GatewayTests(unittest.TestCase):
    def test_the_user_is_the_first_identity_there_is_and_never_one_that_clients_choose_by_default(self) -> None:
        settings = Settings()
        call = call_of(settings, auth(user_id=None, api_key="hash", end_user_id="x"), {}, "acompletion")
        assert call is not None
        self.assertEqual(call.user, "hash")
        self.assertEqual(call.labels, {"call_type": "acompletion", "key": "hash", "end_user": "x"})
        self.assertIsNone(call_of(settings, auth(user_id="", api_key=None), {}, "acompletion"))

    def test_a_call_has_team_model_provider_tags_and_session(self) -> None:
        data = {"model": "gpt-4o", "metadata": {"tags": ["env:prod", "nightly", "key:x"], "session_id": "s1"}}
        known = auth(user_id="alice", team_id="red", api_key="hash", key_alias="alias")
        call = call_of(Settings(), known, data, "acompletion", lambda _: "openai")
        assert call is not None
        self.assertEqual((call.user, call.groups, call.model, call.provider), ("alice", ("red",), "gpt-4o", "openai"))
        labels = {"tag.env": "prod", "tag.nightly": "yes", "tag.key": "x", "session": "s1"}
        self.assertEqual(call.labels, {"call_type": "acompletion", "key": "hash", "key_alias": "alias", **labels})

    def test_what_clients_choose_fits_into_a_question_or_is_refused(self) -> None:
        worst = "\x01" * 8_100
        data = {"model": worst, "metadata": {"tags": [worst], "session_id": worst}}
        named = auth(user_id=worst, team_id=worst, api_key=worst, end_user_id=worst, key_alias=worst)
        call = call_of(Settings(), named, data, "acompletion")
        assert call is not None
        self.assertLess(len(_calls.reserve(call, 60).encode("localhost")), 65_536)
        many = {"metadata": {"tags": [f"t{number}" for number in range(1_400)]}}
        call = call_of(Settings(), named, many, "acompletion")
        assert call is not None
        self.assertLess(len(_calls.reserve(call, 60).encode("localhost")), 65_536)
        with self.assertRaisesRegex(TooManyTagsError, "accepted are 8192 bytes"):
            call_of(Settings(), named, {"metadata": {"tags": ["x" * 8_192]}}, "acompletion")

    def test_a_subject_is_text_of_1_to_256_bytes(self) -> None:
        self.assertEqual(subject("é" * 128), "é" * 128)
        long = subject("é" * 129)
        assert long is not None
        self.assertTrue(long.startswith("sha256:"))
        self.assertNotEqual(long, subject("é" * 130))
        self.assertEqual(subject("a\ud800"), "a?")
        self.assertIsNone(subject(""))

    def test_usage_keeps_what_the_daemon_reads(self) -> None:
        openai = {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "total_tokens": 2306,
            "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": None},
            "completion_tokens_details": {"reasoning_tokens": 128, "accepted_prediction_tokens": 0},
            "cost": 0.1,
        }
        kept = {
            "prompt_tokens": 2006,
            "completion_tokens": 300,
            "prompt_tokens_details": {"cached_tokens": 1920},
            "completion_tokens_details": {"reasoning_tokens": 128},
        }
        self.assertEqual(provider_usage(openai), kept)
        anthropic = {"input_tokens": 5, "output_tokens": 6, "cache_read_input_tokens": 7}
        self.assertEqual(provider_usage(anthropic), anthropic)
        for nothing in (None, {}, {"prompt_tokens": "many"}, {"prompt_tokens": -1}, 7):
            self.assertIsNone(provider_usage(nothing), nothing)

    def test_a_price_that_nobody_knows_is_left_to_the_daemon_and_a_cached_answer_costs_nothing(self) -> None:
        payload = {"prompt_tokens": 5, "completion_tokens": 6}
        for unknown in (None, 0, 0.0):
            self.assertEqual(usage_of(payload, None, unknown), Usage(input_tokens=5, output_tokens=6))
        self.assertEqual(usage_of(payload, None, 0.25).cost_micros, 250_000)
        cached = usage_of({**payload, "cache_hit": True}, None, 0.5)
        self.assertEqual(cached, Usage(input_tokens=0, output_tokens=0, cost_micros=0))

    def test_the_configuration_for_litellm_tells_each_variable_with_its_default(self) -> None:
        text = (ROOT / "deploy/litellm/config.yaml").read_text()
        told = dict(re.findall(r"LLM_RATE_LIMIT_LITELLM_([A-Z_]+) [^:]*: ([a-z0-9,]+)", text))
        self.assertEqual(set(told), {"USER", "GROUP", "DEADLINE_MS", "TTL", "FALLBACK"})
        variables = {f"LLM_RATE_LIMIT_LITELLM_{name}": default for name, default in told.items()}
        self.assertEqual(Settings.from_environment(variables), Settings.from_environment({}))

    def test_settings_are_refused_with_what_is_accepted(self) -> None:
        prefix = "LLM_RATE_LIMIT_LITELLM_"
        read = Settings.from_environment(
            {
                f"{prefix}USER": "end_user, key",
                f"{prefix}GROUP": "",
                f"{prefix}DEADLINE_MS": "50",
                f"{prefix}FALLBACK": "yes",
            }
        )
        self.assertEqual(read, Settings(("end_user", "key"), (), 0.05, 60, falls_back=True))
        for name, value in (
            ("USER", "alice"),
            ("USER", ""),
            ("DEADLINE_MS", "0"),
            ("TTL", "1h"),
            ("FALLBACK", "maybe"),
        ):
            with self.assertRaisesRegex(ValueError, f"{prefix}{name}.*accepted are", msg=name):
                Settings.from_environment({f"{prefix}{name}": value})


if __name__ == "__main__":
    unittest.main()
