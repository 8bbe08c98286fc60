"""Trains the upscaler: a scene of 16x16 pixels beside the latents of the same scene at 64x64.

Rombach et al. 2022, section 4.4 and appendix; Ho et al. 2022, "Cascaded Diffusion Models", section
4.2, for the noise on the small picture, whose level the UNet is told as a class.
"""

import logging
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionUpscalePipeline
from PIL import Image
from torch import Tensor

from companion.metrics import peak_signal_noise_ratio
from companion.scenes import Scene

from ..fine_tuned import FineTuned
from ..latents import Rows
from ..pictures import compared
from ..recipe import Recipe

logger = logging.getLogger(__name__)

# StableDiffusionUpscalePipeline gives every VAE this scaling factor, whatever its file says.
SCALING_FACTOR = 0.08333


def shrink(images: Tensor) -> Tensor:
    """Pictures of a quarter of the side, (batch, 3, height, width) in -1..1: bicubic with
    antialiasing, what `PIL.Image.resize` does but for its rounding."""
    return F.interpolate(images, scale_factor=0.25, mode="bicubic", antialias=True).clamp(-1, 1)


def enlarge(images: Tensor) -> Tensor:
    """Pictures of four times the side, bicubic: what an upscaler is compared with."""
    return F.interpolate(images, scale_factor=4, mode="bicubic").clamp(-1, 1)


def rescale(vae: AutoencoderKL, scaling_factor: float) -> None:
    """Change a VAE's scaling factor and its latents with it, so that the product of both, which the
    UNet sees, stays; pictures stay the same too."""
    grow = vae.config.scaling_factor / scaling_factor
    latent = vae.config.latent_channels
    with torch.no_grad():
        vae.quant_conv.weight[:latent] *= grow
        vae.quant_conv.bias[:latent] *= grow
        vae.quant_conv.bias[latent:] += 2 * math.log(grow)  # the logarithm of the variance
        vae.post_quant_conv.weight /= grow
    vae.register_to_config(scaling_factor=scaling_factor)


class Upscaling(FineTuned):
    """The noise residual, given the caption and the small picture with some noise on it."""

    own = ("unet", "vae", "scheduler", "low_res_scheduler")

    def __init__(self, recipe: Recipe, device: torch.device, folder: Path) -> None:
        self.max_noise_level = recipe.settings["max_noise_level"]
        levels = self.max_noise_level + 1
        super().__init__(recipe, device, folder, channels=3, num_class_embeds=levels)

    def prepare(self) -> None:
        """Rescale the VAE, and make the scheduler of the small picture's noise."""
        rescale(self.vae, SCALING_FACTOR)
        self.low_res_scheduler = DDPMScheduler(**self.recipe.settings["low_res_scheduler"])

    def condition(self, images: Tensor, scenes: list[Scene], generator: torch.Generator) -> Rows:
        """The small pictures, (batch, 3, 16, 16)."""
        return {"low_res": shrink(images)}

    def unet_inputs(self, noisy: Tensor, given: Rows, generator: torch.Generator) -> Rows:
        """The small picture as further channels, with noise of a level of its own."""
        low_res = given["low_res"]
        levels = torch.randint(self.max_noise_level + 1, (len(low_res),), generator=generator)
        noise = torch.randn(low_res.shape, generator=generator)
        low_res = self.low_res_scheduler.add_noise(low_res, noise, levels).to(self.device)
        return {
            "sample": torch.cat([noisy, low_res], dim=1),
            "class_labels": levels.to(self.device),
        }

    def pipeline(self) -> StableDiffusionUpscalePipeline:
        """The parts as stock diffusers puts them together."""
        return StableDiffusionUpscalePipeline(
            **self.parts(),
            low_res_scheduler=self.low_res_scheduler,
            max_noise_level=self.max_noise_level,
        )

    def grid(self) -> Image.Image:
        """Held-out scenes: the small picture, bicubic, the model's, the scene itself; tells the
        PSNR of both."""
        images, scenes = self.validation_scenes(16)
        small = shrink(images)
        drawn = self.draw(scenes, image=(small + 1) / 2)
        bicubic = enlarge(small)
        for name, large in (("bicubic", bicubic), ("upscaler", drawn)):
            quality = peak_signal_noise_ratio(large, images).mean()
            logger.info("%s: PSNR %.2f dB", name, quality)
        return compared(F.interpolate(small, scale_factor=4), bicubic, drawn, images)
