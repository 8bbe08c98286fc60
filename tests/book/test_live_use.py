"""What readers do with the places where the pages draw: type, press keys, turn the phone."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browser import ALL_RULES, PHONE, RULES_OF_COLOUR, SCREEN, SETTLED, axe
from live_pages import BESIDE, Place, Tab, opened
from test_pages import HTML

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.pages

FIRST = "book/intro.html"
AXE = """async options => {
  const {violations} = await axe.run(".companion-stage", {resultTypes: ["violations"], ...options});
  return violations.flatMap(({id, help, nodes}) => nodes.map(({target, html, any}) =>
    `${id}: ${help}: ${target.join(" ")}: ${html.slice(0, 200)} ${any[0]?.message ?? ""}`));
}"""
UNNAMED = """() => [...document.querySelectorAll(".live-stage canvas:not([aria-hidden=true])")]
  .filter(one => one.role !== "img" || !/\\w/.test(one.ariaLabel ?? ""))
  .map(one => one.outerHTML)"""


# --- Every stage of the book, opened -----------------------------------------------------------


@dataclass
class Opened:
    """What a page shows whose stages are all open."""

    page: str
    stages: int
    workers: int
    pieces: list[str]
    violations: list[str]  # axe's, in the light, in the dark and on a phone
    beside: list[str]  # what lies beside a phone's screen
    unnamed: list[str]  # canvases
    console: list[str]
    elsewhere: list[str]


def look(browser: "Browser", page: str) -> Opened:
    with opened(browser, f"{HTML.as_uri()}/{page}") as tab:
        for place in tab.places():
            place.load(steps=4)
        for place in tab.places():
            if place.draw_button.count():
                place.wait()
        console, asked = list(tab.console), list(tab.asked)  # axe has its own
        tab.page.evaluate(axe())
        violations = found(tab.page, "light", ALL_RULES)
        tab.page.emulate_media(color_scheme="dark")
        tab.page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
        violations += found(tab.page, "dark", RULES_OF_COLOUR)
        tab.page.emulate_media(color_scheme="light")
        tab.page.wait_for_function("document.documentElement.dataset.theme === 'light'")
        tab.page.set_viewport_size({"width": PHONE.width, "height": PHONE.height})
        violations += found(tab.page, "phone", ALL_RULES)
        return Opened(
            page,
            stages=len(tab.places()),
            workers=len(tab.page.workers),
            pieces=tab.pieces(),
            violations=violations,
            beside=beside(tab.page),
            unnamed=tab.page.evaluate(UNNAMED),
            console=console,
            elsewhere=[url for url in asked if not url.startswith(("file:", "data:", "blob:"))],
        )


def found(page: "Page", view: str, rules: dict[str, Any]) -> list[str]:
    page.evaluate(SETTLED)
    return [f"{view}: {what}" for what in page.evaluate(AXE, rules)]


def beside(page: "Page") -> list[str]:
    """What lies beside the screen, and whether the page can be pushed aside."""
    width = page.evaluate("document.documentElement.scrollWidth")
    wide = [f"the page: {width}"] if width > page.viewport_size["width"] else []
    return wide + page.evaluate(BESIDE)


@pytest.fixture(scope="module")
def all_opened(browser: "Browser", built: None) -> list[Opened]:
    pages = [
        path
        for path in sorted((HTML / "book").glob("*.html"))
        if "data-stage=" in path.read_text(encoding="utf-8")
    ]
    assert pages
    return [look(browser, f"book/{path.name}") for path in pages]


def test_axe_finds_nothing_on_open_stages(all_opened: list[Opened]) -> None:
    assert [(one.page, what) for one in all_opened for what in one.violations] == []


def test_open_stages_fit_a_phone(all_opened: list[Opened]) -> None:
    assert [(one.page, what) for one in all_opened for what in one.beside] == []


def test_every_canvas_has_a_name(all_opened: list[Opened]) -> None:
    assert [(one.page, what) for one in all_opened for what in one.unnamed] == []


def test_open_stages_leave_the_console_empty(all_opened: list[Opened]) -> None:
    assert [(one.page, what) for one in all_opened for what in one.console] == []


def test_open_stages_ask_no_other_host(all_opened: list[Opened]) -> None:
    assert [(one.page, what) for one in all_opened for what in one.elsewhere] == []


def test_the_stages_of_a_page_share_one_engine(all_opened: list[Opened]) -> None:
    assert max(one.stages for one in all_opened) > 1
    for one in all_opened:
        assert one.workers == 1, one.page
        assert len(one.pieces) == len(set(one.pieces)) > 5, one.page


# --- Typing ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def first_page(browser: "Browser", site: str) -> Iterator[Tab]:
    with opened(browser, site + FIRST) as tab:
        tab.place("draw").load(steps=1)
        tab.place("draw").wait()
        yield tab


@pytest.fixture
def place(first_page: Tab) -> Place:
    return first_page.place("draw")


NEVER = "The model has never seen {}: to it, the word is an empty place."
CUT = "A prompt has room for 75 pieces, and this one has {}: what comes after them is cut off."


@pytest.mark.parametrize(
    ("prompt", "remark"),
    [
        ("a cat on a red background", ""),
        ("", ""),
        ("   ", ""),
        ("a zebra", NEVER.format("“zebra”")),
        ("A ROBOT", ""),
        ("a cat 🤷", NEVER.format("“🤷”")),
        ("一只猫", NEVER.format("“一只猫”")),
        ("a robot " * 100, CUT.format(200)),
        ("x" * 3000, None),
    ],
)
def test_any_text_can_be_drawn_and_is_spoken_of(
    place: Place, prompt: str, remark: str | None
) -> None:
    place.line.fill(prompt)
    assert place.draw(Steps=1).startswith("Drawn in ")
    if remark is not None:
        place.figure.page.wait_for_function(
            "([element, words]) => element.textContent === words",
            arg=[place.remark.element_handle(), remark],
        )


def test_of_a_pasted_book_the_first_pieces_are_shown(place: Place) -> None:
    place.line.fill("a zebra, " * 10_000)
    assert place.draw(Steps=1).startswith("Drawn in ")
    place.stage.get_by_text("and 29900 more").wait_for()
    assert place.stage.locator(".live-piece").count() == 100


def test_a_double_click_draws_and_does_not_stop(place: Place) -> None:
    place.set(Prompt="a cat", Steps=4)
    place.draw_button.dblclick()
    place.wait()
    assert place.status.startswith("Drawn in ")


def test_enter_draws_anew_while_it_draws(place: Place) -> None:
    place.set(Prompt="a cat", Steps=50)
    place.line.press("Enter")
    place.stage.locator(".live-draw.running").wait_for()
    place.set(Steps=2)
    place.line.press("Enter")
    place.wait()
    assert place.status.startswith("Drawn in ")
    assert place.steps_taken.get_attribute("max") == "2"


def test_several_words_that_it_never_saw_are_named(place: Place) -> None:
    place.line.fill("one zebra, two yaks and a quokka in Timbuktu")
    place.remark.get_by_text("“zebra”").wait_for()
    said = place.remark.inner_text()
    assert re.match(
        r"The model has never seen (“[^”]+”, )+“[^”]+”( and \d+ more)?: to it, these", said
    )


def test_pieces_show_what_was_typed(place: Place) -> None:
    place.line.fill("a café <b>")
    pieces = place.stage.locator(".live-piece")
    pieces.get_by_text("caf").wait_for()
    typed = [words.partition(",")[0] for words in pieces.all_text_contents()]
    assert typed == ["a", "café", "<", "b", ">"]


def test_tags_are_words_and_nothing_else(first_page: Tab, place: Place) -> None:
    tags = '<img src="nowhere.png" onerror="window.ran = 1"><script>window.ran = 1</script><h1>x'
    asked = len(first_page.asked)
    place.line.fill(tags)
    assert place.draw(Steps=1).startswith("Drawn in ")
    place.remark.get_by_text("never seen").wait_for()
    assert place.stage.locator("img, script, h1").count() == 0
    assert first_page.page.evaluate("window.ran") is None
    assert first_page.asked[asked:] == []
    assert first_page.console == []


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("-5", "0"),
        ("99999999999", "4294967295"),
        ("1.7", "1"),
        ("", "0"),
        ("4294967295", "4294967295"),
    ],
)
def test_a_seed_out_of_range_becomes_the_nearest(place: Place, typed: str, taken: str) -> None:
    assert place.draw(Prompt="a cat", Seed=typed, Steps=1).startswith("Drawn in ")
    assert place.stage.get_by_label("Seed", exact=True).input_value() == taken


def test_a_seed_is_a_picture(place: Place) -> None:
    pictures = []
    for seed in (1, 2, 1):
        place.draw(Prompt="a cat", Seed=seed, Steps=3)
        pictures.append(place.picture())
    assert np.array_equal(pictures[0], pictures[2])
    assert not np.array_equal(pictures[0], pictures[1])


@pytest.mark.parametrize("steps", [1, 50])
def test_the_fewest_and_the_most_steps_are_taken(place: Place, steps: int) -> None:
    assert place.draw(Prompt="a cat", Steps=steps).startswith("Drawn in ")
    assert place.steps_taken.get_attribute("max") == str(steps)
    assert f"after {steps} of {steps} steps" in (place.canvas().get_attribute("aria-label") or "")


def test_chips_write_the_sentence_and_follow_it(place: Place) -> None:
    place.line.fill("a robot on a red background")
    pressed = place.stage.locator('.live-chip[aria-pressed="true"]')
    assert pressed.all_inner_texts() == ["robot", "red"]
    place.stage.get_by_role("button", name="moon").click()
    place.stage.get_by_role("button", name="below").click()
    place.stage.get_by_role("button", name="red").click()
    assert place.line.input_value() == "a robot below a moon"


# --- Keys and screens --------------------------------------------------------------------------

FOCUSED = """() => {
  const {outlineStyle, outlineWidth} = getComputedStyle(document.activeElement);
  return outlineStyle !== "none" && parseFloat(outlineWidth) >= 2;
}"""


def test_all_of_it_can_be_done_with_keys(browser: "Browser", site: str) -> None:
    with opened(browser, site + FIRST) as tab:
        keys, place = tab.page.keyboard, tab.place("draw")
        place.button.wait_for()

        def visits(selector: str, key: str, most: int) -> bool:
            """Whether Tab comes to it, and the focus can be seen there."""
            for _ in range(most):
                keys.press(key)
                if tab.page.evaluate("s => document.activeElement.matches(s)", selector):
                    return tab.page.evaluate(FOCUSED)
            return False

        assert visits(".live-open", "Tab", 300)
        keys.press("Enter")
        place.stage.wait_for()
        place.wait()
        assert tab.page.evaluate("document.activeElement.matches('.live-draw')")
        assert visits("input.live-line", "Shift+Tab", 1)
        keys.press("Control+A")
        keys.type("a star on a blue background")
        keys.press("Enter")
        place.stage.locator(".live-draw.running").wait_for()
        place.wait()
        assert place.line.input_value() == "a star on a blue background"
        assert place.status.startswith("Drawn in ")
        assert visits('input[aria-label="Steps taken"]', "Tab", 60)
        keys.press("Home")
        assert "after 0 of" in (place.canvas().get_attribute("aria-label") or "")


def test_a_phone_can_be_turned_while_it_draws(first_page: Tab, place: Place) -> None:
    page = first_page.page
    place.set(Prompt="a dinosaur above a lantern on a purple background", Steps=50)
    place.draw_button.click()
    seen, running = [], []
    for width, height in ((PHONE.width, PHONE.height), (PHONE.height, PHONE.width), (320, 568)):
        page.set_viewport_size({"width": width, "height": height})
        seen += beside(page)
        running.append(place.draw_button.inner_text() == "Stop")
    place.wait()
    seen += beside(page)
    page.set_viewport_size({"width": SCREEN.width, "height": SCREEN.height})
    assert running[0]
    assert place.status.startswith("Drawn in ")
    assert seen == []


def test_where_motion_is_not_wanted_only_the_last_step_is_shown(
    browser: "Browser", site: str
) -> None:
    count = """
      window.shown = 0;
      const {putImageData} = CanvasRenderingContext2D.prototype;
      CanvasRenderingContext2D.prototype.putImageData = function (...all) {
        window.shown++;
        return putImageData.apply(this, all);
      };
    """
    shown = {}
    for motion in ("no-preference", "reduce"):
        with opened(browser, site + FIRST, before=count, reduced_motion=motion) as tab:
            place = tab.place("draw")
            place.load(steps=10)
            place.wait()
            assert place.steps_taken.get_attribute("max") == "10"
            shown[motion] = tab.page.evaluate("shown")
    assert shown["no-preference"] >= 30
    assert shown["reduce"] <= 6


def test_the_least_guidance_is_the_text_alone(browser: "Browser", site: str) -> None:
    """The formula's scale 0, which chapter 3 shows above, Diffusers does not draw."""
    with opened(browser, site + "book/03_stable_diffusion.html") as tab:
        place = tab.place("guidance")
        place.load(steps=2)
        place.wait()
        scale = place.stage.get_by_label("Guidance scale")
        scale.press("Home")
        assert scale.input_value() == "1"
        place.stage.get_by_text("Guided, scale 1", exact=True).wait_for()
        place.wait()
        assert np.array_equal(place.picture("Guided"), place.picture("With text alone"))
