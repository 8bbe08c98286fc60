"""How good the upscaler is, beside bicubic enlarging."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from companion.figures import save_enlarged
from companion.metrics import peak_signal_noise_ratio, percent
from companion.recipes.pictures import compared
from companion.recipes.recipe import Recipe
from companion.recipes.tasks.upscaling import enlarge, shrink
from companion.zoo.recognise import Seen, recognise

from ..card import Figures
from ..drawing import draw, load
from ..held_out import held_out
from .autoencoder import reconstructed

COUNT, BATCH, STEPS, NOISE_LEVEL = 500, 20, 20, 5


def measure(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    """PSNR and what the classifier names, of the model's pictures and of bicubic ones."""
    pipeline, scale = load(home, device), recipe.settings["guidance_scale"]
    settings = {
        "num_inference_steps": STEPS,
        "guidance_scale": scale,
        "noise_level": NOISE_LEVEL,
    }
    scenes, seen = [], {}
    psnr: dict[str, list[Tensor]] = {"upscaler": [], "bicubic": [], "autoencoder": []}
    named: dict[str, list[Seen]] = {name: [] for name in psnr}
    for start, images, part in held_out(recipe.subset, COUNT, BATCH):
        small, captions = shrink(images), [scene.caption for scene in part]
        drawn = {
            "upscaler": draw(pipeline, captions, start, image=(small + 1) / 2, **settings),
            "bicubic": enlarge(small),
            # No upscaler in these latents can be nearer.
            "autoencoder": reconstructed(pipeline.vae, images),
        }
        scenes += part
        for name, batch in drawn.items():
            psnr[name].append(peak_signal_noise_ratio(images, batch))
            named[name] += recognise(batch)
        if start == 0:
            coarse = F.interpolate(small, scale_factor=4)
            rows = coarse, drawn["bicubic"], drawn["upscaler"], images
            save_enlarged(compared(*rows), pictures / "samples.png", 2)
    every = {name: torch.cat(parts) for name, parts in psnr.items()}
    for name, answers in named.items():
        seen[name] = percent(
            {thing.name for thing in scene.objects} == set(what.objects)
            for scene, what in zip(scenes, answers, strict=True)
        )
    return {
        "held-out scenes": COUNT,
        "steps (Euler, ancestral)": STEPS,
        "guidance scale": scale,
        "noise level": NOISE_LEVEL,
        "PSNR, mean, dB": every["upscaler"].mean().item(),
        "PSNR of bicubic, mean, dB": every["bicubic"].mean().item(),
        "PSNR of the autoencoder alone, mean, dB": every["autoencoder"].mean().item(),
        "better than bicubic, % of the scenes": percent(
            (every["upscaler"] > every["bicubic"]).tolist()
        ),
        "exactly the right objects named, %": seen["upscaler"],
        "the same of bicubic, %": seen["bicubic"],
    }
