"""On daam's ground, one square picture with guidance, the numbers are daam's.

The tolerance: 1e-6, and 1e-5 of the value. Both compute in float32, with products of matrices that
are laid out differently and so round differently.
"""

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from companion.attention import HeatMaps, trace

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import daam

# daam calls an old name of autocast at every step.
pytestmark = pytest.mark.filterwarnings("ignore:.*autocast:FutureWarning")

PROMPTS = [
    "a cat on a blue background",
    "a rocket above a moon",
    "A Robot, 3d style",
    "two naïve catfish 🚀 near an acai bowl",
]
Draw = Callable[..., Any]
Both = tuple[Any, HeatMaps]


def assert_equal(theirs: torch.Tensor, ours: torch.Tensor) -> None:
    assert theirs.max() > 0.01
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@pytest.fixture(scope="module", params=PROMPTS)
def traced(request: pytest.FixtureRequest, loaded: StableDiffusionPipeline, draw: Draw) -> Both:
    """The zoo's model as one that daam takes for 512 pixels, so that its latents are 64 x 64."""
    pipe = StableDiffusionPipeline(**loaded.components, requires_safety_checker=False)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    size = pipe.unet.config.sample_size
    pipe.unet.register_to_config(sample_size=512 // pipe.vae_scale_factor)
    try:
        with daam.trace(pipe) as theirs, trace(pipe) as ours:
            draw(
                pipe,
                request.param,
                height=256,
                width=256,
                output_type="latent",
                num_inference_steps=2,
            )
    finally:
        pipe.unet.register_to_config(sample_size=size)
    return theirs, ours


def test_global_maps(traced: Both) -> None:
    theirs, ours = traced
    assert_equal(
        theirs.compute_global_heat_map().heat_maps, ours.compute_global_heat_map().heat_maps
    )


@pytest.mark.parametrize("layer", range(6))
def test_single_layers(traced: Both, layer: int) -> None:
    theirs, ours = (one.compute_global_heat_map(layer_idx=layer).heat_maps for one in traced)
    assert_equal(theirs, ours)


@pytest.mark.parametrize("head", range(2))
def test_single_heads(traced: Both, head: int) -> None:
    theirs, ours = (one.compute_global_heat_map(head_idx=head).heat_maps for one in traced)
    assert_equal(theirs, ours)


@pytest.mark.parametrize("factor", [1, 2])
def test_single_sizes(traced: Both, factor: int) -> None:
    theirs, ours = (one.compute_global_heat_map(factors={factor}).heat_maps for one in traced)
    assert_equal(theirs, ours)


def test_normalised_maps(traced: Both) -> None:
    theirs, ours = (one.compute_global_heat_map(normalize=True).heat_maps for one in traced)
    assert_equal(theirs, ours)


def test_words(traced: Both) -> None:
    theirs, ours = (one.compute_global_heat_map() for one in traced)
    for word in ours.words:
        assert_equal(
            theirs.compute_word_heat_map(word).heatmap, ours.compute_word_heat_map(word).heatmap
        )


def test_tokens_by_number_and_offset(traced: Both) -> None:
    theirs, ours = (one.compute_global_heat_map() for one in traced)
    for given in ({"word_idx": 2}, {"offset_idx": 1}):
        assert_equal(
            theirs.compute_word_heat_map(ours.words[0], **given).heatmap,
            ours.compute_word_heat_map(ours.words[0], **given).heatmap,
        )
