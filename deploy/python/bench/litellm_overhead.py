"""How much the callback adds to a request of a LiteLLM proxy.

    scripts/setup-gateways
    .build/gateways/litellm/bin/python deploy/python/bench/litellm_overhead.py [requests]

Two proxies with the same mocked model, one with the callback and one without, are asked in turn over connections that
stay open: what else the machine does meets both alike. The daemon is ``LLM_RATE_LIMIT_TEST_PROGRAM``, else the release
build, else the debug build.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PACKAGE))
RELEASE = PACKAGE.parents[1] / ".build/release/llm-rate-limit"
if RELEASE.exists():
    os.environ.setdefault("LLM_RATE_LIMIT_TEST_PROGRAM", str(RELEASE))

from tests.proxy import MASTER_KEY, Proxy  # noqa: E402
from tests.support import TESTS, Daemon, Redis  # noqa: E402

LIMITS = """
limits:
  - {name: tokens, per: user, unit: tokens, quota: 1000000000, window: 1d}
  - {name: spend, per: user, unit: spend, quota: $100000, window: 1d}
prices:
  unknown_model: {price-of: any}
  models: {any: {input: 2500000, output: 10000000}}
"""


def configuration(folder: Path, name: str, *, callbacks: list[str]) -> Path:
    path = folder / f"{name}.yaml"
    mock = {"model": "openai/gpt-4o", "api_key": "x", "mock_response": "hello"}
    told = {
        "model_list": [{"model_name": "mock", "litellm_params": mock}],
        "litellm_settings": {"callbacks": callbacks},
        "general_settings": {"custom_auth": "proxy_auth.user_api_key_auth", "master_key": MASTER_KEY},
    }
    path.write_text(json.dumps(told))
    return path


class Asked:
    """One proxy, over a connection that stays open, and how long its answers took."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.connection = proxy.connect()
        self.seconds: list[float] = []
        self.cpu_before = 0.0

    def ask(self, number: int, *, is_kept: bool) -> None:
        body = json.dumps({"model": "mock", "messages": [{"role": "user", "content": "hello"}]})
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer sk-user-{number % 50}"}
        began = time.perf_counter()
        self.connection.request("POST", "/v1/chat/completions", body, headers)
        response = self.connection.getresponse()
        answer = response.read()
        took = time.perf_counter() - began
        if response.status != 200:
            raise SystemExit(f"status {response.status}: {answer.decode()}")
        if is_kept:
            self.seconds.append(took)
        else:
            self.cpu_before = self.proxy.cpu_seconds

    @property
    def cpu_milliseconds(self) -> float:
        """Processor time of the proxy for each request, its background work among it."""
        return (self.proxy.cpu_seconds - self.cpu_before) / len(self.seconds) * 1_000

    def quantile(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[int(share * (len(ordered) - 1))] * 1_000


def report(without: Asked, with_callback: Asked) -> None:
    print(f"{'':>18} {'p50 ms':>8} {'p90 ms':>8} {'p99 ms':>8} {'CPU ms':>8}")
    for name, asked in (("without", without), ("with the callback", with_callback)):
        quantiles = " ".join(f"{asked.quantile(share):8.2f}" for share in (0.5, 0.9, 0.99))
        print(f"{name:>18} {quantiles} {asked.cpu_milliseconds:8.2f}")
    added = [b - a for a, b in zip(without.seconds, with_callback.seconds)]
    print(f"added at p50: {with_callback.quantile(0.5) - without.quantile(0.5):.2f} ms")
    print(f"median of the differences of neighbours: {statistics.median(added) * 1_000:.2f} ms")
    print(f"{len(added)} requests each; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    ending: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="lrl-", dir="/tmp") as made:
        folder = Path(made)
        (folder / "limits.yaml").write_text(LIMITS)
        try:
            redis = Redis(folder)
            ending.append(redis)
            daemon = Daemon(folder, redis, REQUESTS="1000000", LIMITS_FILE=str(folder / "limits.yaml"), GROUPS="given")
            ending.append(daemon)
            path = f"{TESTS}:{PACKAGE / 'src'}"
            variables = {"PYTHONPATH": path, "LLM_RATE_LIMIT_SOCKET": daemon.socket}
            asked = []
            for name, callbacks in (("without", []), ("with", ["llm_rate_limit_client.litellm.handler"])):
                told = configuration(folder, name, callbacks=callbacks)
                proxy = Proxy(folder, name, told, variables)
                ending.append(proxy)
                asked.append(proxy)
            for proxy in asked:
                proxy.wait()
            without, with_callback = (Asked(proxy) for proxy in asked)
            for number in range(-200, requests):
                without.ask(number, is_kept=number >= 0)
                with_callback.ask(number, is_kept=number >= 0)
            if daemon.used("user-1", "requests") < requests // 50:
                print("not every request was reserved: these figures are of something else")
            report(without, with_callback)
        finally:
            for process in reversed(ending):
                process.end()


if __name__ == "__main__":
    main()
