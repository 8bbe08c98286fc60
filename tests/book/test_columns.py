"""Lines of code, and of what code prints, are short enough for a page: a reader sees them whole."""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from chapters import code_cells, every_chapter, read_twin, texts_of

# What a page that is 1280 pixels wide has room for: tests/book/test_browser.py measures it.
COLUMNS = 74
# A block of code in the text; one with braces, such as {note}, holds text.
BLOCK = re.compile(r"^(`{3,})(?!\{)[\w+-]*\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)


def columns(line: str) -> int:
    """Give the room that a line takes: an accent has none of its own, a Chinese character two."""
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in line)
    return len(line) + wide - sum(bool(unicodedata.combining(sign)) for sign in line)


def too_long(text: str) -> Iterator[str]:
    """Give the lines that are, each with its length."""
    for line in text.splitlines():
        if columns(line) > COLUMNS:
            yield f"{columns(line)}: {line}"


def test_columns_are_counted_as_they_are_seen() -> None:
    assert columns("x̄ = 1") == 5
    assert columns("噪声") == 4
    assert not [*too_long("a" * COLUMNS)]
    assert [*too_long("short\n" + "a" * (COLUMNS + 1))] == [f"75: {'a' * 75}"]


@every_chapter
def test_code_fits_into_a_page(path: Path) -> None:
    found = []
    for cell in read_twin(path).cells:
        blocks = [cell.source] if cell.cell_type == "code" else []
        if cell.cell_type == "markdown":
            blocks = [block for _, block in BLOCK.findall(cell.source)]
        found += [line for block in blocks for line in too_long(block)]
    assert not found, "\n" + "\n".join(found)


@every_chapter
def test_what_is_printed_fits_into_a_page(path: Path) -> None:
    found = [
        line
        for cell in code_cells(path)
        for output in cell.outputs
        for kind, text in texts_of(output)
        if kind in ("stdout", "stderr", "text/plain") and not shown_otherwise(output)
        for line in too_long(text)
    ]
    assert not found, "\n" + "\n".join(found)


def shown_otherwise(output: dict[str, dict[str, object]]) -> bool:
    """Whether the page shows a picture or HTML in the place of the text."""
    return any(kind.startswith(("image/", "text/html")) for kind in output.get("data", {}))
