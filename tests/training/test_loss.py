"""What the model is to predict, and how much each timestep counts."""

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from companion.training import diffusion_loss, target
from companion.training.loss import min_snr_loss

IMAGES = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
NOISE = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))
T = torch.tensor([0, 10, 200, 500, 900, 999])


@pytest.fixture(params=["epsilon", "sample", "v_prediction"])
def noise_scheduler(request: pytest.FixtureRequest) -> DDPMScheduler:
    return DDPMScheduler(prediction_type=request.param)


def test_a_perfect_prediction_leads_back_to_the_clean_picture(
    noise_scheduler: DDPMScheduler,
) -> None:
    noisy = noise_scheduler.add_noise(IMAGES, NOISE, T)
    wanted = target(noise_scheduler, IMAGES, NOISE, T)
    for row in range(1, 5):
        answer = noise_scheduler.step(wanted[row], int(T[row]), noisy[row])
        torch.testing.assert_close(answer.pred_original_sample, IMAGES[row], atol=2e-3, rtol=0)


def test_without_weighting_it_is_the_mean_squared_error(noise_scheduler: DDPMScheduler) -> None:
    wanted = target(noise_scheduler, IMAGES, NOISE, T)
    loss = diffusion_loss(torch.zeros_like(wanted), wanted, T, noise_scheduler)
    torch.testing.assert_close(loss, torch.nn.functional.mse_loss(wanted * 0, wanted))


def test_min_snr_counts_the_error_of_the_clean_picture_alike_in_every_type(
    noise_scheduler: DDPMScheduler,
) -> None:
    """Hang et al. 2023: whatever is predicted, it is min(SNR, gamma) times that error."""
    noisy = noise_scheduler.add_noise(IMAGES, NOISE, T)
    alpha_bar = noise_scheduler.alphas_cumprod[T].view(-1, 1, 1, 1)
    guess = torch.full_like(IMAGES, 0.3)  # a wrong clean picture, in the words of each type
    noise = (noisy - alpha_bar.sqrt() * guess) / (1 - alpha_bar).sqrt()
    predicted = target(noise_scheduler, guess, noise, T)
    wanted = target(noise_scheduler, IMAGES, NOISE, T)
    loss = diffusion_loss(predicted, wanted, T, noise_scheduler, snr_gamma=5.0)
    weights = compute_snr(noise_scheduler, T).clamp(max=5.0)
    expected = (weights * (guess - IMAGES).square().mean(dim=(1, 2, 3))).mean()
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=0)


def test_weights_are_finite_where_nothing_of_the_picture_is_left() -> None:
    noise_scheduler = DDPMScheduler(rescale_betas_zero_snr=True)
    noise_scheduler.alphas_cumprod[-1] = 0
    wanted = target(noise_scheduler, IMAGES, NOISE, T)
    loss = diffusion_loss(wanted * 0, wanted, T, noise_scheduler, snr_gamma=5.0)
    assert torch.isfinite(loss)


@pytest.mark.parametrize("mean_weight", [0.0, 2.0])
def test_the_zoos_loss_is_this_one_with_the_errors_of_the_means_besides(
    mean_weight: float,
) -> None:
    noise_scheduler, predicted = DDPMScheduler(), IMAGES * 0.5
    loss = min_snr_loss(predicted, NOISE, T, noise_scheduler.alphas_cumprod, 5.0, mean_weight)
    expected = diffusion_loss(predicted, NOISE, T, noise_scheduler, snr_gamma=5.0)
    weights = (5.0 / compute_snr(noise_scheduler, T)).clamp(max=1)
    means = (predicted - NOISE).mean(dim=(2, 3)).square().mean(dim=1)
    torch.testing.assert_close(loss, expected + mean_weight * (weights * means).mean())
