"""Painting in the page, and lighting up words: chapters 4 and 6."""

import base64
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pictures
import pytest
import torch
from browser import PHONE
from live_pages import PIXELS, Place, Tab, opened, picture_of
from pictures import Wish, pipeline, psnr
from PIL import Image

from companion.attention import trace
from companion.attention.explorer import stretch
from companion.autopipeline import make_scheduler

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

pytestmark = pytest.mark.pages

CHAPTER_4 = "book/04_autopipeline.html"
CHAPTER_6 = "book/06_attention.html"
STEPS = 6
# Whether the sheet above the picture has something in the middle of each latent's square.
MIDDLES = """canvas => Array.from({length: 256}, (_, i) => {
  const side = canvas.width / 16;
  const [x, y] = [i % 16, Math.floor(i / 16)].map(v => (v + 0.5) * side);
  return canvas.getContext("2d").getImageData(x, y, 1, 1).data[3] > 0;
})"""
WORDS = "a robot, and a zebra on a red background"


# --- Painting ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chapter_4(browser: "Browser", site: str) -> Iterator[Tab]:
    with opened(browser, site + CHAPTER_4) as tab:
        for place in tab.places():
            place.load(steps=STEPS)
            place.wait()
        yield tab


@pytest.fixture
def paint(chapter_4: Tab) -> Place:
    """The one for image to image, as it is when it opens."""
    place = chapter_4.places()[0]
    begin_anew(place)
    return place


@pytest.fixture
def mask(chapter_4: Tab) -> Place:
    """The one for inpainting, with nothing marked."""
    place = chapter_4.places()[1]
    begin_anew(place)
    return place


def begin_anew(place: Place) -> None:
    place.stage.get_by_text("The scene", exact=True).click()


def painted(place: Place) -> np.ndarray:
    return picture_of(place.stage.locator(".live-board canvas").first.evaluate(PIXELS))


def line(place: Place, *places: tuple[float, float]) -> None:
    """Draw a line with the mouse; places are parts of the width and the height."""
    board = place.stage.locator(".live-board")
    board.scroll_into_view_if_needed()
    box = board.bounding_box()
    assert box
    mouse = place.figure.page.mouse
    for i, (x, y) in enumerate(places):
        mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=4)
        if i == 0:
            mouse.down()
    mouse.up()


def alpha(data: str) -> np.ndarray:
    pixels = np.frombuffer(base64.b64decode(data), dtype=np.uint8)
    side = round((pixels.size / 4) ** 0.5)
    return pixels.reshape(side, side, 4)[..., 3].astype(float)


def marked(place: Place) -> np.ndarray:
    """What is striped, in the picture's pixels. The mouse goes away, with its ring."""
    place.stage.locator(".live-plan").hover()
    middles = place.stage.locator(".live-board canvas").last.evaluate(MIDDLES)
    return np.reshape(middles, (16, 16)).astype(bool).repeat(4, axis=0).repeat(4, axis=1)


def rest(place: Place, **settings: float) -> None:
    """Move a slider after which it draws by itself."""
    place.set(**settings)
    place.stage.locator(".live-draw.running").wait_for()
    place.wait()


def drawn_as_python_does(
    place: Place, monkeypatch: pytest.MonkeyPatch, *, sampler: str, strength: float
) -> float:
    """Draw, and give how like Diffusers' own picture it is."""
    repaint = marked(place)
    monkeypatch.setattr(pictures, "start_picture", lambda: Image.fromarray(painted(place)))
    monkeypatch.setattr(pictures, "mask", lambda: Image.fromarray(repaint).convert("L"))
    place.stage.get_by_label("Sampler").select_option(sampler)
    place.set(Prompt="a panda on a green background", Seed=3, Steps=8)
    rest(place, Strength=strength)
    wish = Wish(
        "a panda on a green background",
        seed=3,
        steps=8,
        guidance=place.number("Guidance"),
        sampler=sampler,
        strength=strength,
        repaint=bool(repaint.any()),
    )
    return psnr(place.picture("Result"), wish.draw())


def test_the_mouse_paints_where_it_goes(paint: Place) -> None:
    before = painted(paint)
    paint.stage.get_by_role("radio", name="red").check(force=True)
    line(paint, (0.1, 0.5), (0.9, 0.5))
    changed = (painted(paint) != before).any(axis=-1)
    rows = np.flatnonzero(changed.any(axis=1))
    assert changed[32, 8:56].all()
    assert rows.min() >= 26
    assert rows.max() <= 38


def test_a_finger_paints_and_does_not_push_the_page(browser: "Browser", site: str) -> None:
    phone = {"width": PHONE.width, "height": PHONE.height}
    with opened(browser, site + CHAPTER_4, viewport=phone, has_touch=True, is_mobile=True) as tab:
        place = tab.places()[0]
        place.load(steps=STEPS)
        before = painted(place)
        board = place.stage.locator(".live-board")
        board.scroll_into_view_if_needed()
        box, scrolled = board.bounding_box(), tab.page.evaluate("scrollY")
        assert box
        session = tab.page.context.new_cdp_session(tab.page)
        for kind, part in (("Start", 0.2), ("Move", 0.5), ("Move", 0.8), ("End", None)):
            x, y = box["x"] + 0.5 * box["width"], box["y"] + (part or 0) * box["height"]
            points = [] if part is None else [{"x": x, "y": y}]
            touch = {"type": f"touch{kind}", "touchPoints": points}
            session.send("Input.dispatchTouchEvent", touch)
        assert (painted(place) != before).any(axis=-1)[16:48, 32].all()
        assert tab.page.evaluate("scrollY") == scrolled


def test_undo_brings_the_picture_back(paint: Place) -> None:
    before = painted(paint)
    line(paint, (0.2, 0.2), (0.8, 0.8))
    assert not np.array_equal(painted(paint), before)
    paint.stage.get_by_role("button", name="Undo").click()
    assert np.array_equal(painted(paint), before)


def test_what_is_drawn_follows_what_is_painted(paint: Place) -> None:
    """The less the strength, the more."""
    found = {}
    for strength in (0.2, 1.0):
        rest(paint, Strength=strength)
        assert paint.status.startswith("Drawn in ")
        found[strength] = psnr(paint.picture("Result"), painted(paint))
    assert found[0.2] > found[1.0] + 5


@pytest.mark.parametrize("sampler", ["unipc", "ddim"])
def test_what_is_painted_is_what_python_begins_with(
    paint: Place, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line(paint, (0.2, 0.9), (0.5, 0.1), (0.8, 0.9))
    ours = drawn_as_python_does(paint, monkeypatch, sampler=sampler, strength=0.5)
    assert ours >= 70


def test_too_little_strength_for_a_step_is_a_sentence(paint: Place) -> None:
    paint.set(Steps=10, Strength=0.05)
    sentence = "Strength 0.05 of 10 steps is no step: take more steps, or a strength nearer to 1."
    paint.stage.locator(".live-status").get_by_text(sentence).wait_for()
    paint.set(Steps=STEPS)
    rest(paint, Strength=0.5)
    assert paint.status.startswith("Drawn in ")


# --- Inpainting --------------------------------------------------------------------------------


def test_the_rest_of_the_picture_stays_as_it_was(mask: Place) -> None:
    before = painted(mask).astype(float)
    line(mask, (0.1, 0.15), (0.9, 0.15))
    repainted = marked(mask)
    assert 0.1 < repainted.mean() < 0.5
    mask.set(Prompt="a red background")
    rest(mask, Strength=1.0)
    apart = np.abs(mask.picture("Result") - before).mean(axis=-1)
    away = np.flatnonzero(~repainted.any(axis=1))
    assert apart[away[away > 32]].mean() < 8
    assert apart[repainted].mean() > 15


def test_what_is_marked_is_what_python_repaints(
    mask: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    line(mask, (0.5, 0.2), (0.5, 0.8))
    ours = drawn_as_python_does(mask, monkeypatch, sampler="unipc", strength=0.8)
    assert ours >= 70


def test_a_place_opens_with_the_mask_of_its_figure(browser: "Browser", site: str) -> None:
    with opened(browser, site + CHAPTER_4) as tab:
        place = tab.places()[1]
        place.load(steps=STEPS)
        assert 0.05 < marked(place).mean() < 0.95
        assert "Inpainting" in place.stage.locator(".live-plan").inner_text()


# --- Words -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chapter_6(browser: "Browser", site: str) -> Iterator[Place]:
    with opened(browser, site + CHAPTER_6) as tab:
        place = tab.place("words")
        place.load(steps=STEPS)
        place.wait()
        place.draw(Prompt=WORDS, Seed=4)
        place.stage.locator(".live-word").get_by_text("robot").wait_for()
        yield place


def word(place: Place, text: str) -> "Locator":
    group = place.stage.get_by_role("group", name="Words of the prompt")
    return group.get_by_role("button", name=text, exact=True)


def veil(place: Place) -> np.ndarray:
    """How dark the sheet over the picture is, from 0 to 1."""
    return alpha(place.stage.locator(".live-veil").evaluate(PIXELS)) / 255


def test_a_word_under_the_mouse_lights_its_map(chapter_6: Place) -> None:
    """As companion.attention has it, of a run with the same settings."""
    sheet = chapter_6.stage.locator(".live-veil")
    assert sheet.is_hidden()
    word(chapter_6, "robot").hover()
    assert sheet.is_visible()
    pipe = pipeline()
    pipe.scheduler = make_scheduler("UniPC", pipe.scheduler)
    with trace(pipe) as maps:
        picture = pipe(
            WORDS,
            num_inference_steps=STEPS,
            guidance_scale=chapter_6.number("Guidance"),
            generator=torch.Generator().manual_seed(4),
        ).images[0]
    (robot,) = (
        one for one in maps.compute_global_heat_map().word_heat_maps() if one.word == "robot"
    )
    light = stretch(robot.expand_as(picture, absolute=True).numpy())
    assert np.abs((1 - veil(chapter_6) / 0.85) - light).max() < 0.02
    assert "“robot”: most in the" in chapter_6.stage.locator(".live-found").inner_text()
    chapter_6.stage.locator(".live-status").hover()
    assert sheet.is_hidden()


def test_each_word_has_its_own_map(chapter_6: Place) -> None:
    veils = []
    for text in ("robot", "background"):
        word(chapter_6, text).hover()
        veils.append(veil(chapter_6))
    assert np.abs(veils[0] - veils[1]).mean() > 0.05


def test_a_word_that_was_never_seen_lights_nothing(chapter_6: Place) -> None:
    assert word(chapter_6, "zebra").count() == 0
    sentence = "Not lit: “zebra”. The model has never seen it."
    assert chapter_6.stage.get_by_text(sentence).is_visible()


def test_a_word_can_be_lit_with_the_keyboard(chapter_6: Place) -> None:
    robot = word(chapter_6, "robot")
    robot.focus()
    robot.press("Enter")
    assert robot.get_attribute("aria-pressed") == "true"
    assert chapter_6.stage.locator(".live-veil").is_visible()
    robot.press("Enter")
    assert robot.get_attribute("aria-pressed") == "false"


def test_a_place_of_the_picture_says_its_word(chapter_6: Place) -> None:
    chapter_6.stage.locator(".live-lit").hover(position={"x": 20, "y": 20})
    said = chapter_6.stage.locator(".live-found").inner_text()
    found = re.fullmatch(
        r"Here “(\w+)” has most of the words: ([\d.]+) % of the attention, "
        r"before “(\w+)” with ([\d.]+) %\.",
        said,
    )
    assert found, said
    assert found[1] != found[3]
    assert float(found[2]) >= float(found[4]) > 0


def test_no_light_of_the_last_picture_falls_on_the_next(chapter_6: Place) -> None:
    """While it draws, and where it was stopped, there are no maps of what is shown."""
    word(chapter_6, "robot").click()
    chapter_6.set(Steps=50, Seed=5)
    chapter_6.draw_button.click()
    chapter_6.stage.locator(".live-draw.running").wait_for()
    picture = chapter_6.stage.locator(".live-lit")
    picture.hover(position={"x": 20, "y": 20})
    assert chapter_6.stage.locator(".live-found").inner_text() == ""
    chapter_6.draw_button.click()
    chapter_6.stage.get_by_text("Stopped.").wait_for()
    chapter_6.stage.locator(".live-status").hover()  # the mouse leaves the picture
    assert chapter_6.stage.locator(".live-veil").is_hidden()
    chapter_6.draw(Steps=STEPS, Seed=4)
    word(chapter_6, "robot").click()
