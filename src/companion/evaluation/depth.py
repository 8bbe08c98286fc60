"""How good depth estimation and depth to image are: does the object lie where the depth says?"""

from pathlib import Path

import torch
from diffusers import StableDiffusionDepth2ImgPipeline
from torch import Tensor
from tqdm.auto import tqdm
from transformers import DPTForDepthEstimation

from companion.figures import save_enlarged, tile
from companion.metrics import overlap, percent
from companion.recipes.depth import scene_depths
from companion.recipes.pictures import scene_batch
from companion.recipes.recipe import Recipe
from companion.scenes import HELD_OUT, Scene, caption, subset
from companion.zoo.recognise import Seen, recognise

from .card import Figures

COUNT, BATCH, STEPS = 320, 16, 20
NEAR = 0.15  # less than half of the smallest object's inverse depth
APART = 0.2  # how far a colour is from the background's, in -1..1, where an object begins


def object_masks(images: Tensor) -> Tensor:
    """Where a picture differs from its background, the median colour of its edge: (batch, 3,
    height, width) in -1..1 to bool (batch, height, width)."""
    edge = torch.ones(images.shape[-2:], dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    background = images[..., edge].median(dim=-1).values
    return (images - background[..., None, None]).abs().amax(dim=1) > APART


def depth_estimator(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    """Error of the inverse depth, and how well objects are found."""
    model = (
        DPTForDepthEstimation.from_pretrained(home, dtype=torch.float32, use_safetensors=True)
        .to(device)
        .eval()
    )
    count, batch = 1000, 50
    errors, plain, overlaps, nearer = [], [], [], []
    for start in tqdm(range(0, count, batch), desc="held-out scenes", unit="batch"):
        seeds = range(HELD_OUT + start, HELD_OUT + start + batch)
        images, scenes = scene_batch(seeds, recipe.subset, 64)
        with torch.inference_mode():
            said = model(images.to(device)).predicted_depth.cpu()
        true = scene_depths(scenes)
        errors.append((said - true).abs().mean(dim=(1, 2)))
        plain.append((true.mean() - true).abs().mean(dim=(1, 2)))
        overlaps.append(overlap(said > NEAR, true > NEAR))
        nearer += _nearer_right(scenes, said)
        if start == 0:
            maps = [(depth[:, None] * 2 - 1).expand_as(images) for depth in (true, said)]
            sets = [row[n : n + 8] for n in (0, 8) for row in (images, *maps)]
            save_enlarged(tile(torch.cat(sets)), pictures / "samples.png", 2)
    return {
        "held-out scenes": count,
        "mean absolute error of the inverse depth": torch.cat(errors).mean().item(),
        "the same of one value everywhere": torch.cat(plain).mean().item(),
        "objects against background, IoU, mean": torch.cat(overlaps).mean().item(),
        "pairs of which one object is nearer": len(nearer),
        "the nearer one found, %": percent(nearer),
    }


def _nearer_right(scenes: list[Scene], said: Tensor) -> list[bool]:
    answers = []
    for one, depth in zip(scenes, said, strict=True):
        sides = [thing.side for thing in one.objects]
        if len(set(sides)) == 2:
            means = [depth[torch.from_numpy(mask)].mean().item() for mask in one.masks]
            answers.append((means[0] > means[1]) == (sides[0] > sides[1]))
    return answers


def depth_to_image(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    """Drawn from a plain gray picture, so that the depth alone says where things are."""
    pipeline = StableDiffusionDepth2ImgPipeline.from_pretrained(
        home, dtype=torch.float32, use_safetensors=True
    ).to(device)
    pipeline.set_progress_bar_config(disable=True)
    scale = recipe.settings["guidance_scale"]
    world = subset(recipe.subset)
    batches, scenes, others = [], [], []
    for start in tqdm(range(0, COUNT, BATCH), desc="held-out scenes", unit="batch"):
        seeds = range(HELD_OUT + start, HELD_OUT + start + BATCH)
        images, part = scene_batch(seeds, recipe.subset, 64)
        depths = scene_depths(part)
        swapped = [_another(one, world.objects, start + n) for n, one in enumerate(part)]
        drawn = draw(pipeline, [one.caption for one in part], depths, scale, start)
        alone = [n for n, one in enumerate(part) if len(one.objects) == 1]
        prompts = [swapped[n][0] for n in alone]
        changed = draw(pipeline, prompts, depths[alone], scale, start)
        others += [
            (swapped[n][1] in what.objects, overlap(mask[None], depths[n][None] > NEAR).item())
            for n, what, mask in zip(alone, recognise(changed), object_masks(changed), strict=True)
        ]
        scenes += part
        batches.append((images, depths > NEAR, drawn))
        if start == 0:
            maps = (depths[:, None] * 2 - 1).expand_as(images)
            sets = [row[n : n + 8] for n in (0, 8) for row in (maps, drawn, images)]
            save_enlarged(tile(torch.cat(sets)), pictures / "samples.png", 2)
    images, near, drawn = (torch.cat(parts) for parts in zip(*batches, strict=True))
    found = object_masks(drawn)
    seen = recognise(drawn)
    return {
        "held-out scenes": COUNT,
        "steps (Euler, ancestral)": STEPS,
        "guidance scale": scale,
        "object against depth, IoU, mean": overlap(found, near).mean().item(),
        "the same with another scene's depth": overlap(found, near.roll(1, 0)).mean().item(),
        "the same of the scenes themselves": overlap(object_masks(images), near).mean().item(),
        "every object named, %": percent(map(_named, scenes, seen)),
        "background right, %": percent(
            one.background == what.background
            for one, what in zip(scenes, seen, strict=True)
            if one.background in one.caption
        ),
        "scenes with one object, another one asked for": len(others),
        "the other one named, %": percent(named for named, _ in others),
        "the other one against depth, IoU, mean": sum(iou for _, iou in others) / len(others),
    }


def _named(one: Scene, what: Seen) -> bool:
    return {thing.name for thing in one.objects} <= set(what.objects)


def _another(one: Scene, names: tuple[str, ...], number: int) -> tuple[str, str]:
    """A caption with another object before the same background, and the object."""
    rest = [name for name in names if name not in {thing.name for thing in one.objects}]
    name = rest[number % len(rest)]
    return caption([name], background=one.background), name


def draw(
    pipeline: StableDiffusionDepth2ImgPipeline,
    prompts: list[str],
    depths: Tensor,
    scale: float,
    first_seed: int,
) -> Tensor:
    """The model's pictures, (batch, 3, 64, 64) in -1..1, a seed for each."""
    images = pipeline(
        prompts,
        image=torch.full((len(prompts), 3, 64, 64), 0.5),
        depth_map=depths,
        strength=1.0,
        num_inference_steps=STEPS,
        guidance_scale=scale,
        generator=[torch.Generator().manual_seed(first_seed + n) for n in range(len(prompts))],
        output_type="pt",
    ).images
    return images.cpu() * 2 - 1
