"""How good the models of the zoo are, on scenes and prompts that training never saw."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DModel,
    UniPCMultistepScheduler,
)
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from companion.figures import save_enlarged, sheet, tile
from companion.metrics import kid, nearest, peak_signal_to_noise, percent
from companion.recipes.pictures import scene_batch
from companion.recipes.recipe import Recipe
from companion.scenes import HELD_OUT, Subset, backgrounds, caption, scene, subset
from companion.zoo.assembled import folder
from companion.zoo.recognise import as_batch, recognise, scene_features
from companion.zoo.registry import Entry

from .card import Figures
from .depth import depth_estimator, depth_to_image
from .upscaler import upscaler


def measure(recipe: Recipe, model: Entry, device: torch.device) -> Figures:
    """The figures of a model's card; example pictures are written beside the model's files.

    Args:
        recipe: what made the model.
        model: the model.
        device: where the model runs; the classifier always runs on the CPU.
    """
    by_task: dict[str, Callable[[Recipe, Path, Path, torch.device], Figures]] = {
        "classifier": _classifier,
        "autoencoder": _autoencoder,
        "text-to-image": _text_to_image,
        "unconditional": _unconditional,
        "upscaling": upscaler,
        "depth-estimation": depth_estimator,
        "depth-to-image": depth_to_image,
    }
    return by_task[recipe.task](recipe, folder(model.name), model.path, device)


def _classifier(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    total = named = extra = scenes_right = backgrounds_right = 0
    count = 4000
    for start in tqdm(range(0, count, 100), desc="held-out scenes", unit="batch"):
        seeds = range(HELD_OUT + start, HELD_OUT + start + 100)
        images, scenes = scene_batch(seeds, recipe.subset, 64)
        for one, seen in zip(scenes, recognise(images), strict=True):
            there, said = {thing.name for thing in one.objects}, set(seen.objects)
            total += len(there)
            named += len(there & said)
            extra += len(said - there)
            scenes_right += there == said
            backgrounds_right += one.background == seen.background
    return {
        "held-out scenes": count,
        "objects that are there and named, %": 100 * named / total,
        "objects named that are not there, %": 100 * extra / total,
        "scenes with exactly the right objects, %": 100 * scenes_right / count,
        "backgrounds right, %": 100 * backgrounds_right / count,
    }


def _autoencoder(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    vae = AutoencoderKL.from_pretrained(home, use_safetensors=True).to(device).eval()
    count, psnr = 1000, []
    for start in tqdm(range(0, count, 50), desc="held-out scenes", unit="batch"):
        seeds = range(HELD_OUT + start, HELD_OUT + start + 50)
        images, _ = scene_batch(seeds, recipe.subset, 64)
        with torch.inference_mode():
            decoded = vae.decode(vae.encode(images.to(device)).latent_dist.mean).sample.cpu()
        psnr.append(peak_signal_to_noise(images, decoded.clamp(-1, 1)))
        if start == 0:
            rows = [images[:8], decoded[:8], images[8:16], decoded[8:16]]
            save_enlarged(tile(torch.cat(rows)), pictures / "samples.png", 2)
    every = torch.cat(psnr)
    return {
        "held-out scenes": count,
        "PSNR, mean, dB": every.mean().item(),
        "PSNR, worst twentieth below, dB": every.quantile(0.05).item(),
    }


def one_object_prompts(world: Subset) -> Iterator[tuple[str, str, str]]:
    """Prompt, object and background, for every pair of the two."""
    for name in world.objects:
        for colour in backgrounds():
            yield caption([name], background=colour), name, colour


def two_object_prompts(world: Subset, count: int) -> Iterator[tuple[str, set[str], str]]:
    """Prompt, objects and background of held-out two-object scenes."""
    found, seed = 0, HELD_OUT
    while found < count:
        seed += 1
        one = scene(seed, subset=world)
        if len(one.objects) == 2 and one.background in one.caption:
            found += 1
            yield one.caption, {thing.name for thing in one.objects}, one.background


def _text_to_image(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    pipeline = StableDiffusionPipeline.from_pretrained(
        home, dtype=torch.float32, use_safetensors=True
    ).to(device)
    # Pure noise belongs to the last timestep; "leading", from the file, would begin below it.
    pipeline.scheduler = UniPCMultistepScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="linspace"
    )
    pipeline.set_progress_bar_config(disable=True)
    scale = recipe.settings["guidance_scale"]
    world = subset(recipe.subset)

    def draw(prompts: list[str], first_seed: int) -> list[Image.Image]:
        images: list[Image.Image] = []
        for start in tqdm(range(0, len(prompts), 16), desc="prompts", unit="batch"):
            part = prompts[start : start + 16]
            generators = [
                torch.Generator().manual_seed(first_seed + start + n) for n in range(len(part))
            ]
            images += pipeline(
                part, num_inference_steps=25, guidance_scale=scale, generator=generators
            ).images
        return images

    single = list(one_object_prompts(world)) * 2
    images = draw([prompt for prompt, _, _ in single], 0)
    save_enlarged(
        sheet(images[: len(single) // 2], len(backgrounds())), pictures / "samples.png", 1
    )
    seen = recognise(images)
    rows = [
        (name in what.objects, what.objects == (name,), colour == what.background, (name, colour))
        for (_, name, colour), what in zip(single, seen, strict=True)
    ]
    unseen = [row for row in rows if row[3] in world.held_out]
    double = list(two_object_prompts(world, 200))
    images = draw([prompt for prompt, _, _ in double], 10_000)
    save_enlarged(sheet(images[:64], 8), pictures / "samples-two-objects.png", 1)
    pairs = [
        (names <= set(what.objects), colour == what.background)
        for (_, names, colour), what in zip(double, recognise(images), strict=True)
    ]
    return {
        "steps (UniPC)": 25,
        "guidance scale": scale,
        "one-object prompts": len(rows),
        "one object: named by the classifier, %": percent(row[0] for row in rows),
        "one object: that and nothing else, %": percent(row[1] for row in rows),
        "one object: background right, %": percent(row[2] for row in rows),
        "pairs of object and background never trained on": len(unseen),
        "never trained on: object named, %": percent(row[0] for row in unseen),
        "never trained on: background right, %": percent(row[2] for row in unseen),
        "two-object prompts": len(pairs),
        "two objects: both named, %": percent(row[0] for row in pairs),
        "two objects: background right, %": percent(row[1] for row in pairs),
    }


def _unconditional(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    unet = UNet2DModel.from_pretrained(home, use_safetensors=True).to(device).eval()
    size, count = unet.config.sample_size, 1000
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((count, 3, size, size), generator=generator)
    drawn = torch.cat([_ddim(unet, part.to(device), home) for part in tqdm(noise.split(100))])
    held_out, _ = scene_batch(range(HELD_OUT, HELD_OUT + count), recipe.subset, size)
    others, _ = scene_batch(range(HELD_OUT + count, HELD_OUT + 2 * count), recipe.subset, size)
    features = {
        name: scene_features(as_batch(images))
        for name, images in (("drawn", drawn), ("real", held_out), ("other", others))
    }
    features["noise"] = scene_features(as_batch(noise))
    world = subset(recipe.subset)
    seen = recognise(drawn)
    # Seeds of training begin at 0: these are scenes that the model has learned from.
    trained, _ = scene_batch(range(20_000), recipe.subset, size)
    to_drawn, found = nearest(drawn[:200], trained, 3)
    to_real, _ = nearest(held_out[:200], trained)
    rows = [torch.cat([drawn[n : n + 1], trained[found[n]]]) for n in range(16)]
    save_enlarged(tile(torch.cat(rows), 16), pictures / "neighbours.png", 2)
    save_enlarged(tile(drawn[:64], 16), pictures / "samples.png", 2)
    return {
        "pictures drawn (DDIM, 50 steps)": count,
        "KID to held-out scenes": kid(features["drawn"], features["real"]),
        "KID of two sets of held-out scenes": kid(features["other"], features["real"]),
        "KID of noise": kid(features["noise"], features["real"]),
        "one of its objects named, %": percent(
            len(what.objects) == 1 and what.objects[0] in world.objects for what in seen
        ),
        "distance to the nearest of 20,000 training scenes, median": to_drawn[:, 0].median().item(),
        "the same for held-out scenes, median": to_real.median().item(),
    }


@torch.inference_mode()
def _ddim(unet: UNet2DModel, sample: Tensor, home: Path) -> Tensor:
    scheduler = DDIMScheduler.from_pretrained(home)
    scheduler.set_timesteps(50)
    for t in scheduler.timesteps:
        sample = scheduler.step(unet(sample, t).sample, t, sample).prev_sample
    return sample.cpu()
