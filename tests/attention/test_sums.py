"""What is kept apart is found apart, and adds up to the whole."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from companion.attention import HeatMaps, trace

Draw = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def maps(loaded: Any, draw: Draw) -> HeatMaps:
    with trace(loaded, by=("step", "layer", "head")) as maps:
        draw(loaded, ["a cat on a blue background", "a rocket above a moon"])
    return maps


def test_raw_sums_of_steps_layers_and_heads_add_up(maps: HeatMaps, loaded: Any, draw: Draw) -> None:
    with trace(loaded, by=()) as summed:
        draw(loaded, ["a cat on a blue background", "a rocket above a moon"])
    for size in (16, 8):
        (whole,) = (kept for key, kept in summed.sums.items() if key.height == size)
        parts = [kept.sum(1) for key, kept in maps.sums.items() if key.height == size]
        torch.testing.assert_close(sum(parts), whole[:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("by", [(), ("layer",), ("head",), ("step",), "layer", ("step", "head")])
def test_the_whole_map_is_nearly_the_same_however_kept(
    maps: HeatMaps, loaded: Any, draw: Draw, by: Any
) -> None:
    expected = maps.compute_global_heat_map().heat_maps
    with trace(loaded, by=by) as others:
        draw(loaded, ["a cat on a blue background", "a rocket above a moon"])
    ours = others.compute_global_heat_map().heat_maps
    # Clamped after summing, not before: never higher.
    assert (ours - expected).max() < 1e-5
    assert (ours - expected).min() > -0.05 * expected.max()


def test_one_layer_and_head_and_step(maps: HeatMaps) -> None:
    found = maps.compute_global_heat_map(layer_idx=3, head_idx=1, step_idx=2, image_idx=1)
    (raw,) = (kept for key, kept in maps.sums.items() if key.step == 2 and key.layer == 3)
    assert torch.equal(found.heat_maps, raw[1, 1, : len(found.heat_maps)])


def test_a_steps_attention_is_shared_out_among_tokens(maps: HeatMaps) -> None:
    heat_map = maps.compute_global_heat_map(factors={1}, step_idx=0)
    assert heat_map.heat_maps.sum(0).max() <= 1 + 1e-5


def test_all_layers_of_one_size_are_that_size(maps: HeatMaps) -> None:
    layers = [
        maps.compute_global_heat_map(layer_idx=i).heat_maps
        for i in range(6)
        if any(key.layer == i and key.height == 16 for key in maps.sums)
    ]
    size = maps.compute_global_heat_map(factors={1}).heat_maps
    assert len(layers) == 3
    torch.testing.assert_close(torch.stack(layers).mean(0), size)


def test_only_what_was_asked_for_is_kept(loaded: Any, draw: Draw) -> None:
    def kept(by: Any) -> int:
        with trace(loaded, by=by) as maps:
            draw(loaded)
        assert maps.steps == 4
        return sum(kept.nbytes for kept in maps.sums.values())

    tokens, pixels, heads, layers, steps = 8, 16 * 16 + 8 * 8, 2, 3, 4
    assert kept(()) == 4 * tokens * pixels
    assert kept(("layer", "head")) == 4 * tokens * pixels * layers * heads
    assert kept(("step",)) == 4 * tokens * pixels * steps


def test_maps_of_any_size(maps: HeatMaps) -> None:
    assert maps.compute_global_heat_map(size=(20, 30)).heat_maps.shape == (8, 20, 30)


def test_normalised_words_share_out_1(maps: HeatMaps) -> None:
    shares = maps.compute_global_heat_map(normalize=True).heat_maps[1:-1].sum(0)
    torch.testing.assert_close(shares, torch.ones_like(shares), atol=1e-4, rtol=0)


def test_timesteps_are_known(maps: HeatMaps) -> None:
    assert maps.steps == 4
    assert maps.timesteps == [667.0, 334.0, 334.0, 1.0]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"layer_idx": 6}, "layer_idx=6, but there are 6 layers, counted from 0"),
        ({"head_idx": -1}, "head_idx=-1, but there are 2 heads"),
        ({"step_idx": 4}, "step_idx=4, but there are 4 steps"),
        ({"image_idx": 2}, "image_idx=2, but 2 pictures were drawn"),
        ({"factors": {4}}, r"No layer fits factors=.4.: the factors are \[1, 2\], and"),
        ({"prompt": "a cat " * 20}, "is not what was drawn last"),
    ],
)
def test_what_is_not_there_is_said(maps: HeatMaps, asked: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        maps.compute_global_heat_map(**asked)


def test_a_step_that_was_summed_over_is_said(loaded: Any, draw: Draw) -> None:
    with trace(loaded) as maps:
        draw(loaded)
    with pytest.raises(ValueError, match=r"trace\(pipe, by=\('step', 'layer', 'head'\)\)"):
        maps.compute_global_heat_map(step_idx=0)


def test_an_unknown_axis_is_said(loaded: Any) -> None:
    with (
        pytest.raises(ValueError, match=r"by=\['token'\] names nothing"),
        trace(loaded, by="token"),
    ):
        pass


def test_maps_before_any_picture_are_refused(loaded: Any) -> None:
    with trace(loaded) as maps, pytest.raises(ValueError, match="No heat maps were traced"):
        maps.compute_global_heat_map()
