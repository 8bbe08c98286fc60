"""Sentences of the pages that say a measured figure: the figure follows from the results."""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .results import Results
from .tables import on_cpu, value

LISTED = Path(__file__).parents[1] / "sentences.toml"
FIGURE = r"\d[\d,]*(?:\.\d+)?"


@dataclass(frozen=True)
class Sentence:
    """A piece of a page with one figure in it.

    Attributes:
        page: its path in the repository.
        words: the piece, with {} in place of the figure; any white space stands for any other.
        form: how the figure is written, such as "{:.2f}".
        part: of the results.
        case: of the part.
        figure: of the case.
        over: the case that it is divided by, or nothing.
        upside_down: the other way round: how many times as fast.
    """

    page: str
    words: str
    form: str
    part: str
    case: str
    figure: str
    over: str = ""
    upside_down: bool = False

    def wanted(self, results: dict[str, Results]) -> str:
        """The figure as it is to be written.

        Raises:
            ValueError: it was not measured.
        """
        part = on_cpu(results, self.part)
        found = value(part, self.case, self.figure)
        base = value(part, self.over, self.figure) if self.over else 1.0
        if found is None or base is None:
            raise ValueError(f"{self.part} has no {self.figure} of {self.case} {self.over}.")
        number = base / found if self.upside_down else found / base
        return self.form.format(number)

    def written(self, text: str, results: dict[str, Results]) -> str:
        """The page's text with that figure.

        Raises:
            ValueError: the piece does not stand in it exactly once.
        """
        before, after = (
            r"\s+".join(map(re.escape, re.split(r"\s+", half))) for half in self.words.split("{}")
        )
        pattern = re.compile(f"({before}){FIGURE}({after})")
        count = len(pattern.findall(text))
        if count != 1:
            raise ValueError(
                f"{self.page} has {count} times {self.words!r}: mend benchmarks/sentences.toml."
            )
        return pattern.sub(lambda found: found[1] + self.wanted(results) + found[2], text)


@cache
def sentences() -> tuple[Sentence, ...]:
    """All of `sentences.toml`."""
    table = tomllib.loads(LISTED.read_text(encoding="utf-8"))
    return tuple(Sentence(**entry) for entry in table["sentence"])
