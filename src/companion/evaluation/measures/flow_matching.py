"""How good text to image by flow matching is: asked as the zoo's Stable Diffusion is."""

from pathlib import Path

import torch
from PIL import Image

from companion.recipes.recipe import Recipe
from companion.scenes import subset

from ..card import Figures
from ..drawing import generators, load
from ..text_to_pictures import measure_drawing


def measure(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    """What the classifier names on pictures of prompts, and how near they are to true scenes."""
    pipeline = load(home, device, text_encoder_3=None, tokenizer_3=None)
    scale = recipe.settings["guidance_scale"]

    def draw(prompts: list[str], first_seed: int) -> list[Image.Image]:
        images: list[Image.Image] = pipeline(
            prompts,
            num_inference_steps=25,
            guidance_scale=scale,
            max_sequence_length=0,  # there is no T5 encoder: none of its empty tokens
            generator=generators(first_seed, len(prompts)),
        ).images
        return images

    return {
        "steps (Euler)": 25,
        "guidance scale": scale,
        "shift of the timesteps": pipeline.scheduler.config.shift,
        **measure_drawing(draw, subset(recipe.subset), pictures),
    }
