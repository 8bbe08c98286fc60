"""The loss: what the model is to predict, and how much each timestep counts."""

import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.training_utils import compute_snr
from torch import Tensor

from companion.zoo.noise_loss import min_snr_weights


def target(noise_scheduler: DDPMScheduler, images: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """What the model is to predict, by the scheduler's `prediction_type`.

    Args:
        noise_scheduler: knows the type and alpha_bar.
        images: clean pictures, (batch, channels, height, width) in -1..1.
        noise: the noise that is added to them, same shape.
        t: (batch,), whole numbers.
    """
    kind = noise_scheduler.config.prediction_type
    if kind == "epsilon":
        return noise
    if kind == "sample":
        return images
    # v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0: Salimans and Ho 2022, appendix D
    return noise_scheduler.get_velocity(images, noise, t)


def diffusion_loss(
    predicted: Tensor,
    wanted: Tensor,
    t: Tensor,
    noise_scheduler: DDPMScheduler,
    snr_gamma: float | None = None,
) -> Tensor:
    """Mean squared error, a scalar; with `snr_gamma` weighted by timestep (Hang et al. 2023).

    Args:
        predicted: the model's output, (batch, channels, height, width).
        wanted: what `target` gives, same shape.
        t: (batch,), whole numbers.
        noise_scheduler: knows the prediction type and alpha_bar.
        snr_gamma: highest signal-to-noise ratio that counts in full, or None.
    """
    losses = (predicted.float() - wanted.float()).square().mean(dim=(1, 2, 3))
    if snr_gamma is not None:
        snr = compute_snr(noise_scheduler, t)
        losses = min_snr_weights(snr, snr_gamma, noise_scheduler.config.prediction_type) * losses
    return losses.mean()


def gradient_norm(loss: Tensor, unet: UNet2DModel) -> Tensor:
    """Norm of a loss's gradient, a scalar; the model's own gradients are left as they are."""
    parameters = [one for one in unet.parameters() if one.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.stack([one.float().norm() for one in gradients if one is not None]).norm()
