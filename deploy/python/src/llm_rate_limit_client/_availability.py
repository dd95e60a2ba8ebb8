"""Whether the daemon can be asked: one line in the log for each change of that."""

from __future__ import annotations

import logging
import threading
import time

logger = logging.getLogger("llm_rate_limit_client")


class Availability:
    """Remembers whether the last call reached the daemon."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._away_since: float | None = None
        self._cannot_reserve = False

    @property
    def is_away(self) -> bool:
        """Whether the last call did not reach it."""
        return self._away_since is not None

    def away(self, error: BaseException) -> None:
        """Take note that it could not be reached."""
        with self._lock:
            if self._away_since is not None:
                return
            self._away_since = time.monotonic()
        logger.warning(
            "the rate limiter at %s is away, calls are allowed until it is back: %s",
            self._address,
            str(error) or type(error).__name__,
        )

    def back(self) -> None:
        """Take note that it answered."""
        # Looked at without the lock, since nearly every call ends here.
        if self._away_since is None:
            return
        with self._lock:
            if self._away_since is None:
                return
            seconds = time.monotonic() - self._away_since
            self._away_since = None
        logger.warning("the rate limiter at %s is back after %.1f s", self._address, seconds)

    def cannot_reserve(self) -> None:
        """Take note that this daemon serves no reservations; said once."""
        with self._lock:
            if self._cannot_reserve:
                return
            self._cannot_reserve = True
        logger.warning(
            "the rate limiter at %s serves no reservations: calls are checked, and tokens and spend are not limited",
            self._address,
        )
