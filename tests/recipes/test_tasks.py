"""Every task: made from its recipe's seed, and true to what the stock libraries do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    StableDiffusionDepth2ImgPipeline,
    UNet2DConditionModel,
)
from PIL import Image
from safetensors.torch import load_file

from companion.recipes.depth import scene_depths, to_latent_size
from companion.recipes.latents import NoiseResidualTask
from companion.recipes.pictures import scene_batch
from companion.recipes.recipe import Recipe, load_recipe, recipe_names
from companion.recipes.stored import store
from companion.recipes.tasks import make_task
from companion.recipes.tasks.controlnet import controls
from companion.recipes.tasks.upscaling import rescale, shrink
from companion.recipes.trainer import Task, train
from companion.zoo import folder


def _short(name: str) -> Recipe:
    recipe = load_recipe(name)
    return replace(recipe, steps=2, batch_size=2, settings=recipe.settings | {"cached_scenes": 4})


def _task(recipe: Recipe, run: Path) -> Task:
    return make_task(recipe, torch.device("cpu"), run)


@pytest.mark.parametrize("name", recipe_names())
def test_first_weights_follow_from_the_recipes_seed_and_the_readers_generator_stays(
    name: str, tmp_path: Path
) -> None:
    first = _task(_short(name), tmp_path)
    torch.manual_seed(5)
    torch.rand(3)
    before = torch.get_rng_state()
    second = _task(_short(name), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    weights = second.trained.state_dict()
    assert all(torch.equal(weights[key], own) for key, own in first.trained.state_dict().items())
    assert torch.isfinite(second.loss(0, torch.Generator().manual_seed(0)))


def test_an_unknown_task_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match="names the task 'gan'; there are: autoencoder, classifier"
    ):
        _task(replace(load_recipe("ddpm"), task="gan"), tmp_path)


@pytest.mark.parametrize("name", ["upscaler", "depth", "controlnet"])
def test_a_fine_tuned_model_begins_as_the_one_it_comes_from(name: str, tmp_path: Path) -> None:
    task = _fine_tuned(name, tmp_path)
    stock = UNet2DConditionModel.from_pretrained(
        folder("stable-diffusion") / "unet", dtype=torch.float32
    )
    generator = torch.Generator().manual_seed(0)
    noisy, words = (
        torch.randn(2, 4, 16, 16, generator=generator),
        torch.randn(2, 77, 96, generator=generator),
    )
    given = {key: rows[:2].float() for key, rows in task.cached.items() if key != "ids"}
    with torch.no_grad():
        predicted = task.predict(noisy, torch.tensor([10, 900]), words, given, generator)
        expected = stock(noisy, torch.tensor([10, 900]), words).sample
    torch.testing.assert_close(predicted, expected, atol=1e-4, rtol=1e-4)


def _fine_tuned(name: str, home: Path) -> NoiseResidualTask:
    task = _task(_short(name), home)
    assert isinstance(task, NoiseResidualTask)
    return task


def test_training_moves_the_new_weights_of_the_upscaler_and_none_of_the_shared_parts(
    tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = _fine_tuned("upscaler", tmp_path)
    words = {name: weight.clone() for name, weight in task.text_encoder.state_dict().items()}
    monkeypatch.setattr(task, "grid", lambda: Image.new("RGB", (8, 8)))
    train(task)
    model = tmp_path / "model"
    assert {path.name for path in model.iterdir()} == {
        "model_index.json",
        "unet",
        "vae",
        "scheduler",
        "low_res_scheduler",
    }
    unet = load_file(model / "unet" / "diffusion_pytorch_model.safetensors")
    assert unet["conv_in.weight"][:, 4:].abs().max() > 0
    assert unet["class_embedding.weight"].abs().max() > 0
    assert all(
        torch.equal(words[name], weight) for name, weight in task.text_encoder.state_dict().items()
    )


def test_training_a_controlnet_moves_what_began_at_zero_and_nothing_of_the_unet(
    tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = _fine_tuned("controlnet", tmp_path)
    unet = {name: weight.clone() for name, weight in task.unet.state_dict().items()}
    monkeypatch.setattr(task, "grid", lambda: Image.new("RGB", (8, 8)))
    train(task)
    assert all(torch.equal(unet[name], own) for name, own in task.unet.state_dict().items())
    trained = ControlNetModel.from_pretrained(tmp_path / "model")
    for part in (trained.controlnet_mid_block, trained.controlnet_cond_embedding.conv_out):
        assert part.weight.abs().max() > 0


def test_a_control_is_white_where_an_object_is() -> None:
    _, scenes = scene_batch(range(4), "stable-diffusion", 64)
    white = controls(scenes)
    assert white.shape == (4, 3, 64, 64)
    assert set(white.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(white[0, 0] > 0.5, torch.from_numpy(scenes[0].masks.any(axis=0)))


def test_a_rescaled_autoencoder_gives_the_same_pictures_and_the_same_scaled_latents() -> None:
    vae, other = (
        AutoencoderKL.from_pretrained(folder("vae"), dtype=torch.float32) for _ in range(2)
    )
    rescale(other, 0.08333)
    images, _ = scene_batch(range(2), "all", 64)
    with torch.no_grad():
        ours, theirs = (v.encode(images).latent_dist for v in (vae, other))
        for mean, rescaled in ((ours.mean, theirs.mean), (ours.std, theirs.std)):
            torch.testing.assert_close(mean * vae.config.scaling_factor, rescaled * 0.08333)
        torch.testing.assert_close(
            vae.decode(ours.mean).sample,
            other.decode(theirs.mean).sample,
            atol=1e-4,
            rtol=1e-4,
        )


def test_small_pictures_are_those_that_pillow_makes() -> None:
    images, scenes = scene_batch(range(8), "all", 64)
    pillow = np.stack([np.asarray(scene.image.resize((16, 16))) for scene in scenes])
    ours = (shrink(images).permute(0, 2, 3, 1).numpy() + 1) * 127.5
    apart = np.abs(ours - pillow)  # Pillow rounds between its two passes
    assert apart.mean() < 0.3
    assert np.quantile(apart, 0.99) < 3


def test_latent_depth_is_what_the_stock_pipeline_makes_of_it() -> None:
    pipeline = StableDiffusionDepth2ImgPipeline.from_pretrained(folder("depth"))
    _, scenes = scene_batch(range(4), "stable-diffusion", 64)
    depths = scene_depths(scenes)
    stock = pipeline.prepare_depth_map(
        torch.zeros(4, 3, 64, 64), depths, 4, False, torch.float32, torch.device("cpu")
    )
    torch.testing.assert_close(to_latent_size(depths), stock)


def test_scenes_are_encoded_again_where_the_file_is_damaged_or_of_others(tmp_path: Path) -> None:
    task = _fine_tuned("upscaler", tmp_path)
    good, path = task.cached, tmp_path / "latents.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert torch.equal(_fine_tuned("upscaler", tmp_path).cached["latents"], good["latents"])
    store(path, {name: rows * 0 for name, rows in good.items()}, {"scenes": "others"})
    assert torch.equal(_fine_tuned("upscaler", tmp_path).cached["latents"], good["latents"])
