"""How good a ControlNet of masks is: does the object lie where the mask says?"""

from pathlib import Path

import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionControlNetPipeline,
    UniPCMultistepScheduler,
)

from companion.figures import save_enlarged
from companion.metrics import iou, percent
from companion.recipes.pictures import compared
from companion.recipes.recipe import Recipe
from companion.recipes.tasks.controlnet import controls
from companion.scenes import subset
from companion.zoo.assembled import folder
from companion.zoo.recognise import recognise

from ..card import Figures
from ..drawing import draw
from ..held_out import held_out
from .depth_to_image import another, foregrounds, named

COUNT, BATCH, STEPS = 96, 16, 10


def with_controlnet(
    base: Path, home: Path, device: torch.device
) -> StableDiffusionControlNetPipeline:
    """The pipeline in the folder `base` with the ControlNet in `home`, in float32, with UniPC and
    without its progress bar."""
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(
        base,
        controlnet=ControlNetModel.from_pretrained(home, dtype=torch.float32, use_safetensors=True),
        dtype=torch.float32,
        use_safetensors=True,
        safety_checker=None,
        requires_safety_checker=False,
    )
    pipeline.scheduler = UniPCMultistepScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="linspace"
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def measure(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    """Drawn with the masks of held-out scenes, with their captions and with others, and without
    the ControlNet from the same noise."""
    pipeline = with_controlnet(folder(recipe.settings["base"]), home, device)
    scale = recipe.settings["guidance_scale"]
    settings = {"num_inference_steps": STEPS, "guidance_scale": scale}
    world = subset(recipe.subset)
    batches, scenes, others = [], [], []
    for start, images, part in held_out(recipe.subset, COUNT, BATCH):
        given = controls(part)
        captions = [scene.caption for scene in part]
        drawn = draw(pipeline, captions, start, image=given, **settings)
        free = draw(
            pipeline, captions, start, image=given, controlnet_conditioning_scale=0.0, **settings
        )
        alone = [n for n, scene in enumerate(part) if len(scene.objects) == 1]
        swapped = [another(part[n], world.objects, start + n) for n in alone]
        changed = draw(
            pipeline, [prompt for prompt, _ in swapped], start, image=given[alone], **settings
        )
        masks = given[:, 0] > 0.5
        others += [
            (name in what.objects, overlap)
            for (_, name), what, overlap in zip(
                swapped,
                recognise(changed),
                iou(foregrounds(changed), masks[alone]).tolist(),
                strict=True,
            )
        ]
        scenes += part
        batches.append((images, masks, drawn, free))
        if start == 0:
            rows = given * 2 - 1, free, drawn, images
            save_enlarged(compared(*rows), pictures / "samples.png", 2)
    images, masks, drawn, free = (torch.cat(parts) for parts in zip(*batches, strict=True))
    found = foregrounds(drawn)
    seen = recognise(drawn)
    return {
        "held-out scenes": COUNT,
        "steps (UniPC)": STEPS,
        "guidance scale": scale,
        "objects against the mask, IoU, mean": iou(found, masks).mean().item(),
        "the same without the ControlNet": iou(foregrounds(free), masks).mean().item(),
        "the same with another scene's mask": iou(found, masks.roll(1, 0)).mean().item(),
        "the same of the scenes themselves": iou(foregrounds(images), masks).mean().item(),
        "every object named, %": percent(map(named, scenes, seen)),
        "the same without the ControlNet, %": percent(map(named, scenes, recognise(free))),
        "background right, %": percent(
            scene.background == what.background
            for scene, what in zip(scenes, seen, strict=True)
            if scene.background in scene.caption
        ),
        "scenes with one object, another one asked for": len(others),
        "the other one named, %": percent(was for was, _ in others),
        "the other one against the mask, IoU, mean": sum(lies for _, lies in others) / len(others),
    }
