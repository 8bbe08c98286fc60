"""How often a host is asked again, and after how long."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

# Answers that another try may better: busy, out of order for now.
PASSING = (408, 429, 500, 502, 503, 504)
TRIES = 5
SILENCES = 2  # so often a host may say nothing for a whole time limit
PAUSE = 1.0  # seconds before the second try; each further pause is twice as long
LONGEST_PAUSE = 8.0
LONGEST_WAIT = 120.0
# Bytes a second: who sends less for a whole time limit is taken for silent.
SLOWEST = 1000


def pause(failures: int, response: Any = None) -> float | None:
    """Seconds to wait after so many failures in a row, or None: it is of no use to wait.

    Args:
        failures: one or more; none after an answer that brought something.
        response: the host's answer, whose Retry-After is obeyed if it is not too long.
    """
    if failures >= TRIES:
        return None
    after = asked_for(response)
    if after is not None:
        return after if after <= LONGEST_WAIT else None
    return min(LONGEST_PAUSE, PAUSE * 2 ** max(0, failures - 1))


def asked_for(response: Any) -> float | None:
    """Seconds that an answer's Retry-After asks to wait, as a number or a date (RFC 9110, section
    10.2.3); None where it says nothing that can be understood."""
    after = response.headers.get("Retry-After", "").strip() if response is not None else ""
    if re.fullmatch(r"[0-9]{1,9}", after):
        return float(after)
    try:
        date = parsedate_to_datetime(after)
    except (ValueError, IndexError, OverflowError, TypeError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


class Pace:
    """Whether bytes come fast enough to wait for the rest."""

    def __init__(self, window: float) -> None:
        """Look at so many seconds at a time."""
        self.window = window
        self.restart()

    def restart(self) -> None:
        """Begin to count anew."""
        self.since, self.bytes = time.monotonic(), 0

    def too_slow(self, new: int) -> bool:
        """Count bytes that have come; whether those of the last window came too slowly."""
        self.bytes += new
        passed = time.monotonic() - self.since
        if passed < self.window:
            return False
        slow = self.bytes < SLOWEST * passed
        self.restart()
        return slow

    def leave_out(self, seconds: float) -> None:
        """Do not count a wait of our own."""
        self.since += seconds
