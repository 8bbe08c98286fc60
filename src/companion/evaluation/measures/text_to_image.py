"""How good text to image is: is on the picture what the prompt says?"""

from pathlib import Path

import torch
from diffusers import UniPCMultistepScheduler
from PIL import Image

from companion.recipes.recipe import Recipe
from companion.scenes import subset

from ..card import Figures
from ..drawing import generators, load
from ..text_to_pictures import measure_drawing


def measure(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    """What the classifier names on pictures of prompts, and how near they are to true scenes."""
    pipeline = load(home, device)
    # Pure noise belongs to the last timestep; "leading", from the file, would begin below it.
    pipeline.scheduler = UniPCMultistepScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="linspace"
    )
    scale = recipe.settings["guidance_scale"]

    def draw(prompts: list[str], first_seed: int) -> list[Image.Image]:
        images: list[Image.Image] = pipeline(
            prompts,
            num_inference_steps=25,
            guidance_scale=scale,
            generator=generators(first_seed, len(prompts)),
        ).images
        return images

    return {
        "steps (UniPC)": 25,
        "guidance scale": scale,
        **measure_drawing(draw, subset(recipe.subset), pictures),
    }
