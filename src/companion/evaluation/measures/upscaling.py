"""How good the upscaler is, beside bicubic enlarging."""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, StableDiffusionUpscalePipeline
from torch import Tensor

from companion.figures import save_enlarged
from companion.metrics import peak_signal_noise_ratio, percent
from companion.recipes.pictures import compared
from companion.recipes.recipe import Recipe
from companion.recipes.tasks.upscaling import enlarge, shrink
from companion.zoo.recognise import Seen, recognise

from ..card import Figures
from ..held_out import generators, held_out

COUNT, BATCH, STEPS, NOISE_LEVEL = 500, 20, 20, 5


def measure(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    """PSNR and what the classifier names, of the model's pictures and of bicubic ones."""
    pipeline = StableDiffusionUpscalePipeline.from_pretrained(
        home, dtype=torch.float32, use_safetensors=True
    ).to(device)
    pipeline.set_progress_bar_config(disable=True)
    scale = recipe.settings["guidance_scale"]
    scenes, seen = [], {}
    psnr: dict[str, list[Tensor]] = {"upscaler": [], "bicubic": [], "autoencoder": []}
    named: dict[str, list[Seen]] = {name: [] for name in psnr}
    for start, images, part in held_out(recipe.subset, COUNT, BATCH):
        small = shrink(images)
        drawn = {
            "upscaler": draw(pipeline, [scene.caption for scene in part], small, scale, start),
            "bicubic": enlarge(small),
            "autoencoder": _through(pipeline.vae, images.to(device)),
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
        generator=generators(first_seed, len(prompts)),
        output_type="pt",
    ).images
    return images.cpu() * 2 - 1


@torch.inference_mode()
def _through(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """The pictures encoded and decoded: no upscaler in these latents can be nearer."""
    return vae.decode(vae.encode(images).latent_dist.mean).sample.cpu().clamp(-1, 1)
