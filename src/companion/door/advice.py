"""What is wrong with a setting, and what to do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """What was found and its remedy; as a text, one sentence.

    Attributes:
        text: what was found, without a full stop.
        remedy: what to do about it, likewise; "" where all is well.
    """

    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.text}; {self.remedy}." if self.remedy else f"{self.text}."

    @property
    def for_shell(self) -> str:
        """The remedy, to copy into a shell where it is a variable to set."""
        return re.sub(r"^set (?=\w+=)", "export ", self.remedy)
