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
from PIL import Image

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
    """The zoo's model as one that daam takes for 512 pixels, so that its maps are 64 x 64."""
    pipe = StableDiffusionPipeline(**loaded.components, requires_safety_checker=False)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    side = 256 if request.param == PROMPTS[0] else 128  # latents of 64 x 64, and half that
    size = pipe.unet.config.sample_size
    pipe.unet.register_to_config(sample_size=512 // pipe.vae_scale_factor)
    try:
        with daam.trace(pipe) as theirs, trace(pipe) as ours:
            given = {"num_inference_steps": 2, "output_type": "latent"}
            draw(pipe, request.param, height=side, width=side, **given)
    finally:
        pipe.unet.register_to_config(sample_size=size)
    return theirs, ours


def global_maps(traced: Both, **given: Any) -> tuple[torch.Tensor, torch.Tensor]:
    theirs, ours = traced
    return (
        theirs.compute_global_heat_map(**given).heat_maps,
        ours.compute_global_heat_map(**given, size=(64, 64)).heat_maps,
    )


def test_global_maps(traced: Both) -> None:
    assert_equal(*global_maps(traced))


@pytest.mark.parametrize("layer", range(6))
def test_single_layers(traced: Both, layer: int) -> None:
    assert_equal(*global_maps(traced, layer_idx=layer))


@pytest.mark.parametrize("head", range(2))
def test_single_heads(traced: Both, head: int) -> None:
    assert_equal(*global_maps(traced, head_idx=head))


def test_a_head_of_a_layer(traced: Both) -> None:
    assert_equal(*global_maps(traced, head_idx=1, layer_idx=4))


@pytest.mark.parametrize("halvings", [0, 1])
def test_single_sizes(traced: Both, halvings: int) -> None:
    theirs, ours = traced
    # daam counts from its 64 x 64, we from the latents.
    factor = 64 // ours.height * 2**halvings
    assert_equal(
        theirs.compute_global_heat_map(factors={factor}).heat_maps,
        ours.compute_global_heat_map(factors={2**halvings}, size=(64, 64)).heat_maps,
    )


def test_normalised_maps(traced: Both) -> None:
    assert_equal(*global_maps(traced, normalize=True))


def word_maps(traced: Both, word: str, **given: Any) -> tuple[torch.Tensor, torch.Tensor]:
    theirs, ours = traced
    return (
        theirs.compute_global_heat_map().compute_word_heat_map(word, **given).heatmap,
        ours.compute_global_heat_map(size=(64, 64)).compute_word_heat_map(word, **given).heatmap,
    )


def test_every_word(traced: Both) -> None:
    for word in traced[1].compute_global_heat_map().words:
        assert_equal(*word_maps(traced, word))


def test_the_whole_prompt_as_a_phrase(traced: Both) -> None:
    assert_equal(*word_maps(traced, traced[1].prompts[0].prompt))


def test_a_token_by_its_number(traced: Both) -> None:
    assert_equal(*word_maps(traced, "third", word_idx=2))


def test_an_offset(traced: Both) -> None:
    first = traced[1].compute_global_heat_map().words[0]
    assert_equal(*word_maps(traced, first, offset_idx=1))


def test_the_zoos_model_as_it_is(loaded: StableDiffusionPipeline, draw: Draw) -> None:
    """At 64 pixels daam takes it for a model of 768, and finds its two sizes as 6 and 12."""
    pipe = StableDiffusionPipeline(**loaded.components, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    with daam.trace(pipe) as theirs, trace(pipe) as ours:
        draw(pipe, PROMPTS[1])
    assert_equal(
        theirs.compute_global_heat_map(factors={6, 12}).heat_maps,
        ours.compute_global_heat_map(size=(96, 96)).heat_maps,
    )


def test_masks_and_overlaps(traced: Both) -> None:
    theirs, ours = traced
    picture = Image.new("RGB", (96, 96))
    first, last = (ours.compute_global_heat_map().words[i] for i in (0, -1))
    for threshold in (None, 0.4):
        assert_equal(
            theirs.compute_global_heat_map()
            .compute_word_heat_map(first)
            .expand_as(picture, threshold=threshold),
            ours.compute_global_heat_map(size=(64, 64))
            .compute_word_heat_map(first)
            .expand_as(picture, threshold=threshold),
        )
    overlaps = [
        maps.compute_word_heat_map(first).compute_ioa(maps.compute_word_heat_map(last))
        for maps in (
            theirs.compute_global_heat_map(),
            ours.compute_global_heat_map(size=(64, 64)),
        )
    ]
    assert overlaps[0] == pytest.approx(overlaps[1], rel=1e-5)


def test_no_word_makes_daam_fetch_its_spacy_model(
    traced: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its `parsed_heat_maps` and `dependency_relations` load it, or else fetch it."""

    def fetch(*_: Any) -> None:
        raise AssertionError("daam reached for its spaCy model")

    monkeypatch.setattr("spacy.load", fetch)
    monkeypatch.setattr("os.system", fetch)
    monkeypatch.setattr("socket.socket", fetch)
    heat_map = traced[0].compute_global_heat_map()
    heat_map.compute_word_heat_map(traced[1].compute_global_heat_map().words[0])
    with pytest.raises(AssertionError, match="reached for"):
        list(heat_map.parsed_heat_maps())
