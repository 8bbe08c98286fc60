"""Maps of words, over pictures of any size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from PIL import Image
from transformers import CLIPTokenizer

from companion.attention import GlobalHeatMap, WordHeatMap
from companion.attention.words import tokenize
from companion.zoo import folder


@pytest.fixture(scope="module")
def heat_map() -> GlobalHeatMap:
    """Each token's map is its number everywhere."""
    clip = CLIPTokenizer.from_pretrained(folder("stable-diffusion") / "tokenizer")
    tokens = tokenize([clip], "a cat and a naïve robot")
    numbers = torch.arange(len(tokens.tokens)).float()
    return GlobalHeatMap(tokens, numbers[:, None, None].expand(-1, 4, 6))


def value(found: WordHeatMap) -> float:
    assert found.value.shape == (4, 6)
    assert (found.value == found.value[0, 0]).all()
    return found.value[0, 0].item()


def test_a_word_is_the_mean_of_its_tokens(heat_map: GlobalHeatMap) -> None:
    assert value(heat_map.compute_word_heat_map("naïve")) == (5 + 6 + 7) / 3


def test_a_word_that_stands_twice_is_the_mean_of_both(heat_map: GlobalHeatMap) -> None:
    assert value(heat_map.compute_word_heat_map("a")) == (1 + 4) / 2


def test_one_of_two_occurrences(heat_map: GlobalHeatMap) -> None:
    assert [value(heat_map.compute_word_heat_map("a", occurrence=i)) for i in (0, 1)] == [1, 4]
    with pytest.raises(ValueError, match="'a' stands 2 times"):
        heat_map.compute_word_heat_map("a", occurrence=2)


def test_every_word_has_its_map(heat_map: GlobalHeatMap) -> None:
    assert [(heat.word, value(heat)) for heat in heat_map.word_heat_maps()] == [
        ("a", 1),
        ("cat", 2),
        ("and", 3),
        ("a", 4),
        ("naïve", 6),
        ("robot", 8),
    ]


def test_a_token_by_number(heat_map: GlobalHeatMap) -> None:
    found = heat_map.compute_word_heat_map("the cat", word_idx=1)
    assert (found.word, found.word_idx, value(found)) == ("the cat", 1, 2)
    with pytest.raises(ValueError, match="the prompt has 8 tokens"):
        heat_map.compute_word_heat_map(None, word_idx=40)


def test_an_offset_past_the_end_is_said(heat_map: GlobalHeatMap) -> None:
    assert value(heat_map.compute_word_heat_map("cat", offset_idx=1)) == 3
    with pytest.raises(ValueError, match="offset_idx=9 leads from 'robot' past"):
        heat_map.compute_word_heat_map("robot", offset_idx=9)


def test_no_word_is_said(heat_map: GlobalHeatMap) -> None:
    with pytest.raises(ValueError, match="Say which word"):
        heat_map.compute_word_heat_map(None)


@pytest.fixture
def ramp() -> WordHeatMap:
    """From 0 at the left to 3 at the right, four wide and two high."""
    return WordHeatMap(torch.arange(4.0).expand(2, 4), "cat")


def test_expanded_to_a_wide_picture(ramp: WordHeatMap) -> None:
    expanded = ramp.expand_as(Image.new("RGB", (40, 20)))
    assert expanded.shape == (20, 40)
    assert expanded.min() == 0
    assert expanded.max() == pytest.approx(1)
    assert (expanded.diff(dim=1) >= 0)[:, 8:-8].all()


def test_expanded_with_its_values(ramp: WordHeatMap) -> None:
    assert ramp.expand_as(Image.new("RGB", (4, 2)), absolute=True).tolist() == [[0, 1, 2, 3]] * 2


def test_expanded_to_a_mask(ramp: WordHeatMap) -> None:
    assert ramp.expand_as(Image.new("RGB", (4, 2)), threshold=0.5).tolist() == [[0, 0, 1, 1]] * 2


def test_a_threshold_of_0_is_one(ramp: WordHeatMap) -> None:
    assert ramp.expand_as(Image.new("RGB", (4, 2)), threshold=0.0).tolist() == [[0, 1, 1, 1]] * 2


def test_half_precision_maps_expand(ramp: WordHeatMap) -> None:
    half = WordHeatMap(ramp.heatmap.half())
    assert half.expand_as(Image.new("RGB", (8, 4))).dtype == torch.float32


def test_an_overlay_hides_the_picture_where_the_map_is_high(
    ramp: WordHeatMap, tmp_path: Path
) -> None:
    axes = ramp.plot_overlay(Image.new("RGB", (40, 20), "lime"), tmp_path / "cat.png")
    colours, picture = (np.asarray(image.get_array()) for image in axes.images)
    assert axes.get_title() == "cat"
    assert colours.shape == (20, 40)
    assert picture[0, 0].tolist() == pytest.approx([0, 1, 0, 1], abs=0.01)
    assert picture[0, -1].tolist() == pytest.approx([0, 1, 0, 0], abs=0.01)
    assert Image.open(tmp_path / "cat.png").convert("RGB").getextrema()[2][1] > 200
    pyplot.close(axes.figure)


def test_an_overlay_on_axes_that_exist(ramp: WordHeatMap) -> None:
    figure, axes = pyplot.subplots()
    assert ramp.plot_overlay(Image.new("L", (8, 4)), ax=axes, color_normalize=False) is axes
    assert axes.images[0].get_clim() == (0, 1)
    pyplot.close(figure)


def test_expand_as_may_plot(ramp: WordHeatMap, tmp_path: Path) -> None:
    ramp.expand_as(Image.new("RGB", (8, 4)), plot=True, out_file=tmp_path / "cat.png")
    assert (tmp_path / "cat.png").stat().st_size > 0
    pyplot.close("all")


def test_overlap_of_masks() -> None:
    left = WordHeatMap(torch.tensor([[1.0, 1, 0, 0]]))
    middle = WordHeatMap(torch.tensor([[0.0, 1, 1, 1]]))
    assert left.compute_ioa(middle) == pytest.approx(1 / 2)
    assert middle.compute_ioa(left) == pytest.approx(1 / 3)


def test_overlap_of_maps_of_two_sizes() -> None:
    small = WordHeatMap(torch.ones(2, 2))
    large = WordHeatMap(torch.eye(4))
    assert small.compute_ioa(large) == pytest.approx(4 / 16)


@pytest.mark.parametrize("name", ["word_idx", "occurrence", "offset_idx"])
@pytest.mark.parametrize("value", ["1", 1.5, [], True, torch.zeros(2)])
def test_what_is_no_number_of_a_token_is_said(
    heat_map: GlobalHeatMap, name: str, value: Any
) -> None:
    with pytest.raises(ValueError, match=f"{name} is .*, but it is a whole number"):
        heat_map.compute_word_heat_map("a", **{name: value})


def test_numbers_of_numpy_and_torch_are_numbers(heat_map: GlobalHeatMap) -> None:
    assert value(heat_map.compute_word_heat_map("a", occurrence=np.int64(1))) == 4
    assert value(heat_map.compute_word_heat_map(None, word_idx=torch.tensor(1))) == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        *(
            ({"image": given}, "is a PIL picture, but .* was given")
            for given in (None, "cat.png", np.zeros((4, 4, 3)))
        ),
        ({"out_file": 5}, "out_file is the path of a file, but int was given"),
        ({"ax": "x"}, "ax is 'x', but it is matplotlib's axes"),
        ({"threshold": "x"}, "threshold is 'x', but it is a finite number"),
    ],
)
def test_an_overlay_of_something_else_is_said_and_leaves_no_figure(
    ramp: WordHeatMap, given: dict[str, Any], says: str
) -> None:
    before = pyplot.get_fignums()
    with pytest.raises(ValueError, match=says):
        ramp.plot_overlay(**{"image": Image.new("RGB", (4, 4)), **given})
    assert pyplot.get_fignums() == before


def test_an_overlap_with_what_is_no_map_is_said(ramp: WordHeatMap) -> None:
    with pytest.raises(ValueError, match="other is None, but it is the map of a word"):
        ramp.compute_ioa(None)  # type: ignore[arg-type]
