"""Whether the daemon can be asked: one line in the log for each change of that."""

from __future__ import annotations

import logging
import threading
import time

#: It counts as back when nothing has failed for as long: a daemon that answers now and then is said away once.
STEADY_SECONDS = 1.0

logger = logging.getLogger("llm_rate_limit_client")


class Availability:
    """Remembers whether the daemon is reached, as the log has said it last."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.Lock()
        self._away_since: float | None = None
        self._failed_at = 0.0
        self._cannot_reserve = False

    def away(self, error: BaseException) -> None:
        """Take note that it could not be reached."""
        with self._lock:
            self._failed_at = time.monotonic()
            if self._away_since is not None:
                return
            self._away_since = self._failed_at
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
            now = time.monotonic()
            if self._away_since is None or now - self._failed_at < STEADY_SECONDS:
                return
            seconds = now - self._away_since
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
