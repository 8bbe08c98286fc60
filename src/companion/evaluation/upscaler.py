"""How good the upscaler is, beside bicubic enlarging."""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, StableDiffusionUpscalePipeline
from torch import Tensor
from tqdm.auto import tqdm

from companion.figures import save_enlarged, tile
from companion.metrics import peak_signal_to_noise, percent
from companion.recipes.pictures import scene_batch
from companion.recipes.recipe import Recipe
from companion.recipes.upscaler import enlarge, shrink
from companion.scenes import HELD_OUT
from companion.zoo.recognise import Seen, recognise

from .card import Figures

COUNT, BATCH, STEPS, NOISE_LEVEL = 500, 20, 20, 5


def upscaler(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    """PSNR and what the classifier names, of the model's pictures and of bicubic ones."""
    pipeline = StableDiffusionUpscalePipeline.from_pretrained(
        home, dtype=torch.float32, use_safetensors=True
    ).to(device)
    pipeline.set_progress_bar_config(disable=True)
    scale = recipe.settings["guidance_scale"]
    scenes, seen = [], {}
    psnr: dict[str, list[Tensor]] = {"upscaler": [], "bicubic": [], "autoencoder": []}
    named: dict[str, list[Seen]] = {name: [] for name in psnr}
    for start in tqdm(range(0, COUNT, BATCH), desc="held-out scenes", unit="batch"):
        seeds = range(HELD_OUT + start, HELD_OUT + start + BATCH)
        images, part = scene_batch(seeds, recipe.subset, 64)
        small = shrink(images)
        drawn = {
            "upscaler": draw(pipeline, [one.caption for one in part], small, scale, start),
            "bicubic": enlarge(small),
            "autoencoder": _through(pipeline.vae, images.to(device)),
        }
        scenes += part
        for name, batch in drawn.items():
            psnr[name].append(peak_signal_to_noise(images, batch))
            named[name] += recognise(batch)
        if start == 0:
            rows = [F.interpolate(small, scale_factor=4), drawn["bicubic"], drawn["upscaler"]]
            sets = [row[n : n + 8] for n in (0, 8) for row in (*rows, images)]
            save_enlarged(tile(torch.cat(sets)), pictures / "samples.png", 2)
    every = {name: torch.cat(parts) for name, parts in psnr.items()}
    for name, answers in named.items():
        seen[name] = percent(
            {thing.name for thing in one.objects} == set(what.objects)
            for one, what in zip(scenes, answers, strict=True)
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


def draw(
    pipeline: StableDiffusionUpscalePipeline,
    prompts: list[str],
    small: Tensor,
    scale: float,
    first_seed: int,
) -> Tensor:
    """The model's pictures, (batch, 3, 64, 64) in -1..1, a seed for each."""
    images = pipeline(
        prompts,
        image=(small + 1) / 2,
        num_inference_steps=STEPS,
        guidance_scale=scale,
        noise_level=NOISE_LEVEL,
        generator=[torch.Generator().manual_seed(first_seed + n) for n in range(len(prompts))],
        output_type="pt",
    ).images
    return images.cpu() * 2 - 1


@torch.inference_mode()
def _through(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """The pictures encoded and decoded: no upscaler in these latents can be nearer."""
    return vae.decode(vae.encode(images).latent_dist.mean).sample.cpu().clamp(-1, 1)
