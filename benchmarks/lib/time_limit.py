"""How much of the time that a run may take is left."""

import time


class TimeLimit:
    """Counts from when it is made.

    Args:
        minutes: None for no limit.
    """

    def __init__(self, minutes: float | None) -> None:
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    def left(self) -> float:
        """Seconds; infinity where there is no limit."""
        return float("inf") if self._end is None else self._end - time.monotonic()

    def over(self) -> bool:
        """Whether nothing more should begin."""
        return self.left() <= 0
