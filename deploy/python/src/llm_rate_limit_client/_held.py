"""The calls that are under way in a gateway, until it is told how they ended."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass

from ._values import Call, Lease

MAX_HELD = 100_000


@dataclass(eq=False)
class HeldCall:
    """One call under way.

    Attributes:
        call_id: the gateway's name for it. Clients may choose it (``x-litellm-call-id``): two calls may have one.
        owner: the key that makes it.
        call: what was asked.
        lease: what is held; None where nobody could decide, and usage is charged by itself.
        began_at: on the clock of the event loop.
        renewed_at: when the lease was given or renewed last.
        is_watched: whether it is noticed when the gateway drops the call without a word.
        is_rejected: whether the gateway itself has rejected it; it may have been answered before that.
        is_over: whether it was taken out.

    """

    call_id: str
    owner: str
    call: Call
    lease: Lease | None
    began_at: float
    renewed_at: float = 0.0
    is_watched: bool = False
    is_rejected: bool = False
    is_over: bool = False


class HeldCalls:
    """Finds calls by their ids, each once; bounded."""

    def __init__(self, max_held: int = MAX_HELD) -> None:
        self._by_id: dict[str, deque[HeldCall]] = {}
        self._all: OrderedDict[HeldCall, None] = OrderedDict()
        self._max_held = max_held

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[HeldCall]:
        return iter(list(self._all))

    @property
    def is_full(self) -> bool:
        """Whether one has to end before another is added."""
        return len(self._all) >= self._max_held

    @property
    def oldest(self) -> HeldCall:
        """The one that was added first of those that are here."""
        return next(iter(self._all))

    def add(self, held: HeldCall) -> None:
        """Keep a call, for which there must be room."""
        self._all[held] = None
        self._by_id.setdefault(held.call_id, deque()).append(held)

    def remove(self, held: HeldCall) -> bool:
        """Take a call out; False where somebody else did."""
        if held.is_over:
            return False
        held.is_over = True
        self._all.pop(held, None)
        same = self._by_id.get(held.call_id)
        if same is not None:
            same.remove(held)
            if not same:
                del self._by_id[held.call_id]
        return True

    def find(self, call_id: str, owner: str | None) -> HeldCall | None:
        """Find the oldest call of this id, of this owner where one is told."""
        for held in self._by_id.get(call_id, ()):
            if owner is None or held.owner == owner:
                return held
        return None
