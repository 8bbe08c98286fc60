"""Pictures drawn while a model trains, in few steps, and how far they are from real ones."""

import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from torch import Tensor
from torch.utils.data import Dataset

from companion.zoo.kid import kid
from companion.zoo.recognise import as_batch, scene_features

from .order import seeded


@torch.no_grad()
def draw(
    unet: UNet2DModel,
    noise_scheduler: DDPMScheduler,
    count: int,
    *,
    steps: int,
    seed: int,
    batch_size: int = 64,
) -> Tensor:
    """Pictures from noise, by DDIM (Song et al. 2020): in 25 steps what DDPM takes 1000 for.

    Args:
        unet: the model.
        noise_scheduler: what it was trained with.
        count: how many pictures.
        steps: denoising steps.
        seed: of the noise, which is drawn on the CPU.
        batch_size: pictures at one time.

    Returns:
        float32 on the CPU, (count, channels, height, width) in -1..1.
    """
    # "trailing" begins at the last timestep, where the picture is all noise; the default does not.
    sampler = DDIMScheduler.from_config(noise_scheduler.config, timestep_spacing="trailing")
    sampler.set_timesteps(steps)
    size, channels = unet.config.sample_size, unet.config.in_channels
    noise = torch.randn(
        (count, channels, size, size), generator=torch.Generator().manual_seed(seed)
    )
    drawn = []
    with torch.compiler.set_stance("force_eager"):  # other sizes than the blocks were compiled for
        for part in noise.split(batch_size):
            sample = part.to(unet.device)
            for t in sampler.timesteps:
                predicted = unet(sample, t.to(sample.device), return_dict=False)[0]
                sample = sampler.step(predicted, t, sample, return_dict=False)[0]
            drawn.append(sample.float().cpu().clamp(-1, 1))
    return torch.cat(drawn)


def features_of(dataset: Dataset, count: int) -> Tensor:
    """Features of a dataset's first pictures: what drawn ones are compared with for KID."""
    count = min(count, len(dataset))  # type: ignore[arg-type]
    with seeded(0):  # flips: a resumed run comes here too
        images = torch.stack([dataset[index]["images"] for index in range(count)])
    return scene_features(as_batch(images))


def kid_to(features: Tensor, images: Tensor) -> float:
    """KID of pictures (batch, 3, height, width) in -1..1 to the features of others."""
    return kid(scene_features(as_batch(images)), features)
