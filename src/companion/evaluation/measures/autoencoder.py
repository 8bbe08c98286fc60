"""How good the autoencoder is."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from companion.figures import save_enlarged
from companion.metrics import peak_signal_noise_ratio
from companion.recipes.pictures import compared
from companion.recipes.recipe import Recipe

from ..card import Figures
from ..held_out import held_out


@torch.inference_mode()
def reconstructed(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Pictures (batch, 3, height, width) in -1..1, encoded and decoded, without noise."""
    latents = vae.encode(images.to(vae.device)).latent_dist.mean
    return vae.decode(latents).sample.cpu().clamp(-1, 1)


def measure(recipe: Recipe, home: Path, pictures: Path, device: torch.device) -> Figures:
    """PSNR of what comes back."""
    vae = AutoencoderKL.from_pretrained(home, use_safetensors=True).to(device).eval()
    count, psnr = 1000, []
    for start, images, _ in held_out(recipe.subset, count, 50):
        decoded = reconstructed(vae, images)
        psnr.append(peak_signal_noise_ratio(images, decoded))
        if start == 0:
            save_enlarged(compared(images, decoded), pictures / "samples.png", 2)
    every = torch.cat(psnr)
    return {
        "held-out scenes": count,
        "PSNR, mean, dB": every.mean().item(),
        "PSNR, worst twentieth below, dB": every.quantile(0.05).item(),
    }
