"""The models that see a picture or a depth beside the prompt do what their cards say."""

import pytest
import torch
from companion.evaluation.depth import NEAR, object_masks
from companion.recipes.upscaler import enlarge, shrink
from diffusers import StableDiffusionDepth2ImgPipeline, StableDiffusionUpscalePipeline

from companion.metrics import overlap, peak_signal_to_noise
from companion.recipes.depth import scene_depths
from companion.recipes.pictures import scene_batch
from companion.scenes import HELD_OUT, Scene
from companion.zoo import folder, recognise

SEEDS = range(HELD_OUT + 10**9, HELD_OUT + 10**9 + 8)


@pytest.fixture(scope="module")
def scenes() -> tuple[torch.Tensor, list[Scene]]:
    return scene_batch(SEEDS, "stable-diffusion", 64)


@pytest.fixture(scope="module")
def depth_pipeline() -> StableDiffusionDepth2ImgPipeline:
    pipeline = StableDiffusionDepth2ImgPipeline.from_pretrained(
        folder("depth"), dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.slow
def test_the_upscaler_is_nearer_to_the_scene_than_bicubic(
    scenes: tuple[torch.Tensor, list[Scene]],
) -> None:
    images, world = scenes
    pipeline = StableDiffusionUpscalePipeline.from_pretrained(
        folder("upscaler"), dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    small = shrink(images)
    large = pipeline(
        [one.caption for one in world],
        image=(small + 1) / 2,
        num_inference_steps=12,
        guidance_scale=1.0,
        noise_level=5,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).images
    ours = peak_signal_to_noise(images, large * 2 - 1)
    bicubic = peak_signal_to_noise(images, enlarge(small))
    assert ours.mean() > bicubic.mean()
    assert (ours > bicubic).sum() >= 6


@pytest.mark.slow
def test_objects_lie_where_the_depth_says(
    scenes: tuple[torch.Tensor, list[Scene]], depth_pipeline: StableDiffusionDepth2ImgPipeline
) -> None:
    images, world = scenes
    depths = scene_depths(world)
    drawn = depth_pipeline(
        [one.caption for one in world],
        image=torch.full_like(images, 0.5),
        depth_map=depths,
        strength=1.0,
        num_inference_steps=12,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).images
    found, near = object_masks(drawn * 2 - 1), depths > NEAR
    # A yellow star on yellow cannot be found by its colour, not even in the scene itself.
    visible = overlap(object_masks(images), near) > 0.8
    assert visible.sum() >= 5
    placed, elsewhere = overlap(found, near)[visible], overlap(found, near.roll(1, 0))[visible]
    assert placed.mean() > 0.65
    assert placed.mean() > 2 * elsewhere.mean()


@pytest.mark.slow
def test_the_depth_pipeline_estimates_the_depth_of_a_picture_by_itself(
    scenes: tuple[torch.Tensor, list[Scene]], depth_pipeline: StableDiffusionDepth2ImgPipeline
) -> None:
    one = next(one for one in scenes[1] if len(one.objects) == 1)
    changed = depth_pipeline(
        f"a panda on a {one.background} background",
        image=one.image,
        strength=1.0,
        num_inference_steps=12,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(0),
    ).images[0]
    assert recognise(changed)[0].objects == ("panda",)


def test_the_depth_estimator_finds_the_objects(
    depth_pipeline: StableDiffusionDepth2ImgPipeline,
) -> None:
    _, world = scene_batch(range(HELD_OUT + 10**9, HELD_OUT + 10**9 + 50), "all", 64)
    pixels = depth_pipeline.feature_extractor([one.image for one in world], return_tensors="pt")
    with torch.no_grad():
        said = depth_pipeline.depth_estimator(pixels.pixel_values).predicted_depth
    assert overlap(said > NEAR, scene_depths(world) > NEAR).mean() > 0.8


def test_object_masks_are_the_scenes_own_where_colours_differ(
    scenes: tuple[torch.Tensor, list[Scene]],
) -> None:
    images, world = scenes
    exact = torch.stack([torch.from_numpy(one.masks.any(0)) for one in world])
    assert overlap(object_masks(images), exact).median() > 0.9
