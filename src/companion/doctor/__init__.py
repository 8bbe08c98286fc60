"""What is wrong with this machine, and how to mend it: the command `companion doctor`.

Starts with Python's standard library alone, since it is needed when the rest is broken. In a
notebook:

    from companion import doctor
    verdict = doctor.write(doctor.examine())
"""

from .examine import examine
from .finding import Finding, Verdict, good, problem, warning, worst
from .issue import write_for_issue
from .report import as_json, lines, summary, write

__all__ = [
    "Finding",
    "Verdict",
    "as_json",
    "examine",
    "good",
    "lines",
    "problem",
    "summary",
    "warning",
    "worst",
    "write",
    "write_for_issue",
]
