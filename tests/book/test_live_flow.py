"""Chapter 7's page draws with two models: the UNet and the flow, side by side."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest
from flow_pictures import FLOW_WISHES
from live_pages import Place, Tab, opened
from pictures import WISHES, farthest, psnr
from test_live import megabytes
from test_pages import HTML

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.pages

CHAPTER_7 = "book/07_flow.html"
PIECES = HTML / "_static" / "live" / "pieces"
# Where four steps begin, with the shift at which they are even.
EVEN = "Where the flow's steps begin: t = 1.00, 0.67, 0.33, 0.00"


@pytest.fixture(scope="module")
def chapter_7(browser: "Browser", site: str) -> Iterator[Tab]:
    with opened(browser, site + CHAPTER_7) as tab:
        place = tab.place("flow")
        place.button.wait_for()
        tab.offered = place.button.inner_text()
        place.load(steps=4)
        place.wait()
        yield tab


@pytest.fixture
def place(chapter_7: Tab) -> Place:
    """It has drawn with settings that the tests go on from."""
    place = chapter_7.place("flow")
    said = place.draw(Prompt="a cat on a red background", Seed=3, Steps=4, Shift=3)
    assert said.startswith("Both drawn in ")
    return place


def test_both_models_are_loaded_once_and_said_on_the_button(chapter_7: Tab) -> None:
    there = {path.name for path in PIECES.glob("*.js")} - {"manifest.js"}
    assert sorted(chapter_7.pieces()) == sorted(there)
    size = sum((PIECES / name).stat().st_size for name in there)
    assert size / 1e6 == pytest.approx(megabytes(chapter_7.offered), abs=0.05)


def test_the_flow_draws_pythons_pictures(chapter_7: Tab) -> None:
    worse = {}
    for wish in FLOW_WISHES:
        ours, theirs = chapter_7.engines_picture(wish), wish.draw()
        if psnr(ours, theirs) < 70 or farthest(ours, theirs) > 1:
            worse[wish] = psnr(ours, theirs)
    assert not worse


def test_beside_it_the_unet_draws_its_own(chapter_7: Tab) -> None:
    assert psnr(chapter_7.engines_picture(WISHES[0]), WISHES[0].draw()) >= 70


def test_what_has_not_changed_is_not_drawn_again(place: Place) -> None:
    unet, flow = place.picture("UNet"), place.picture("Flow after")
    place.set(Shift=1)
    place.stage.get_by_label(EVEN, exact=True).wait_for()
    place.wait()
    assert place.status.startswith("Drawn in ")  # and not both
    assert np.array_equal(place.picture("UNet"), unet)
    assert not np.array_equal(place.picture("Flow after"), flow)


def test_a_press_right_after_a_slider_was_moved_draws_once(place: Place) -> None:
    place.set(Shift=2)
    place.draw_button.click()
    place.stage.page.wait_for_timeout(400)  # longer than a slider rests
    place.wait()
    assert place.status.startswith("Both drawn in ")


def test_a_slider_goes_back_over_the_steps_of_both(place: Place) -> None:
    last = {name: place.picture(name) for name in ("UNet", "Flow after")}
    assert place.steps_taken.get_attribute("max") == "4"
    place.steps_taken.fill("0")
    assert np.array_equal(place.picture("UNet"), place.picture("Flow after"))  # one noise
    for name, picture in last.items():
        assert not np.array_equal(place.picture(name), picture)
    place.steps_taken.fill("4")
    for name, picture in last.items():
        assert np.array_equal(place.picture(name), picture)


def test_euler_ends_where_the_last_prediction_was(place: Place) -> None:
    assert np.array_equal(place.picture("Flow after"), place.picture("Flow’s predicted x₀"))


def test_what_the_flow_cannot_read_is_said(place: Place) -> None:
    place.line.fill("a cat " * 20)
    place.remark.get_by_text("A prompt has room for 22 pieces, and this one has 40").wait_for()
