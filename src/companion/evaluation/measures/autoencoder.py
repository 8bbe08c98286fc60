"""How good the autoencoder is."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL

from companion.figures import save_enlarged
from companion.metrics import peak_signal_noise_ratio
from companion.recipes.pictures import compared
from companion.recipes.recipe import Recipe

from ..card import Figures
from ..held_out import held_out


def measure(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    """PSNR of what comes back."""
    vae = AutoencoderKL.from_pretrained(home, use_safetensors=True).to(device).eval()
    count, psnr = 1000, []
    for start, images, _ in held_out(recipe.subset, count, 50):
        with torch.inference_mode():
            decoded = vae.decode(vae.encode(images.to(device)).latent_dist.mean).sample.cpu()
        psnr.append(peak_signal_noise_ratio(images, decoded.clamp(-1, 1)))
        if start == 0:
            save_enlarged(compared(images, decoded), pictures / "samples.png", 2)
    every = torch.cat(psnr)
    return {
        "held-out scenes": count,
        "PSNR, mean, dB": every.mean().item(),
        "PSNR, worst twentieth below, dB": every.quantile(0.05).item(),
    }
