"""Chapter 2: samplers as plain loops, each one paper's update written out.

All three are called alike: `sampler(model, noise, scheduler=scheduler, num_steps=50)`. The model
predicts the noise ε that a sample holds,

    x_t = √ᾱ_t x_0 + √(1 - ᾱ_t) ε        (Ho et al. 2020, equation 4),

and the scheduler brings the table of ᾱ, its `alphas_cumprod`. Nothing but this table and the
configuration is read from it: its `step` is not called and its state does not change.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from companion.door.numbers import number, shown, whole

__all__ = ["Callback", "Sampler", "Step", "ddim", "ddpm", "unipc"]


@dataclass(frozen=True)
class Step:
    """What a callback receives in every step, after the UNet's answer and before the update.

    Attributes:
        index: number of the step, from 0.
        timestep: t, which falls from at most num_train_timesteps - 1.
        sample: x_t, what the UNet was given, of shape (batch, channels, height, width).
        noise_residual: ε, what it answered, of the same shape; about a standard normal.
        predicted_x0: the clean pictures that follow from both, of the same shape, about -1..1.
    """

    index: int
    timestep: int
    sample: Tensor
    noise_residual: Tensor
    predicted_x0: Tensor


Callback = Callable[[Step], None]


class Sampler(Protocol):
    """How `ddpm`, `ddim` and `unipc` are called."""

    def __call__(
        self,
        model: Any,
        noise: Tensor,
        *,
        scheduler: Any,
        num_steps: int = ...,
        generator: torch.Generator | None = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Turn noise into pictures."""


@torch.no_grad()
def ddpm(
    model: Any,
    noise: Tensor,
    *,
    scheduler: Any,
    num_steps: int = 1000,
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Sample step by step with fresh noise in each: Ho et al. 2020, algorithm 2.

    With fewer steps than in training, α_t is the ratio of two ᾱ that are neighbours among the
    timesteps taken (Nichol and Dhariwal 2021, section 4).

    Args:
        model: a UNet2DModel that predicts noise, on any device and of any precision.
        noise: x_T, standard normal, of shape (batch, channels, height, width). It is moved to the
            model: drawn on the CPU, one seed gives one picture on every device.
        scheduler: a scheduler of Diffusers. Its alphas_cumprod, its spacing of timesteps, how it
            clips the predicted x_0, and its variance (fixed_small or fixed_large) are used.
        num_steps: calls of the UNet, 1 to num_train_timesteps.
        generator: a CPU generator for the noise of the steps; None takes torch's global one.
        callback: called with a `Step` in every step.

    Returns:
        x_0 in about -1..1, of the shape of the noise, on the model's device.

    Raises:
        ValueError: steps out of range, noise that does not fit the model, a generator that is not
            on the CPU, or a scheduler whose kind of model or variance is another, or whose ᾱ is
            0.
    """
    sample, num_steps = _start(model, noise, scheduler, num_steps, generator, callback)
    variance_type = scheduler.config.get("variance_type", "fixed_small")
    if variance_type not in ("fixed_small", "fixed_large"):
        raise ValueError(
            f"ddpm knows the variances fixed_small and fixed_large, but the scheduler's is "
            f"{variance_type}."
        )
    timesteps = _timesteps(scheduler, num_steps)
    abar = _alphas_cumprod(scheduler, timesteps)
    for i, t in enumerate(timesteps):
        residual = model(sample, t).sample
        x0 = _clip(_predict_x0(sample, residual, abar[i]), scheduler)
        if callback is not None:
            callback(Step(i, t, sample, residual, x0))
        alpha = abar[i] / abar[i + 1]
        beta = 1 - alpha
        # Equation 7: mean and variance of x_{t-1}, given x_t and x_0.
        sample = (
            abar[i + 1] ** 0.5 * beta / (1 - abar[i]) * x0
            + alpha**0.5 * (1 - abar[i + 1]) / (1 - abar[i]) * sample
        )
        variance = (1 - abar[i + 1]) / (1 - abar[i]) * beta
        if variance_type == "fixed_large":
            variance = beta
        if i < num_steps - 1:  # the last step adds no noise
            sample = sample + variance**0.5 * _noise_like(sample, generator)
    return sample


@torch.no_grad()
def ddim(
    model: Any,
    noise: Tensor,
    *,
    scheduler: Any,
    num_steps: int = 50,
    eta: float = 0.0,
    use_clipped_model_output: bool = False,
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Sample in few steps, with no fresh noise unless asked: Song et al. 2021, equation 12.

    Args:
        model: as for `ddpm`.
        noise: as for `ddpm`.
        scheduler: as for `ddpm`; no variance is read from it.
        num_steps: calls of the UNet, 1 to num_train_timesteps.
        eta: η of equation 16. At 0 the picture follows from the first noise alone; at 1 every step
            adds as much noise as `ddpm`.
        use_clipped_model_output: where x_0 was clipped, put in the ε that fits to it, so that
            equation 4 holds on; by default the UNet's own, as in Diffusers.
        generator: a CPU generator for that noise; unused when eta is 0.
        callback: called with a `Step` in every step.

    Returns:
        x_0 in about -1..1, of the shape of the noise, on the model's device.

    Raises:
        ValueError: as for `ddpm`, or an eta out of 0..1.
    """
    if not 0 <= number("eta", eta) <= 1:
        raise ValueError(f"eta is 0 (no fresh noise) to 1 (as much as DDPM), but {eta} was given.")
    sample, num_steps = _start(model, noise, scheduler, num_steps, generator, callback)
    timesteps = _timesteps(scheduler, num_steps)
    abar = _alphas_cumprod(scheduler, timesteps)
    if not scheduler.config.get("set_alpha_to_one", True):
        abar[-1] = scheduler.alphas_cumprod[0]
    for i, t in enumerate(timesteps):
        residual = model(sample, t).sample
        x0 = _clip(_predict_x0(sample, residual, abar[i]), scheduler)
        if callback is not None:
            callback(Step(i, t, sample, residual, x0))
        if use_clipped_model_output:
            residual = (sample - abar[i] ** 0.5 * x0) / (1 - abar[i]) ** 0.5
        # Equation 16.
        sigma = eta * ((1 - abar[i + 1]) / (1 - abar[i]) * (1 - abar[i] / abar[i + 1])) ** 0.5
        # Equation 12: the predicted x_0, the direction back to x_t, and fresh noise.
        sample = abar[i + 1] ** 0.5 * x0 + (1 - abar[i + 1] - sigma**2) ** 0.5 * residual
        if eta > 0:
            sample = sample + sigma * _noise_like(sample, generator)
    return sample


@torch.no_grad()
def unipc(
    model: Any,
    noise: Tensor,
    *,
    scheduler: Any,
    num_steps: int = 20,
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Sample in very few steps with a multistep solver: UniPC of order 2, Zhao et al. 2023.

    This is the paper's variant that predicts x_0, with B(h) = e^h - 1. In λ = log(α/σ), a step from
    s to t of length h would be exact if the predicted x_0 stayed the same on the way:

        x_t = σ_t/σ_s x_s - α_t (e^-h - 1) x_0.

    UniP puts in an x_0 that goes on as it did in the step before. UniC, once the UNet has spoken at
    t, does the same step again with an x_0 that also knows the end. Neither calls the UNet.

    Args:
        model: as for `ddpm`.
        noise: as for `ddpm`.
        scheduler: as for `ddpm`; no variance is read from it. As in Diffusers, clip_sample has no
            effect here, and thresholding has.
        num_steps: calls of the UNet, 1 to num_train_timesteps - 1.
        generator: unused, since no step adds noise; here so that all samplers are called alike.
        callback: called with a `Step` in every step.

    Returns:
        x_0 in about -1..1, of the shape of the noise, on the model's device.

    Raises:
        ValueError: as for `ddpm`.
    """
    sample, num_steps = _start(model, noise, scheduler, num_steps, generator, callback, spare=1)
    timesteps = _timesteps(scheduler, num_steps, end=True)
    abar = _alphas_cumprod(scheduler, timesteps)
    alpha, sigma = abar**0.5, (1 - abar) ** 0.5
    lam = torch.log(alpha / sigma)  # infinite at the end, where no noise is left
    shrink = torch.expm1(lam[:-1] - lam[1:])  # e^-h - 1

    def advance(sample: Tensor, i: int, x0: Tensor) -> Tensor:
        """The step from level i to i + 1, exact if x_0 stays."""
        return sigma[i + 1] / sigma[i] * sample - alpha[i + 1] * shrink[i] * x0

    start = x0_past = x0_last = sample
    for i, t in enumerate(timesteps):
        residual = model(sample, t).sample
        x0 = _predict_x0(sample, residual, abar[i])
        if scheduler.config.get("thresholding", False):
            x0 = _threshold(x0, scheduler)
        if callback is not None:
            callback(Step(i, t, sample, residual, x0))
        if i > 0:  # UniC: the step that led here, again
            to_past, to_end = _corrector(lam[max(0, i - 2) : i + 1])
            bent = x0_last + to_past * (x0_past - x0_last) + to_end * (x0 - x0_last)
            sample = advance(start, i - 1, bent)
        start, bent = sample, x0
        if 0 < i < num_steps - 1:  # UniP: the first and the last step go straight
            ratio = (lam[i - 1] - lam[i]) / (lam[i + 1] - lam[i])
            bent = x0 + 0.5 * (x0_last - x0) / ratio
        sample = advance(start, i, bent)
        x0_past, x0_last = x0_last, x0
    return sample


def _corrector(lam: Tensor) -> tuple[Any, Any]:
    """UniC's weights of what x_0 was before and after a step, for λ of before, start and end.

    They solve the paper's R ρ = b / B(h) for order 2. The first step has no before: order 1.
    """
    if len(lam) == 2:
        return 0.0, 0.5
    h = lam[1] - lam[2]  # negative: the variant that predicts x_0 counts backwards
    ratio = (lam[1] - lam[0]) / h
    scale = torch.expm1(h)
    phi_2 = scale / h - 1
    b_1, b_2 = phi_2 / scale, 2 * (phi_2 / h - 0.5) / scale
    rho_1 = (b_1 - b_2) / (1 - ratio)
    return rho_1 / ratio, b_1 - rho_1


def _predict_x0(sample: Tensor, residual: Tensor, abar: Tensor) -> Tensor:
    """Ho et al. 2020, equation 15: the clean picture that the noise leaves."""
    return (sample - (1 - abar) ** 0.5 * residual) / abar**0.5


def _clip(x0: Tensor, scheduler: Any) -> Tensor:
    """Keep x_0 where pictures are, if the configuration of DDPM or DDIM asks for it."""
    if scheduler.config.get("thresholding", False):
        return _threshold(x0, scheduler)
    if scheduler.config.get("clip_sample", False):
        bound = scheduler.config.get("clip_sample_range", 1.0)
        return x0.clamp(-bound, bound)
    return x0


def _threshold(x0: Tensor, scheduler: Any) -> Tensor:
    """Saharia et al. 2022, section 2.3: divide by what nearly all of a picture is within.

    With sample_max_value 1, as is the default, this only clips to -1..1.
    """
    ratio = scheduler.config.dynamic_thresholding_ratio
    bound = x0.abs().flatten(1).float().quantile(ratio, dim=1)
    bound = bound.clamp(1, scheduler.config.sample_max_value).to(x0.dtype).view(-1, 1, 1, 1)
    return x0.clamp(-bound, bound) / bound


def _timesteps(scheduler: Any, num_steps: int, end: bool = False) -> list[int]:
    """Where the steps begin, from noisy to clean: Lin et al. 2024, table 2.

    `end` is for solvers that count the end of the last step among the spaced points.
    """
    total = scheduler.config.num_train_timesteps
    spacing = scheduler.config.get("timestep_spacing", "leading")
    count = num_steps + 1 if end and spacing != "trailing" else num_steps
    if spacing == "leading":
        rising = np.arange(count) * (total // count) + scheduler.config.get("steps_offset", 0)
    elif spacing == "linspace":
        rising = np.linspace(0, total - 1, count).round()
    else:
        rising = np.round(total - np.arange(count)[::-1] * total / count) - 1
    return [int(t) for t in rising[::-1][:num_steps]]


def _alphas_cumprod(scheduler: Any, timesteps: list[int]) -> Tensor:
    """ᾱ at the timesteps, and 1 for the end. On the CPU: its entries go with any device."""
    table = scheduler.alphas_cumprod.cpu()
    if table[timesteps].min() <= 0:
        raise ValueError(
            "The scheduler begins with pure noise (ᾱ is 0, as rescale_betas_zero_snr makes it): no "
            "clean picture follows from the noise predicted there; set it to False."
        )
    return torch.cat([table[timesteps], torch.ones(1)])


def _noise_like(sample: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise, drawn on the CPU."""
    return torch.randn(sample.shape, generator=generator, dtype=sample.dtype).to(sample.device)


def _start(
    model: Any,
    noise: Tensor,
    scheduler: Any,
    num_steps: int,
    generator: torch.Generator | None,
    callback: Callback | None,
    spare: int = 0,
) -> tuple[Tensor, int]:
    """The noise where the model is, and the steps, after a look at everything that was given."""
    if not (callback is None or callable(callback)):
        raise ValueError(f"The callback is {shown(callback)}, but it is a function of a Step.")
    if not callable(model) or not hasattr(model, "config"):
        raise ValueError(f"The model is {shown(model)}, but it is a UNet2DModel.")
    if not hasattr(scheduler, "config") or not hasattr(scheduler, "alphas_cumprod"):
        raise ValueError(
            f"The scheduler is {shown(scheduler)}, but these samplers need one of Diffusers with a "
            f"table of ᾱ, such as DDPMScheduler."
        )
    config = scheduler.config
    prediction_type = config.get("prediction_type", "epsilon")
    if prediction_type != "epsilon":
        raise ValueError(
            "These samplers are for models that predict noise: the scheduler's prediction_type has "
            f"to be epsilon, but it is {prediction_type}."
        )
    num_steps = whole("num_steps", num_steps)
    most = config.num_train_timesteps - spare
    if not 1 <= num_steps <= most:
        raise ValueError(f"num_steps is 1 to {most} with this sampler, but {num_steps} was given.")
    size = model.config.sample_size
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    expected = (model.config.in_channels, height, width)
    if not isinstance(noise, Tensor):
        raise ValueError(f"The noise is a tensor, but {shown(noise)} was given.")
    if noise.ndim != 4 or noise.shape[1:] != expected:
        raise ValueError(
            f"The model takes noise of shape (batch, {expected[0]}, {height}, {width}), but this "
            f"noise has the shape {tuple(noise.shape)}."
        )
    device = getattr(getattr(generator, "device", None), "type", "cpu")
    if device != "cpu":
        raise ValueError(
            f"The generator is on {device}, and noise is drawn on the CPU, so that "
            "one seed gives one picture everywhere: use torch.Generator().manual_seed(seed)."
        )
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(
            f"The generator is {shown(generator)}, but noise is drawn from a torch.Generator: make "
            "it with torch.Generator().manual_seed(seed)."
        )
    return noise.to(model.device, model.dtype), num_steps
