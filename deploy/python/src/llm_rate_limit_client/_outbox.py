"""Settlements that could not be delivered, kept until they can: what has been spent is not lost to a restart."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ._wire import Request

MAX_LETTERS = 10_000
#: How long a settlement is worth sending: a lease is remembered for an hour after it has lapsed.
MAX_AGE_SECONDS = 3_000.0
#: The first one that is dropped is told in the log, and one of so many after it.
DROPS_FOR_A_LINE = 1_000
FIRST_PAUSE_SECONDS = 0.05
LAST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class Letter:
    """One request that is done once, however often it is sent."""

    request: Request
    expires_at: float


class Outbox:
    """A bounded queue, and how long to pause after a failure. It sends nothing itself, and has no clock of its own."""

    def __init__(self, max_letters: int = MAX_LETTERS, max_age_seconds: float = MAX_AGE_SECONDS) -> None:
        self._letters: deque[Letter] = deque()
        self._max_letters = max_letters
        self._max_age_seconds = max_age_seconds
        self._failures = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._letters)

    def put(self, request: Request, now: float) -> bool:
        """Take a request, in place of the oldest one where there is no room; say whether the log is to tell of it.

        Args:
            request: what is to be sent.
            now: seconds on the clock that all calls here use.

        """
        is_full = len(self._letters) >= self._max_letters
        if is_full:
            self._letters.popleft()
            self.dropped += 1
        self._letters.append(Letter(request, now + self._max_age_seconds))
        return is_full and self.dropped % DROPS_FOR_A_LINE == 1

    def next(self, now: float) -> Letter | None:
        """Give the letter to send now, which stays out until it is put ``back``; None where there is none."""
        while self._letters:
            letter = self._letters.popleft()
            if letter.expires_at > now:
                return letter
            self.dropped += 1
        return None

    def delivered(self) -> None:
        """Take note that the last letter arrived."""
        self._failures = 0

    def back(self, letter: Letter) -> float:
        """Take a letter back that could not be delivered, behind the others; say how many seconds to pause.

        Behind the others, so that one user whom Redis cannot serve holds up nobody else.
        """
        if len(self._letters) < self._max_letters:
            self._letters.append(letter)
        else:
            self.dropped += 1
        pause = FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10)
        self._failures += 1
        return min(LAST_PAUSE_SECONDS, pause)
