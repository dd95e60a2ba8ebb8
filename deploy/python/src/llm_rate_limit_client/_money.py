"""Float dollars, which gateways compute, as whole micro-dollars."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal

MAX_MICROS = 1_000_000_000_000
_MICROS_PER_DOLLAR = Decimal(1_000_000)
# A sum of products of floats is off by some units in its last place, far below this; no price is as small as this.
_NOISE = Decimal("0.000001")


def micros(dollars: object) -> int | None:
    """Turn dollars into micro-dollars, rounded up; None for what is no amount.

    The shortest decimal that reads back as the float is taken for it, and a millionth of a micro-dollar for the noise
    of floats: 0.1 + 0.2 dollars are 300,000 micro-dollars and not 300,001.
    """
    if isinstance(dollars, bool) or not isinstance(dollars, (int, float, Decimal)):
        return None
    if not math.isfinite(dollars) or dollars < 0:
        return None
    if dollars > MAX_MICROS / 1_000_000:
        return MAX_MICROS
    exact = Decimal(repr(dollars) if isinstance(dollars, float) else dollars) * _MICROS_PER_DOLLAR
    quiet = exact.quantize(_NOISE, rounding=ROUND_HALF_EVEN)
    return int(quiet.to_integral_value(rounding=ROUND_CEILING))
