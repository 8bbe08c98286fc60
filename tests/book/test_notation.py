"""The table of notation agrees with the chapters and with the code."""

import re
from typing import NamedTuple

import pytest
from chapters import BOOK, ROOT, TWINS
from test_docstrings import links_in, text_of, titles

PAGE = BOOK / "notation.md"


class Row(NamedTuple):
    """One symbol: its TeX, what the code calls it, and the section that brings it in."""

    symbol: str
    names: list[str]
    chapter: int | str
    title: str


def rows() -> list[Row]:
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| $"):
            symbol, _, names, first = line.strip("| ").split(" | ")
            ((chapter, title),) = links_in(first)
            found.append(Row(symbol.strip("$"), re.findall("`(.+?)`", names), chapter, title))
    return found


each_row = pytest.mark.parametrize("row", rows(), ids=[row.symbol for row in rows()])


def test_each_symbol_stands_once() -> None:
    symbols = [row.symbol for row in rows()]
    assert len(symbols) > 30
    assert len(set(symbols)) == len(symbols)


@each_row
def test_a_symbol_stands_in_the_section_that_brings_it_in(row: Row) -> None:
    assert row.title in titles(row.chapter)
    section = re.split(rf"# {re.escape(row.title)}[ •]*\n", text_of(row.chapter))[1]
    formulas = re.findall(r"\$\$.+?\$\$|\$[^$]+?\$", section.split("\n##")[0], re.DOTALL)
    assert any(row.symbol in formula for formula in formulas)


@each_row
def test_the_code_calls_a_symbol_so(row: Row) -> None:
    files = [*(ROOT / "src" / "companion").rglob("*.py"), *TWINS]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    assert row.names
    assert not [name for name in row.names if not re.search(rf"\b{name}\b", code)]
