"""Trains an unconditional model in pixel space: Ho et al. 2020, "Denoising Diffusion Probabilistic
Models"."""

from pathlib import Path

import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image
from torch import Tensor

from companion.denoise import ddim
from companion.door.labels import Origin
from companion.figures import tile
from companion.training.loss import min_snr_loss

from ..pictures import scene_batch
from ..recipe import Recipe
from ..trainer import Task


class Unconditional(Task):
    """Mean squared error of the predicted noise (Ho et al. 2020, equation 14), min-SNR weighted."""

    origin = Origin.DRAWN

    def __init__(self, recipe: Recipe, device: torch.device, folder: Path) -> None:
        super().__init__(recipe, device, folder)
        self.trained = self.unet = UNet2DModel(**recipe.settings["model"]).to(device)
        self.scheduler = DDPMScheduler(**recipe.settings["scheduler"])

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        """The noise residual of new scenes."""
        size = self.unet.config.sample_size
        images, _ = scene_batch(self.seeds(step), self.recipe.subset, size)
        noise = torch.randn(images.shape, generator=generator)
        timesteps = torch.randint(1000, (len(images),), generator=generator)
        noisy = self.scheduler.add_noise(images, noise, timesteps).to(self.device)
        predicted = self.unet(noisy, timesteps.to(self.device)).sample
        settings = self.recipe.settings
        return min_snr_loss(
            predicted,
            noise,
            timesteps,
            self.scheduler.alphas_cumprod,
            settings["snr_gamma"],
            settings["mean_weight"] if step >= settings["mean_weight_from"] else 0.0,
        )

    def grid(self) -> Image.Image:
        """32 pictures, 50 DDIM steps."""
        size = self.unet.config.sample_size
        noise = torch.randn((32, 3, size, size), generator=torch.Generator().manual_seed(0))
        return tile(ddim(self.unet, noise, scheduler=self.scheduler, num_steps=50))

    def save(self, folder: Path) -> None:
        """Write UNet and scheduler side by side at the top, as google/ddpm-cat-256 has them."""
        DDPMPipeline(unet=self.unet, scheduler=self.scheduler).save_config(folder)
        self.unet.save_pretrained(folder)
        self.scheduler.save_pretrained(folder)
