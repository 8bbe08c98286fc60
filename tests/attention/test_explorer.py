"""The page of words and maps: what stands in it, for every kind of reader."""

import base64
import io
import json
import re
from typing import Any

import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup, Tag
from PIL import Image

from companion.attention import HeatMaps, trace
from companion.attention.explorer import Explorer, explore, explorer, light_up, stretch
from companion.door.labels import Origin

PROMPT = "A cat & a Cat, on red."
WORDS = [(2, 5), (10, 13), (18, 21)]
LABELS = ["step 1 of 2", "step 2 of 2", "all steps"]


def make(**changes: object) -> Explorer:
    maps = np.random.default_rng(0).random((3, 3, 4, 8))
    given = {"words": WORDS, "maps": maps, "labels": LABELS, "alt": "Two cats", **changes}
    return explorer(Image.new("RGB", (32, 16), "orange"), PROMPT, **given)


def figure(page: Explorer) -> Tag:
    return BeautifulSoup(page._repr_html_(), "html.parser").find("figure")


def sprite(page: Explorer) -> np.ndarray:
    encoded = figure(page)["data-sprite"].removeprefix("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))


def test_every_word_with_a_map_is_a_button_and_the_prompt_stays_whole() -> None:
    prompt = figure(make()).find(class_="prompt")
    assert [button.text for button in prompt.find_all("button")] == ["cat", "Cat", "red"]
    assert prompt.text == PROMPT


def test_buttons_say_whether_they_are_pressed_and_send_no_form() -> None:
    for button in figure(make()).find_all("button"):
        assert (button["aria-pressed"], button["type"]) == ("false", "button")


def test_slider_has_a_label_and_starts_at_the_last_map() -> None:
    slider = figure(make()).find("input")
    assert slider.parent.name == "label"
    assert (slider["type"], slider["max"], slider["value"]) == ("range", "2", "2")
    assert json.loads(figure(make())["data-maps"])["labels"] == LABELS


def test_one_map_of_each_word_needs_no_slider() -> None:
    page = make(maps=np.ones((1, 3, 4, 8)), labels=["all steps"])
    assert figure(page).find("label").has_attr("hidden")


def test_what_changes_is_announced() -> None:
    assert figure(make()).find(attrs={"role": "status"}) is not None


def test_without_scripts_a_still_figure_shows_every_word() -> None:
    html = figure(make())
    assert html.find(class_="explore").has_attr("hidden")
    still = html.find(class_="still")
    assert not still.has_attr("hidden")
    assert still.img["alt"].endswith("cat, Cat, red")


def test_every_picture_has_alternative_text_and_the_canvas_is_hidden_from_readers() -> None:
    html = figure(make())
    assert all(image["alt"] for image in html.find_all("img"))
    assert html.canvas["aria-hidden"] == "true"


def test_page_is_whole_and_asks_nothing_of_anybody() -> None:
    page = make(title="Cats").page()
    html = BeautifulSoup(page, "html.parser")
    assert html.title.text == PROMPT
    assert html.html["lang"]
    assert not html.find_all(["link", "iframe"])
    addresses = [
        tag[name] for tag in html.find_all(True) for name in ("src", "href") if tag.get(name)
    ]
    assert addresses
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert not re.search(r"https?:|@import|url\(|fetch\(", page)


def test_several_on_one_page_share_no_names() -> None:
    assert not figure(make()).find_all(id=True)


def test_focus_motion_and_colours_respect_the_reader() -> None:
    style = figure(make()).style.text
    assert ":focus-visible" in style
    assert "prefers-reduced-motion" in style
    assert "color: inherit" in style
    assert "color-scheme: light dark" in make().page()


def test_sprite_holds_a_row_for_each_word_and_a_column_for_each_label() -> None:
    maps = np.zeros((3, 3, 4, 8))
    maps[1, 2, 0, 5] = 1  # the second label, the third word
    opacity = sprite(make(maps=maps))[..., 1]
    assert opacity.shape == (3 * 4, 3 * 8)
    assert np.argwhere(opacity == opacity.min()).tolist() == [[2 * 4 + 0, 1 * 8 + 5]]


def test_same_input_gives_the_same_bytes() -> None:
    assert make().page() == make().page()


def test_text_of_the_reader_is_never_markup() -> None:
    picture, maps = Image.new("RGB", (8, 8)), np.ones((1, 1, 2, 2))
    evil = '<script>"x"</script>'
    page = explorer(picture, evil, [(0, len(evil))], maps, [evil], alt=evil, title=evil)
    html = BeautifulSoup(page.page(), "html.parser")
    assert html.button.text == html.title.text == evil
    assert len(html.find_all("script")) == 1


def test_stretch_takes_each_map_to_its_own_range() -> None:
    maps = np.array([[[1.0, 3.0]], [[10.0, 10.0]]])
    assert stretch(maps).tolist() == [[[0, 1]], [[0, 0]]]


def test_light_up_leaves_the_picture_where_the_map_is_high() -> None:
    lit = light_up(Image.new("RGB", (2, 1), (200, 100, 0)), np.array([[0.0, 1.0]]))
    dark, light = np.asarray(lit)[0].tolist()
    assert light == [200, 100, 0]
    assert dark == [30, 15, 0]


def test_sheet_shows_the_picture_and_each_word() -> None:
    plain = make(maps=np.ones((3, 3, 4, 8))).sheet()
    assert plain.width > 4 * 32


@pytest.mark.parametrize("words", [WORDS[::-1], [(2, 5), (4, 7), (18, 21)], [(2, 5), (10, 99)] * 2])
def test_words_out_of_order_or_of_the_prompt_are_named(words: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match=re.escape("of the prompt 'A cat & a Cat, on red.'")):
        make(words=words[:3])


def test_maps_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("(3, 3, height, width)")):
        make(maps=np.ones((2, 3, 4, 8)))


@pytest.fixture(scope="module")
def traced(loaded: Any) -> tuple[HeatMaps, Image.Image]:
    """A picture of three steps, and its maps."""
    options = {"num_inference_steps": 3, "generator": torch.Generator().manual_seed(7)}
    with trace(loaded, by="step") as maps:
        picture = loaded("a cat above a car", **options).images[0]
    return maps, picture


def test_explore_takes_all_words_each_step_and_all_steps(
    traced: tuple[HeatMaps, Image.Image],
) -> None:
    maps, picture = traced
    page = explore(maps, picture)
    assert page.words == ["a", "cat", "above", "a", "car"]
    assert len(page.labels) == maps.steps + 1
    assert page.labels[0] == f"step 1 of {maps.steps}, t = {maps.timesteps[0]:.0f}"
    heat = maps.compute_global_heat_map(step_idx=1).compute_word_heat_map("car").heatmap
    assert np.allclose(page.maps[1, 4], stretch(heat.numpy()))
    heat = maps.compute_global_heat_map().compute_word_heat_map("a", occurrence=1).heatmap
    assert np.allclose(page.maps[-1, 3], stretch(heat.numpy()))


def test_explore_puts_phrases_in_the_order_of_the_prompt(
    traced: tuple[HeatMaps, Image.Image],
) -> None:
    assert explore(*traced, ["car", "a cat"]).words == ["a cat", "car"]


def test_explore_refuses_phrases_that_overlap(traced: tuple[HeatMaps, Image.Image]) -> None:
    with pytest.raises(ValueError, match="'a cat above' and 'above a car' overlap"):
        explore(*traced, ["a cat above", "above a car"])


def test_explore_refuses_a_word_that_is_not_there(traced: tuple[HeatMaps, Image.Image]) -> None:
    with pytest.raises(ValueError, match="'dog' is not in the prompt"):
        explore(*traced, ["dog"])


def test_explore_lights_the_word_itself_and_not_a_part_of_another(loaded: Any) -> None:
    options = {"num_inference_steps": 2, "generator": torch.Generator().manual_seed(7)}
    with trace(loaded, by="step") as maps:
        picture = loaded("a WOMAN and İ a man", **options).images[0]
    page = explore(maps, picture, ["man"])
    assert page.pieces == [("a WOMAN and İ a ", "man"), ("", "")]
    words = maps.compute_global_heat_map().word_heat_maps()
    assert [each.word for each in words] == ["a", "WOMAN", "and", "İ", "a", "man"]
    assert np.allclose(page.maps[-1, 0], stretch(words[-1].heatmap.numpy()))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        *(
            ({"words": words}, "words is .* where each starts")
            for words in (None, "abc", [5], [(1,)])
        ),
        *(
            ({"labels": labels}, "labels is .* a list of texts")
            for labels in (None, "abc", [1, 2, 3])
        ),
        *(({"maps": maps}, "The maps are an array") for maps in ("x", object())),
        ({"maps": np.full((3, 3, 4, 8), np.nan)}, "The maps hold NaN"),
        ({"alt": None}, "The alt is a text"),
        ({"title": 5}, "The title is a text"),
    ],
)
def test_what_no_page_can_be_made_of_is_said(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make(**changes)


@pytest.mark.parametrize("phrases", ["cat", 5, torch.tensor(1)])
def test_phrases_are_a_list(traced: tuple[HeatMaps, Image.Image], phrases: Any) -> None:
    with pytest.raises(ValueError, match=r"phrases is .*, but it is a list of texts"):
        explore(*traced, phrases)


def test_maps_of_no_trace_are_said() -> None:
    with pytest.raises(ValueError, match="maps are those of a trace, but None was given"):
        explore(None, Image.new("RGB", (8, 8)))


@pytest.mark.parametrize("size", [5, (0, 8), (8,), "ab", (8, 10**6), (8.5, 8)])
def test_a_size_that_no_map_has_is_said(traced: tuple[HeatMaps, Image.Image], size: Any) -> None:
    with pytest.raises(ValueError, match=r"size is .*, but it is height and width"):
        traced[0].compute_global_heat_map(size=size)


def test_factors_are_a_set_of_numbers(traced: tuple[HeatMaps, Image.Image]) -> None:
    with pytest.raises(ValueError, match="factors is 2, but it is a set of numbers"):
        traced[0].compute_global_heat_map(factors=2)


def test_a_page_says_that_a_model_drew_the_picture_only_where_one_did() -> None:
    for origin, labels in ((None, 0), (Origin.DRAWN, 2)):
        images = BeautifulSoup(make().page(origin), "html.parser").find_all("img")
        files = [base64.b64decode(image["src"].partition(",")[2]) for image in images]
        assert sum(b"trainedAlgorithmicMedia" in file for file in files) == labels
