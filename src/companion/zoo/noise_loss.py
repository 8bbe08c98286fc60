"""The loss of a noise-predicting model: mean squared error, min-SNR weighted."""

import torch.nn.functional as F
from torch import Tensor


def min_snr_loss(
    predicted: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor, gamma: float
) -> Tensor:
    """Mean over the batch of min(SNR, gamma) / SNR times the squared error of the predicted noise.

    Hang et al. 2023, "Efficient Diffusion Training via Min-SNR Weighting Strategy", equation 5 for
    noise prediction:
    SNR(t) = alpha_bar(t) / (1 - alpha_bar(t)). Nearly clean pictures, whose noise is hard to see
    and teaches
    little, count less.

    Args:
        predicted: the model's noise residual, (batch, channels, height, width).
        noise: the noise that was added, on the CPU, same shape.
        timesteps: (batch,), whole numbers.
        alphas_cumprod: the scheduler's alpha_bar, (train timesteps,).
        gamma: the highest SNR that counts in full, 5 in the paper.
    """
    alpha_bar = alphas_cumprod[timesteps]
    snr = alpha_bar / (1 - alpha_bar)
    weights = (snr.clamp(max=gamma) / snr).to(predicted.device)
    errors = F.mse_loss(predicted.float(), noise.to(predicted.device), reduction="none")
    return (weights * errors.mean(dim=(1, 2, 3))).mean()
