"""How good depth to image is: does the object lie where the depth says?"""

from pathlib import Path

import torch
from torch import Tensor

from companion.figures import save_enlarged, to_pil
from companion.metrics import iou, percent
from companion.recipes.depth import NEAR, as_pictures, scene_depths
from companion.recipes.pictures import compared
from companion.recipes.recipe import Recipe
from companion.scenes import Scene, caption, subset
from companion.zoo.recognise import Seen, recognise
from companion.zoo.segmentation import foreground

from ..card import Figures
from ..drawing import draw, load
from ..held_out import held_out

COUNT, BATCH, STEPS = 320, 16, 20


def foregrounds(images: Tensor) -> Tensor:
    """Where pictures are not background: (batch, 3, height, width) in -1..1 to bool (batch, height,
    width)."""
    return torch.stack([torch.from_numpy(foreground(picture)) for picture in to_pil(images)])


def measure(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    """Drawn from a plain gray picture, so that the depth alone says where things are."""
    pipeline, scale = load(home, device), recipe.settings["guidance_scale"]
    settings = {"strength": 1.0, "num_inference_steps": STEPS, "guidance_scale": scale}
    world = subset(recipe.subset)
    batches, scenes, others = [], [], []
    for start, images, part in held_out(recipe.subset, COUNT, BATCH):
        depths = scene_depths(part)
        swapped = [another(scene, world.objects, start + n) for n, scene in enumerate(part)]
        captions = [scene.caption for scene in part]
        gray = torch.full(images.shape, 0.5)  # `full_like` keeps strides, which round otherwise
        drawn = draw(pipeline, captions, start, image=gray, depth_map=depths, **settings)
        alone = [n for n, scene in enumerate(part) if len(scene.objects) == 1]
        prompts = [swapped[n][0] for n in alone]
        changed = draw(
            pipeline, prompts, start, image=gray[alone], depth_map=depths[alone], **settings
        )
        others += [
            (swapped[n][1] in what.objects, iou(mask, depths[n] > NEAR).item())
            for n, what, mask in zip(alone, recognise(changed), foregrounds(changed), strict=True)
        ]
        scenes += part
        batches.append((images, depths > NEAR, drawn))
        if start == 0:
            rows = as_pictures(depths), drawn, images
            save_enlarged(compared(*rows), pictures / "samples.png", 2)
    images, near, drawn = (torch.cat(parts) for parts in zip(*batches, strict=True))
    found = foregrounds(drawn)
    seen = recognise(drawn)
    return {
        "held-out scenes": COUNT,
        "steps (Euler, ancestral)": STEPS,
        "guidance scale": scale,
        "object against depth, IoU, mean": iou(found, near).mean().item(),
        "the same with another scene's depth": iou(found, near.roll(1, 0)).mean().item(),
        "the same of the scenes themselves": iou(foregrounds(images), near).mean().item(),
        "every object named, %": percent(map(named, scenes, seen)),
        "background right, %": percent(
            scene.background == what.background
            for scene, what in zip(scenes, seen, strict=True)
            if scene.background in scene.caption
        ),
        "scenes with one object, another one asked for": len(others),
        "the other one named, %": percent(named for named, _ in others),
        "the other one against depth, IoU, mean": sum(found for _, found in others) / len(others),
    }


def named(scene: Scene, what: Seen) -> bool:
    """Whether the classifier sees every object of the scene on a picture."""
    return {thing.name for thing in scene.objects} <= set(what.objects)


def another(scene: Scene, names: tuple[str, ...], number: int) -> tuple[str, str]:
    """A caption with another object before the same background, and the object."""
    rest = [name for name in names if name not in {thing.name for thing in scene.objects}]
    name = rest[number % len(rest)]
    return caption([name], background=scene.background), name
