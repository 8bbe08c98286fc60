"""The loss of a noise-predicting model: mean squared error, min-SNR weighted."""

from torch import Tensor


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
    errors = predicted.float() - noise.to(predicted.device)
    means = errors.mean(dim=(2, 3))
    losses = errors.square().mean(dim=(1, 2, 3)) + mean_weight * means.square().mean(dim=1)
    return (weights * losses).mean()
