"""The pages in a browser: on a screen, in the dark, on a phone. `make pages` runs these."""

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import pytest
from browser import PHONE, SCREEN, Seen, look_at_all
from test_pages import HTML

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.pages

# A word that a reader may look for, and a page that is about it.
SEARCHES = {
    "timestep": "02_manual_loop",
    "guidance": "03_stable_diffusion",
    "strength": "04_autopipeline",
    "learning rate": "05_training",
    "heat map": "06_attention",
    "alphas_cumprod": "notation",
}


@pytest.fixture(scope="session")
def seen(browser: "Browser", site: str) -> list[Seen]:
    """All pages in all views: a minute or two, once."""
    pages = [path for path in sorted(HTML.rglob("*.html")) if "_static" not in path.parts]
    names = [path.relative_to(HTML).as_posix() for path in pages]
    names.remove("index.html")  # leads on to the first page, and is not seen
    return look_at_all(browser, site, names)


@pytest.fixture
def phone(browser: "Browser") -> Iterator["Page"]:
    context = browser.new_context(viewport={"width": PHONE.width, "height": PHONE.height})
    yield context.new_page()
    context.close()


def told(seen: list[Seen], of: Callable[[Seen], object]) -> str:
    """What pages have that they should not, one a line."""
    return "\n".join(f"{one}: {what}" for one in seen if (what := of(one)))


def test_nothing_of_a_page_lies_beside_the_screen(seen: list[Seen]) -> None:
    assert not told(seen, lambda one: one.width if one.width > one.view.width else None)


def test_no_line_of_code_or_output_is_cut_off(seen: list[Seen]) -> None:
    assert not told(seen, lambda one: one.clipped)


def test_lines_of_code_and_output_have_room_on_a_screen(seen: list[Seen]) -> None:
    assert not told([one for one in seen if one.view is SCREEN], lambda one: one.wrapped)


def test_no_word_of_a_table_is_broken(seen: list[Seen]) -> None:
    assert not told(seen, lambda one: one.broken)


def test_the_console_is_empty(seen: list[Seen]) -> None:
    assert not told(seen, lambda one: one.console)


def test_pages_ask_no_other_host_for_anything(seen: list[Seen]) -> None:
    assert not told(seen, lambda one: one.elsewhere)


def test_axe_finds_nothing_that_keeps_a_reader_out(seen: list[Seen]) -> None:
    assert not told(seen, lambda one: "\n  ".join(one.violations))


@pytest.mark.parametrize("wanted", ["light", "dark"])
def test_a_first_visit_is_as_light_or_dark_as_the_readers_system(
    browser: "Browser", site: str, wanted: Literal["light", "dark"]
) -> None:
    context = browser.new_context(color_scheme=wanted)
    page = context.new_page()
    # Before the theme's own scripts, which come last: what is painted first is right.
    page.route("**/pydata-sphinx-theme.js*", lambda route: route.abort())
    page.goto(f"{site}book/intro.html")
    assert page.evaluate("document.documentElement.dataset.theme") == wanted
    context.close()


@pytest.mark.parametrize("side", ["primary", "secondary"])
def test_contents_open_inside_a_phones_screen(phone: "Page", site: str, side: str) -> None:
    phone.goto(f"{site}book/05_training.html")
    phone.locator(f"button.sidebar-toggle.{side}-toggle:visible").click()
    drawer = phone.locator(f"#pst-{side}-sidebar-modal")
    drawer.locator("a:visible").first.wait_for()
    phone.wait_for_function(
        f"!document.querySelector('#pst-{side}-sidebar-modal').getAnimations().length"
    )
    box = drawer.bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE.width


@pytest.mark.parametrize(("words", "page"), SEARCHES.items())
def test_search_finds_the_page_and_shows_its_words(
    phone: "Page", site: str, words: str, page: str
) -> None:
    phone.goto(f"{site}search.html?q={words.replace(' ', '+')}")
    phone.get_by_text("Search finished").wait_for()
    phone.locator("#search-results p.context").first.wait_for()
    links = phone.locator("#search-results li a").evaluate_all("all => all.map(a => a.href)")
    assert any(f"/{page}.html" in link for link in links), links
    excerpts = phone.locator("#search-results p.context").all_inner_texts()
    with_tex = [text for text in excerpts if re.search(r"\\[()\[\]A-Za-z]|[_^]\{", text)]
    assert not with_tex
    with_their_words = [text for text in excerpts if words.split()[0] in text.lower()]
    assert with_their_words


@pytest.mark.parametrize("kind", ["term", "paper"])
def test_a_preview_shows_while_the_focus_rests_on_a_link(
    phone: "Page", site: str, kind: str
) -> None:
    phone.goto(f"{site}book/02_manual_loop.html")
    link = phone.locator(f"article a.{kind}").first
    preview = phone.locator("#preview")
    assert preview.is_hidden()
    link.focus()
    assert preview.inner_text() == link.get_attribute("data-preview")
    box = preview.bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE.width
    phone.keyboard.press("Escape")
    assert preview.is_hidden()


def test_a_picture_opens_larger_and_closes(phone: "Page", site: str) -> None:
    phone.goto(f"{site}book/02_manual_loop.html")
    small = phone.locator("article a.larger").first
    small.press("Enter")
    dialog = phone.locator("dialog.larger")
    dialog.locator("img").wait_for()
    before, after = small.locator("img").bounding_box(), dialog.locator("img").bounding_box()
    assert before
    assert after
    assert after["width"] > before["width"]
    phone.keyboard.press("Escape")
    assert dialog.is_hidden()


def test_a_slider_begins_with_noise_and_ends_with_the_picture(phone: "Page", site: str) -> None:
    phone.goto(f"{site}book/intro.html")
    frames = phone.locator(".companion-scrubber .frame")
    slider = phone.locator(".companion-scrubber input")
    assert frames.first.is_visible()
    slider.press("End")
    assert frames.last.is_visible()
    assert frames.first.is_hidden()
