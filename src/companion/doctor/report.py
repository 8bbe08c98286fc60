"""The doctor's report: one screen to read, or JSON."""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import TextIO

from companion.door import printable

from .finding import Finding, Verdict, worst

SIGNS = {Verdict.GOOD: "✓", Verdict.WARNING: "!", Verdict.PROBLEM: "✗"}
PLAIN = {Verdict.GOOD: "ok", Verdict.WARNING: "!", Verdict.PROBLEM: "x"}
COLOURS = {Verdict.GOOD: "32", Verdict.WARNING: "33", Verdict.PROBLEM: "31"}
NAME_WIDTH = 12
WIDTH = 100


def as_json(findings: Iterable[Finding]) -> str:
    """All findings, and the worst verdict, as JSON."""
    listed = list(findings)
    table = {
        "verdict": worst(listed).name.lower(),
        "findings": [finding.as_dict() for finding in listed],
    }
    return json.dumps(table, indent=2)  # in ASCII, which every terminal and pipe takes


def write(findings: Iterable[Finding], to: TextIO | None = None) -> Verdict:
    """Write each finding as it comes, then the sum; give the worst verdict.

    What the terminal has no sign for is written as its code; with stdout closed nothing is written.
    """
    to = to or sys.stdout
    if to is None:
        return worst(findings)
    width = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
    listed = []
    for finding in findings:
        text = lines(finding, signs=_signs(to), colour=_colours(to), width=width)
        print(writable(text, to), file=to, flush=True)
        listed.append(finding)
    print(f"\n{summary(listed)}", file=to)
    return worst(listed)


def lines(
    finding: Finding, *, signs: dict[Verdict, str] = SIGNS, colour: bool = False, width: int = WIDTH
) -> str:
    """A finding as people read it: a line, and its remedy below."""
    sign = f"[{signs[finding.verdict]}]"
    if colour:
        sign = f"\x1b[{COLOURS[finding.verdict]}m{sign}\x1b[0m"
    indent = " " * (len(signs[finding.verdict]) + 3 + NAME_WIDTH)
    head = f"{sign} {finding.check:{NAME_WIDTH}}"
    room = max(20, width - len(indent))
    text = textwrap.wrap(
        printable(finding.text), room, break_long_words=False, break_on_hyphens=False
    )
    written = head + f"\n{indent}".join(text or [""])
    if finding.remedy:
        # Not wrapped, and far to the left: a command is there to be copied.
        arrow = "→" if signs is SIGNS else "->"
        written += f"\n    {arrow} {printable(finding.remedy)}"
    return written


def summary(findings: list[Finding]) -> str:
    """The last line of the report."""
    counts = [
        (sum(f.verdict is verdict for f in findings), name)
        for verdict, name in ((Verdict.PROBLEM, "problem"), (Verdict.WARNING, "warning"))
    ]
    named = [f"{count} {name}{'s' if count > 1 else ''}" for count, name in counts if count]
    if not named:
        return "All is well."
    if counts[0][0]:
        return f"{' and '.join(named)}: cells of the book will fail; begin with the first problem."
    return f"{named[0]}: the book runs; what they name may go wrong."


def _signs(to: TextIO) -> dict[Verdict, str]:
    """Signs that the terminal can write."""
    try:
        "✓✗→".encode(to.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return PLAIN
    return SIGNS


def writable(text: str, to: TextIO) -> str:
    """The text in what the terminal can write."""
    if to.encoding is None:  # a StringIO takes all
        return text
    try:
        return text.encode(to.encoding, "backslashreplace").decode(to.encoding)
    except LookupError:
        return text.encode("ascii", "backslashreplace").decode()


def _colours(to: TextIO) -> bool:
    return to.isatty() and "NO_COLOR" not in os.environ
