"""Trains the autoencoder (`AutoencoderKL`) that gives Stable Diffusion its latents."""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor

from ..pictures import compared, scene_batch
from ..recipe import Recipe
from ..trainer import Task

# Log variance of the posterior before training: sampling noise of standard deviation 0.02. With
# unit variance the decoder learns to ignore the latents and never comes back.
FIRST_LOG_VARIANCE = -8.0


class Autoencoder(Task):
    """Mean absolute and mean squared error of the decoded crop, and a small KL term (Kingma and
    Welling 2014)."""

    def __init__(self, recipe: Recipe, device: torch.device, folder: Path) -> None:
        super().__init__(recipe, device, folder)
        self.trained = self.vae = AutoencoderKL(**recipe.settings["model"]).to(device)
        with torch.no_grad():
            channels = self.vae.config.latent_channels
            self.vae.quant_conv.weight[channels:] = 0
            self.vae.quant_conv.bias[channels:] = FIRST_LOG_VARIANCE

    def loss(self, step: int, generator: torch.Generator) -> Tensor:
        """Reconstruction of random crops, and the KL term."""
        size, crop = self.vae.config.sample_size, self.recipe.settings["crop"]
        images, _ = scene_batch(self.seeds(step), self.recipe.subset, size)
        corners = torch.randint(0, size - crop + 1, (len(images), 2), generator=generator).tolist()
        images = torch.stack(
            [
                image[:, y : y + crop, x : x + crop]
                for image, (y, x) in zip(images, corners, strict=True)
            ]
        ).to(self.device)
        posterior = self.vae.encode(images).latent_dist
        noise = torch.randn(posterior.mean.shape, generator=generator).to(self.device)
        latents = posterior.mean + posterior.std * noise
        decoded = self.vae.decode(latents).sample.float()
        kl = posterior.kl() / latents[0].numel()
        # Squares raise the PSNR, absolute values keep edges sharp.
        error = F.mse_loss(decoded, images) + 0.1 * F.l1_loss(decoded, images)
        return error + self.recipe.settings["kl_weight"] * kl.mean()

    def grid(self) -> Image.Image:
        """Held-out scenes above their reconstructions."""
        images, _ = self.validation_scenes(16)
        return compared(images, self.vae(images.to(self.device)).sample.cpu())

    def save(self, folder: Path) -> None:
        """Write the VAE, with the scaling factor that gives latents of unit standard deviation."""
        images, _ = self.validation_scenes(256)
        means = [
            self.vae.encode(part.to(self.device)).latent_dist.mean for part in images.split(64)
        ]
        scale = 1 / torch.cat(means).std().item()
        self.vae.register_to_config(scaling_factor=round(scale, 4))
        self.vae.save_pretrained(folder)
