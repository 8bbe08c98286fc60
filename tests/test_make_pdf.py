"""tools/make_pdf.py: what is printed is whole, and reads in the order of the book."""

import shutil
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from PIL import Image

from companion import figures
from make_pdf import CHROMIUM, STATES, find_chromium, for_paper, print_page

PAGE = """<html><head></head><body><article><section id="book"><h1>Book</h1>
<div class="toctree-wrapper"><section id="one"><h3>One#</h3><h4>Part</h4>
<details><summary>Show</summary>solution</details></section></div>
<section id="run"><h2>Run it</h2></section></section></article>
<script src="_static/theme.js"></script><script src="_static/katex/katex.min.js"></script>
<script src="_static/formulas.js"></script>
</body></html>"""


@pytest.fixture(scope="module")
def printed() -> BeautifulSoup:
    return BeautifulSoup(for_paper(PAGE), "html.parser")


def test_chapters_come_behind_the_first_page_with_headings_of_their_own(
    printed: BeautifulSoup,
) -> None:
    headings = [(found.name, found.get_text()) for found in printed.find_all(["h1", "h2", "h3"])]
    assert headings == [("h1", "Book"), ("h2", "Run it"), ("h1", "One#"), ("h2", "Part")]
    assert [(link["href"], link.get_text()) for link in printed.select("li a")] == [("#one", "One")]


def test_folded_cells_are_open(printed: BeautifulSoup) -> None:
    assert all(fold.has_attr("open") for fold in printed.find_all("details"))


def states(count: int) -> list[str]:
    """What is printed of a slider of so many states."""
    pictures = [Image.new("RGB", (8, 8), (number, 0, 0)) for number in range(count)]
    slider = figures.scrubber(pictures, [f"t = {number}" for number in range(count)], "a picture")
    html = PAGE.replace("solution", f"<div>{slider._repr_html_()}</div>")
    paper = BeautifulSoup(for_paper(html), "html.parser")
    assert not [script for script in paper.find_all("script") if "frame" in script.text]
    printed = paper.select(".frame.printed")
    assert len(printed) == len(paper.select(".frame"))
    return [frame.get_text() for frame in printed]


def test_of_a_slider_the_first_and_the_last_state_are_printed_and_some_between() -> None:
    assert states(51) == [f"t = {number}" for number in (0, 10, 20, 30, 40, 50)]
    assert len(states(7)) == STATES


def test_of_a_short_slider_every_state_is_printed() -> None:
    assert states(3) == ["t = 0", "t = 1", "t = 2"]
    assert states(1) == ["t = 0"]


def test_formulas_are_still_drawn(printed: BeautifulSoup) -> None:
    assert [script["src"] for script in printed.find_all("script")] == [
        "_static/katex/katex.min.js",
        "_static/formulas.js",
    ]


def test_a_browser_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(SystemExit, match=r"^No no-such-browser found to print the PDF with: "):
        find_chromium("no-such-browser")


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, CHROMIUM)), reason="Chromium is not installed")
def test_a_page_is_printed(tmp_path: Path) -> None:
    page, pdf = tmp_path / "pâge one.html", tmp_path / "pâge one.pdf"
    page.write_text(for_paper(PAGE), encoding="utf-8")
    print_page(find_chromium(None), page, pdf)
    assert pdf.read_bytes().startswith(b"%PDF")
