"""Sends the requests of some users through a gateway, stops Redis meanwhile, and draws what each was answered.

The picture has a column for each half second, a line for each user, and one for Redis. All of it fits 80 columns, and
has no escape codes, so that it can be kept as it is.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path

SLOT_SECONDS = 0.5
SLOTS = 44

@dataclass(frozen=True)
class User:
    """Who asks, in every so manieth slot, and which model."""

    name: str
    pace: int
    model: str = "gpt-4o"


USERS = [User("alice", 1), User("bob", 4)]
#: Where tokens are limited as well.
TOKEN_USERS = [*USERS, User("carol", 4, model="o3")]

#: The slots in which Redis is stopped.
OUTAGE = range(24, 28)
#: How long a request may take.
PATIENCE_SECONDS = 60

ALLOWED, OPEN, FAILED, DENIED = "+", "o", "!", "denied"
DEGRADED = "llm_rate_limit_degraded_checks_total"
DENIED_DESCRIPTORS = 'llm_rate_limit_descriptors_total{domain="api",path="user",result="over"}'


@dataclass
class Answer:
    """What a user got for one request: its mark in the picture, and what is said of it."""

    mark: str
    text: str

    @property
    def kind(self) -> str:
        """Name what it was, whatever the seconds."""
        return DENIED if self.mark.isdigit() else self.mark


@dataclass
class Setting:
    """Where the gateway and the daemon are, and what was seen of them."""

    port: int
    key: str
    daemon: str
    #: How many tokens a user has, where the gateway limits them.
    token_quota: int | None = None
    #: How many checks of each reason were degraded, when last asked.
    degraded: dict[str, float] = field(default_factory=dict)

    def ask(self, user: User) -> Answer:
        """Send one request and read its answer."""
        body = {"model": user.model, "user": user.name, "messages": [{"role": "user", "content": "hello"}]}
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json", "X-User-Id": user.name}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except OSError as error:
            return Answer(FAILED, f"cannot ask the gateway: {error}")
        finally:
            connection.close()
        # LiteLLM's answers have no such header.
        reason = self.newly_degraded() or response.headers.get("X-Rate-Limit-Degraded")
        if response.status == 429:
            return denial(response.headers, text, self.token_quota)
        if response.status != 200:
            return Answer(FAILED, f"status {response.status}: {text[:200]}")
        if reason:
            return Answer(OPEN, f"200, not counted ({reason})")
        tokens = re.search(r'"total_tokens": ?(\d+)', text) if self.token_quota else None
        return Answer(ALLOWED, "200, the model's answer" + (f"; {int(tokens[1]):,} tokens are charged" if tokens else ""))

    def newly_degraded(self) -> str | None:
        """Say why the last check was not decided by Redis; None where it was."""
        before, self.degraded = self.degraded, self.counters()
        for reason, count in self.degraded.items():
            if count > before.get(reason, 0):
                return reason
        return None

    def counters(self) -> dict[str, float]:
        """Read the daemon's counters of checks that Redis did not decide, by reason."""
        found = re.findall(DEGRADED + r'\{reason="(\w+)"\} (\S+)', self.metrics())
        return {reason: float(count) for reason, count in found}

    def metrics(self) -> str:
        """Read what the daemon counts."""
        connection = http.client.HTTPConnection("localhost", timeout=PATIENCE_SECONDS)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(self.daemon)
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()


def denial(headers: Message, text: str, token_quota: int | None) -> Answer:
    """Tell a denial: its mark is the seconds to wait, 9 for more."""
    wait = headers.get("Retry-After") or ""
    # The limit that binds, in the names of the daemon or in those of Envoy.
    quota = re.search(r"q=(\d+)", headers.get("RateLimit-Policy") or "")
    quota = quota or re.match(r"(\d+)", headers.get("X-RateLimit-Limit") or "")
    left = re.search(r"r=(\d+)", headers.get("RateLimit") or "")
    left = left or re.match(r"(\d+)$", headers.get("X-RateLimit-Remaining") or "")
    used = ""
    if quota and left:
        unit = " tokens" if int(quota[1]) == token_quota else ""
        used = f"{int(quota[1]) - int(left[1]):,} of {int(quota[1]):,}{unit} used, "
    message = re.search(r'"message": ?"([^"]+)"', text)
    said = f'"{message[1]}"' if message else f"Retry-After: {wait}"
    return Answer(str(min(int(wait), 9)) if wait.isdigit() else FAILED, f"429, {used}{said}")


NAMES = {ALLOWED: "allowed", OPEN: "open", FAILED: "failed", DENIED: "denied"}


def reason_of(answer: Answer, before: str | None, window: int) -> str:
    """Say why an answer differs from the one before."""
    if answer.kind == ALLOWED and before == DENIED:
        return f"200, what was used {window} s ago counts no more"
    if answer.kind == ALLOWED and before == OPEN:
        return "200, Redis decides again"
    return answer.text


def line(seconds: float, who: str, text: str) -> None:
    """Tell a change when it comes about."""
    print(f"{seconds:6.1f} s  {who:<6} {text}"[:79], flush=True)


def stop(process: int) -> None:
    """Stop a process, and wait until it has: for a moment after the signal it still may answer."""
    os.kill(process, signal.SIGSTOP)
    for _ in range(1_000):
        if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return
        time.sleep(0.001)


def send(setting: Setting, users: list[User], redis: int, window: int) -> tuple[dict[str, list[str]], list[float]]:
    """Send everything, and tell each change; gives the marks of each user, and when each slot began."""
    marks: dict[str, list[str]] = {user.name: [] for user in users}
    last: dict[str, str] = {}
    times: list[float] = []
    start = time.monotonic()
    try:
        for slot in range(SLOTS):
            # On a busy machine a slot begins late, and those after it as well: none is left out.
            due = times[-1] + SLOT_SECONDS if times else 0
            time.sleep(max(0, due - (time.monotonic() - start)))
            times.append(max(due, time.monotonic() - start) if times else 0)
            if slot == OUTAGE.start:
                stop(redis)
                line(times[-1], "Redis", "stops answering")
            elif slot == OUTAGE.stop:
                os.kill(redis, signal.SIGCONT)
                line(times[-1], "Redis", "answers again")
            for user in users:
                if slot % user.pace:
                    marks[user.name].append(" ")
                    continue
                asked = time.monotonic() - start
                answer = setting.ask(user)
                before = last.get(user.name)
                marks[user.name].append(answer.mark)
                if answer.kind != before or answer.mark == FAILED:
                    line(asked, user.name, f"{NAMES[answer.kind]:<8} {reason_of(answer, before, window)}")
                last[user.name] = answer.kind
    finally:
        os.kill(redis, signal.SIGCONT)
    return marks, times


def axis(times: list[float]) -> str:
    """Tell the seconds at which every fourth slot began."""
    row = ""
    for slot in range(0, SLOTS, 4):
        row = row.ljust(slot) + f"{times[slot]:.0f}"
    return row + " s"


def picture(marks: dict[str, list[str]], times: list[float]) -> str:
    """Draw the rows, with what their marks mean and how many there are."""
    rows = {
        "second": axis(times),
        **{user: "".join(row) for user, row in marks.items()},
        "Redis": "".join("." if slot in OUTAGE else "=" for slot in range(SLOTS)),
    }
    table = [f"  {'':<8}{'allowed':>8}{'denied':>8}{'open':>8}"]
    for user, row in marks.items():
        denied = sum(mark.isdigit() for mark in row)
        table.append(f"  {user:<8}{row.count(ALLOWED):>8}{denied:>8}{row.count(OPEN):>8}")
    return "\n".join([*(f"  {name:<8}{row}".rstrip() for name, row in rows.items()), "", LEGEND, "", *table])


LEGEND = """\
  +       allowed, and counted
  1 to 9  denied with 429: the seconds to wait (9 or more); the daemon knows
          it for a second after Redis has stopped
  o       open: allowed and not counted, since Redis did not decide
  = .     Redis answers, Redis is stopped"""


def introduction(quota: int, token_quota: int | None, window: int) -> str:
    """Say what is limited, and who asks."""
    if token_quota is None:
        return f"""\
{quota} requests in any {window} seconds for each user.
alice asks twice a second, bob every two seconds. What changes for them:
"""
    return f"""\
{quota} requests and {token_quota:,} tokens in any {window} seconds for each user. Tokens are
charged when an answer has ended. alice asks twice a second, bob every two
seconds; carol asks as bob does, a model that takes more tokens.
What changes for them:
"""


def main() -> int:
    """Show it all; 1 where a request got another answer than the picture has marks for."""
    parser = argparse.ArgumentParser()
    for name in ("gateway", "file", "key", "daemon"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("port", "redis", "quota", "window"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--token-quota", type=int)
    given = parser.parse_args()
    setting = Setting(given.port, given.key, given.daemon, given.token_quota)
    setting.degraded = setting.counters()
    # What a gateway does at its first request only is over then.
    warm = setting.ask(User("warm-up", 1))
    if warm.mark == FAILED:
        print(f"cannot show {given.gateway}: {warm.text}", file=sys.stderr)
        return 1
    print(f"\n{given.gateway} with {given.file}, limited by llm-rate-limit:")
    users = TOKEN_USERS if given.token_quota else USERS
    print(introduction(given.quota, given.token_quota, given.window))
    marks, times = send(setting, users, given.redis, given.window)
    print(f"\n{picture(marks, times)}")
    if given.token_quota:
        told = [line for line in setting.metrics().splitlines() if line.startswith(DENIED_DESCRIPTORS)]
        print("\nHow many were over the limit of requests, from the daemon's /metrics:\n")
        print("\n".join(f"  {line}" for line in told))
    return 1 if any(FAILED in row for row in marks.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
