"""The places in the book where its pages draw."""

import re
from pathlib import Path

from bs4 import BeautifulSoup, Tag
from chapters import BOOK, NOTEBOOKS, code_cells

from companion.figures import KINDS

LIVE = BOOK / "_static" / "live"
JAVASCRIPT = re.compile(r"^```js\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def stages(path: Path) -> list[tuple[list[str], Tag]]:
    """Give the stages of a notebook, each with the tags of its cell."""
    return [
        (cell.metadata.get("tags", []), stage)
        for cell in code_cells(path)
        for output in cell.outputs
        for stage in BeautifulSoup(
            output.get("data", {}).get("text/html", ""), "html.parser"
        ).select(".companion-stage")
    ]


def test_the_first_page_and_the_chapters_have_their_stages() -> None:
    found = {path.stem: [stage["data-stage"] for _, stage in stages(path)] for path in NOTEBOOKS}
    assert found["intro"] == ["draw"]
    assert found["02_manual_loop"] == ["samplers"]
    assert found["03_stable_diffusion"] == ["tokens", "guidance"]
    assert found["04_autopipeline"] == ["paint", "paint"]
    assert found["06_attention"] == ["words"]
    assert found["07_flow"] == ["flow"]


def test_a_stage_hides_the_line_that_makes_it() -> None:
    """What a reader would copy from it draws nothing elsewhere."""
    assert all("remove-input" in tags for path in NOTEBOOKS for tags, _ in stages(path))


def test_every_stage_has_a_caption_and_says_where_one_can_draw() -> None:
    for path in NOTEBOOKS:
        for _, stage in stages(path):
            assert len(stage.figcaption.get_text()) > 10, path.stem
            assert "you can draw here yourself" in stage.select_one(".stage-note").get_text()


def test_every_kind_of_stage_has_its_script() -> None:
    scripts = {path.stem.removeprefix("stage-") for path in LIVE.glob("stage-*.js")}
    assert scripts == set(KINDS)


def test_the_loop_of_chapter_2_is_the_one_that_runs_in_the_page() -> None:
    (shown,) = JAVASCRIPT.findall((BOOK / "text" / "02_manual_loop.md").read_text(encoding="utf-8"))
    engine = (LIVE / "engine" / "denoise.js").read_text(encoding="utf-8")
    assert f"\n{shown}" in engine
    assert len(shown.splitlines()) == 8
