"""The loss: what the model is to predict, and how much each timestep counts."""

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.training_utils import compute_snr
from torch import Tensor


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
    if snr_gamma is None:
        return _squared_error(predicted, wanted)
    snr = compute_snr(noise_scheduler, t)
    weights = min_snr_weights(snr, snr_gamma, noise_scheduler.config.prediction_type)
    return _squared_error(predicted, wanted, weights)


def gradient_norm(loss: Tensor, unet: UNet2DModel) -> Tensor:
    """Norm of a loss's gradient, a scalar; the model's own gradients are left as they are."""
    parameters = [weights for weights in unet.parameters() if weights.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    norms = [gradient.float().norm() for gradient in gradients if gradient is not None]
    return torch.stack(norms).norm()


def min_snr_weights(snr: Tensor, gamma: float, prediction_type: str = "epsilon") -> Tensor:
    """How much the squared error of a prediction counts: min-SNR, (batch,).

    Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy", section 3.4:
    the error of the clean picture counts min(SNR, gamma). The error of the noise is SNR times, that
    of the velocity SNR + 1 times that of the picture, so these divide by it.

    Args:
        snr: signal-to-noise ratios, alpha_bar / (1 - alpha_bar), (batch,).
        gamma: the highest SNR that counts in full, 5 in the paper.
        prediction_type: "epsilon", "sample" or "v_prediction".
    """
    if prediction_type == "epsilon":
        return (gamma / snr).clamp(max=1)  # min(SNR, gamma) / SNR, whole where the SNR is 0
    if prediction_type == "sample":
        return snr.clamp(max=gamma)
    return snr.clamp(max=gamma) / (snr + 1)


def min_snr_loss(
    predicted: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    alphas_cumprod: Tensor,
    gamma: float,
    mean_weight: float = 0.0,
) -> Tensor:
    """Mean over the batch of min(SNR, gamma) / SNR times the squared error of the predicted noise.

    Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy", equation 5 for
    noise prediction: SNR(t) = alpha_bar(t) / (1 - alpha_bar(t)). Nearly clean pictures, whose
    noise is hard to see and teaches little, count less.

    Args:
        predicted: the model's noise residual, (batch, channels, height, width).
        noise: the noise that was added, on the CPU, same shape.
        timesteps: (batch,), whole numbers.
        alphas_cumprod: the scheduler's alpha_bar, (train timesteps,).
        gamma: the highest SNR that counts in full, 5 in the paper.
        mean_weight: how much the error of a picture's mean counts besides, a channel at a time.
            The best answer stays the same, and plain backgrounds find their colour sooner
            (Hoogeboom et al. 2023, "simple diffusion", section 3.2, with one coarse scale).
    """
    alpha_bar = alphas_cumprod[timesteps]
    snr = alpha_bar / (1 - alpha_bar)
    weights = min_snr_weights(snr, gamma).to(predicted.device)
    return _squared_error(predicted, noise.to(predicted.device), weights, mean_weight)


def _squared_error(
    predicted: Tensor, wanted: Tensor, weights: Tensor | float = 1.0, mean_weight: float = 0.0
) -> Tensor:
    """Mean over the batch of a weight times the squared error; `mean_weight` as above."""
    errors = predicted.float() - wanted.float()
    losses = errors.square().mean(dim=(1, 2, 3))
    if mean_weight:
        losses = losses + mean_weight * errors.mean(dim=(2, 3)).square().mean(dim=1)
    return (weights * losses).mean()


def draw_noise(
    images: Tensor, num_train_timesteps: int, *, seed: int, first: int
) -> tuple[Tensor, Tensor]:
    """Gaussian noise and uniform timesteps for a batch.

    Args:
        images: (batch, channels, height, width); its shape, type and device are the noise's.
        num_train_timesteps: timesteps are drawn from 0 .. num_train_timesteps - 1.
        seed: the run's.
        first: number of the batch's first picture in the run.

    Returns:
        Noise of the images' shape, timesteps of shape (batch,).
    """
    noise = torch.empty_like(images, memory_format=torch.contiguous_format)
    generator = torch.Generator(images.device)
    timesteps = []
    for row in range(len(images)):
        stream = np.random.default_rng((seed, first + row))
        timesteps.append(int(stream.integers(num_train_timesteps)))
        generator.manual_seed(int(stream.integers(2**32)))  # torch's CPU generator takes 32 bits
        noise[row].normal_(generator=generator)
    return noise, torch.tensor(timesteps).to(images.device, non_blocking=True)
