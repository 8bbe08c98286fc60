"""Every task has its measure, and the models that see a picture or a depth do what their cards
say."""

from importlib import import_module

import pytest
import torch
from diffusers import StableDiffusionDepth2ImgPipeline, StableDiffusionUpscalePipeline

from companion.evaluation.drawing import draw
from companion.evaluation.measures import classifier, measure
from companion.evaluation.measures.controlnet import with_controlnet
from companion.evaluation.measures.depth_to_image import foregrounds
from companion.metrics import iou, peak_signal_noise_ratio
from companion.recipes.depth import NEAR, scene_depths
from companion.recipes.pictures import scene_batch
from companion.recipes.recipe import load_recipe
from companion.recipes.tasks import TASKS
from companion.recipes.tasks.controlnet import controls
from companion.recipes.tasks.upscaling import enlarge, shrink
from companion.scenes import HELD_OUT, Scene
from companion.zoo import entries, folder, recognise

FIRST = HELD_OUT + 10**9  # no seed that a card was measured on


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_measure(task: str) -> None:
    module = import_module(f"companion.evaluation.measures.{task.replace('-', '_')}")
    assert callable(module.measure)


def test_a_model_is_measured_as_its_recipes_task_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "measure", lambda *given: {"given": len(given)})
    recipe, model = load_recipe("classifier"), entries()["classifier"]
    assert measure(recipe, model, torch.device("cpu")) == {"given": 4}


@pytest.fixture(scope="module")
def scenes() -> tuple[torch.Tensor, list[Scene]]:
    return scene_batch(range(FIRST, FIRST + 8), "stable-diffusion", 64)


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
        [shown.caption for shown in world],
        image=(small + 1) / 2,
        num_inference_steps=12,
        guidance_scale=1.0,
        noise_level=5,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).images
    ours = peak_signal_noise_ratio(images, large * 2 - 1)
    bicubic = peak_signal_noise_ratio(images, enlarge(small))
    assert ours.mean() > bicubic.mean()
    assert (ours > bicubic).sum() >= 6


@pytest.mark.slow
def test_objects_lie_where_the_depth_says(
    scenes: tuple[torch.Tensor, list[Scene]], depth_pipeline: StableDiffusionDepth2ImgPipeline
) -> None:
    images, world = scenes
    depths = scene_depths(world)
    drawn = depth_pipeline(
        [shown.caption for shown in world],
        image=torch.full_like(images, 0.5),
        depth_map=depths,
        strength=1.0,
        num_inference_steps=12,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    ).images
    found, near = foregrounds(drawn * 2 - 1), depths > NEAR
    # A yellow star on yellow cannot be found by its colour, not even in the scene itself.
    visible = iou(foregrounds(images), near) > 0.8
    assert visible.sum() >= 5
    placed, elsewhere = iou(found, near)[visible], iou(found, near.roll(1, 0))[visible]
    assert placed.mean() > 0.65
    assert placed.mean() > 2 * elsewhere.mean()


@pytest.mark.slow
def test_the_depth_pipeline_estimates_the_depth_of_a_picture_by_itself(
    scenes: tuple[torch.Tensor, list[Scene]], depth_pipeline: StableDiffusionDepth2ImgPipeline
) -> None:
    shown = next(shown for shown in scenes[1] if len(shown.objects) == 1)
    changed = depth_pipeline(
        f"a panda on a {shown.background} background",
        image=shown.image,
        strength=1.0,
        num_inference_steps=12,
        guidance_scale=4.0,
        generator=torch.Generator().manual_seed(0),
    ).images[0]
    assert recognise(changed)[0].objects == ("panda",)


def test_the_depth_estimator_finds_the_objects(
    depth_pipeline: StableDiffusionDepth2ImgPipeline,
) -> None:
    _, world = scene_batch(range(FIRST, FIRST + 50), "all", 64)
    pixels = depth_pipeline.feature_extractor([shown.image for shown in world], return_tensors="pt")
    with torch.no_grad():
        said = depth_pipeline.depth_estimator(pixels.pixel_values).predicted_depth
    assert iou(said > NEAR, scene_depths(world) > NEAR).mean() > 0.8


@pytest.mark.slow
def test_objects_lie_where_the_controlnet_is_told(
    scenes: tuple[torch.Tensor, list[Scene]],
) -> None:
    images, world = scenes
    pipeline = with_controlnet(
        folder("stable-diffusion"), folder("controlnet"), torch.device("cpu")
    )
    given = controls(world)
    masks = given[:, 0] > 0.5
    settings = {"image": given, "num_inference_steps": 10, "guidance_scale": 4.0}
    captions = [shown.caption for shown in world]
    drawn = draw(pipeline, captions, 0, **settings)
    free = draw(pipeline, captions, 0, controlnet_conditioning_scale=0.0, **settings)
    visible = iou(foregrounds(images), masks) > 0.8
    assert visible.sum() >= 5
    placed, by_chance = (iou(foregrounds(each), masks)[visible] for each in (drawn, free))
    assert placed.mean() > by_chance.mean() + 0.15
