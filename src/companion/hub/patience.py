"""How often a host is asked again, and after how long."""

from __future__ import annotations

from typing import Any

# Answers that another try may better: busy, out of order for now.
PASSING = (408, 429, 500, 502, 503, 504)
TRIES = 5
PAUSE = 1.0  # seconds before the second try; each further pause is twice as long
LONGEST_PAUSE = 8.0
LONGEST_WAIT = 120.0


def pause(failures: int, response: Any = None) -> float | None:
    """Seconds to wait after so many failures in a row, or None: it is of no use to wait.

    Args:
        failures: one or more; none after an answer that brought something.
        response: the host's answer, whose Retry-After is obeyed if it is not too long.
    """
    if failures >= TRIES:
        return None
    after = response.headers.get("Retry-After", "") if response is not None else ""
    if after.isdigit():
        return float(after) if float(after) <= LONGEST_WAIT else None
    return min(LONGEST_PAUSE, PAUSE * 2 ** max(0, failures - 1))
