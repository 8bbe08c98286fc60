"""What a check says: a line with a verdict, and what to do about it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import IntEnum


class Verdict(IntEnum):
    """How good or bad it is; the worst verdict of all is the exit status of `companion doctor`."""

    GOOD = 0
    WARNING = 1
    PROBLEM = 2


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        check: what was looked at, in a word or two.
        verdict: good, warning or problem.
        text: what was found.
        remedy: what to do about it, a command to copy where there is one; "" if all is well.
    """

    check: str
    verdict: Verdict
    text: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """For JSON, the verdict as a word."""
        return asdict(self) | {"verdict": self.verdict.name.lower()}


def good(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check, Verdict.GOOD, text)


def warning(check: str, text: str, remedy: str) -> Finding:
    """The book runs, but something will go wrong or be slow."""
    return Finding(check, Verdict.WARNING, text, remedy)


def problem(check: str, text: str, remedy: str) -> Finding:
    """Cells of the book will fail."""
    return Finding(check, Verdict.PROBLEM, text, remedy)


def worst(findings: Iterable[Finding]) -> Verdict:
    """The worst verdict; good where there is none."""
    return max((finding.verdict for finding in findings), default=Verdict.GOOD)
