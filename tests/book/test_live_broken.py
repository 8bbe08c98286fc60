"""Where something is missing, the page says so in a sentence, and stays the page that it was."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser import chromium
from live_pages import Place, Tab, as_on_github, copied, opened
from test_pages import HTML

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.pages

FIRST = "book/intro.html"
BROKEN = (
    "A part of the model could not be read, so nothing can be drawn here. "
    "Reload the page to try again."
)
NO_MEMORY = "There is not enough memory to draw here. Close other tabs, and reload the page."
NO_SIMD = "To draw here yourself takes WebAssembly with SIMD, which this browser does not have."
TOO_OLD = "To draw here yourself takes a newer browser: this one cannot unpack the model."
# What a browser says of a file that is not there, or is no script; nobody can keep it from that.
ITS_OWN = re.compile(
    r"error: (Failed to load resource: .*(404|ERR_FILE_NOT_FOUND).*"
    r"|Invalid or unexpected token|Unexpected end of input)"
)


def is_read_as_ever(tab: Tab, place: Place) -> None:
    """The stored figure stands there, and the text around it."""
    picture = place.figure.locator(":scope > img")
    picture.scroll_into_view_if_needed()
    tab.page.wait_for_function(
        "one => one.complete && one.naturalWidth", arg=picture.element_handle()
    )
    assert picture.is_visible()
    assert place.figure.locator("figcaption").is_visible()
    assert len(tab.page.locator("article").inner_text()) > 1000
    assert tab.page.locator(".live-stage").count() == 0


# --- Files of the model ------------------------------------------------------------------------


@pytest.fixture
def spoilt(tmp_path: Path, built: None) -> Path:
    """The folder live/ of a copy of the site."""
    return copied(HTML, tmp_path / "site") / "_static" / "live"


@contextmanager
def damaged(path: Path, what: str) -> Iterator[None]:
    """A file that is missing, ends in the middle, or has another character in it."""
    link, text = path.readlink(), path.read_text(encoding="utf-8")
    path.unlink()
    half = len(text) // 2
    if what == "cut short":
        path.write_text(text[:half], encoding="utf-8")
    elif what == "altered":
        path.write_text(
            text[:half] + ("A" if text[half] != "A" else "B") + text[half + 1 :], encoding="utf-8"
        )
    elif what == "not base64":
        path.write_text(f"{text[:half]}*{text[half + 1 :]}", encoding="utf-8")
    yield
    path.unlink(missing_ok=True)
    path.symlink_to(link)


def press_twice(tab: Tab, file: Path, what: str) -> None:
    """With the damaged file, and with the mended one."""
    place = tab.place("draw")
    with damaged(file, what):
        place.button.click()
        place.note.get_by_text(BROKEN).wait_for()
        assert place.figure.locator("progress").count() == 0
        is_read_as_ever(tab, place)
    place.load(steps=3)
    place.wait()
    assert place.status.startswith("Drawn in ")
    assert [line for line in tab.console if not ITS_OWN.match(line)] == []


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("pieces/kernels-0.js", "missing"),
        ("pieces/kernels-0.js", "cut short"),
        ("pieces/weights-3.js", "missing"),
        ("pieces/weights-3.js", "cut short"),
        ("pieces/weights-3.js", "altered"),
        ("pieces/engine-0.js", "not base64"),
        ("engine.js", "missing"),
    ],
)
def test_a_damaged_file_is_a_sentence_and_can_be_asked_for_again(
    browser: "Browser", spoilt: Path, file: str, what: str
) -> None:
    with (
        as_on_github(spoilt.parents[1], max_age=0) as server,
        opened(browser, server.address + FIRST) as tab,
    ):
        press_twice(tab, spoilt / file, what)


@pytest.mark.parametrize("what", ["missing", "cut short"])
def test_so_it_is_in_a_folder(browser: "Browser", spoilt: Path, what: str) -> None:
    with opened(browser, f"{spoilt.parents[1].as_uri()}/{FIRST}") as tab:
        press_twice(tab, spoilt / "pieces" / "kernels-0.js", what)


@pytest.mark.parametrize("script", ["stage.js", "stage-draw.js"])
def test_a_script_that_is_cut_short_is_a_sentence(
    browser: "Browser", spoilt: Path, script: str
) -> None:
    with (
        damaged(spoilt / script, "cut short"),
        opened(browser, f"{spoilt.parents[1].as_uri()}/{FIRST}") as tab,
    ):
        place = tab.place("draw")
        place.button.click()
        place.note.get_by_text(BROKEN).wait_for()
        is_read_as_ever(tab, place)


@pytest.mark.parametrize("what", ["missing", "cut short"])
def test_without_the_list_of_files_nothing_is_offered(
    browser: "Browser", spoilt: Path, what: str
) -> None:
    with (
        damaged(spoilt / "pieces" / "manifest.js", what),
        opened(browser, f"{spoilt.parents[1].as_uri()}/{FIRST}") as tab,
    ):
        place = tab.place("draw")
        place.note.get_by_text(BROKEN).wait_for()
        assert place.button.count() == 0
        is_read_as_ever(tab, place)
        assert [line for line in tab.console if not ITS_OWN.match(line)] == []


# --- What a browser lacks ----------------------------------------------------------------------


def test_without_scripts_the_figure_stands_there_with_a_sentence(
    browser: "Browser", site: str
) -> None:
    with opened(browser, site + FIRST, java_script_enabled=False) as tab:
        place = tab.place("draw")
        assert (
            place.note.inner_text()
            == "In the book's pages, with scripts, you can draw here yourself."
        )
        assert place.button.count() == 0
        assert place.figure.locator(":scope > img").is_visible()


@pytest.mark.parametrize(
    ("lacking", "sentence"),
    [
        ("delete window.WebAssembly", NO_SIMD),
        ("WebAssembly.validate = () => false", NO_SIMD),
        ("delete window.DecompressionStream", TOO_OLD),
        ("delete window.Worker", TOO_OLD),
    ],
)
def test_a_browser_that_cannot_draw_says_why(
    browser: "Browser", site: str, lacking: str, sentence: str
) -> None:
    with opened(browser, site + FIRST, before=lacking) as tab:
        place = tab.place("draw")
        assert place.note.inner_text() == sentence
        assert place.button.count() == 0
        is_read_as_ever(tab, place)
        assert tab.console == []
        assert tab.pieces() == []


def with_memory(browser: "Browser", pages: int) -> "Browser":
    """The same browser, in which WebAssembly gets so many pages of 64 kB at most."""
    return browser.browser_type.launch(
        executable_path=chromium(),
        chromium_sandbox=False,
        args=[f"--js-flags=--wasm-max-mem-pages={pages}"],
    )


def test_without_memory_for_the_model_the_figure_stays(browser: "Browser", site: str) -> None:
    small = with_memory(browser, 200)
    with opened(small, site + FIRST) as tab:
        place = tab.place("draw")
        place.button.click()
        place.note.get_by_text(NO_MEMORY).wait_for()
        is_read_as_ever(tab, place)
        assert tab.console == []
    small.close()


def test_what_draws_can_break_down_and_begin_anew(browser: "Browser", site: str) -> None:
    with opened(browser, site + FIRST) as tab:
        place = tab.place("draw")
        place.load(steps=1)
        place.wait()
        place.set(Steps=50)
        place.draw_button.click()
        tab.page.workers[0].evaluate("setTimeout(() => { throw new Error('a fault of its own') })")
        place.wait()
        assert place.status == "What draws here has broken down. Press Draw to start it anew."
        assert place.draw(Steps=2).startswith("Drawn in ")
        assert len(tab.page.workers) == 1
