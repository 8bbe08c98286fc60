"""Chapter 2: samplers as plain loops, each one paper's update written out.

All are called alike: `sampler(model, noise, scheduler=scheduler, num_steps=50)`. Each calls the
model once a step. The model predicts the noise ε that a sample holds,

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
    """How every sampler of this module is called."""

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

    Chapter 2, "One step, formula by formula".

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
    alpha_bar = _alphas_cumprod(scheduler, timesteps)
    for i, t in enumerate(timesteps):
        residual = model(sample, t).sample
        x_0 = _clip(_predict_x_0(sample, residual, alpha_bar[i]), scheduler)
        if callback is not None:
            callback(Step(i, t, sample, residual, x_0))
        # Equation 4 defines ᾱ_t as the product of all α up to t, and α_t = 1 - β_t.
        alpha = alpha_bar[i] / alpha_bar[i + 1]
        beta = 1 - alpha
        # Equation 7: μ̃_t = √ᾱ_{t-1} β_t / (1 - ᾱ_t) x_0 + √α_t (1 - ᾱ_{t-1}) / (1 - ᾱ_t) x_t
        mean = (
            alpha_bar[i + 1] ** 0.5 * beta / (1 - alpha_bar[i]) * x_0
            + alpha**0.5 * (1 - alpha_bar[i + 1]) / (1 - alpha_bar[i]) * sample
        )
        # Equation 7: β̃_t = (1 - ᾱ_{t-1}) / (1 - ᾱ_t) β_t. Section 3.2: β_t itself does as well.
        variance = (1 - alpha_bar[i + 1]) / (1 - alpha_bar[i]) * beta
        if variance_type == "fixed_large":
            variance = beta
        # Algorithm 2, line 4: x_{t-1} = μ̃_t + √β̃_t times fresh noise, and none in the last step.
        sample = mean
        if i < num_steps - 1:
            sample = mean + variance**0.5 * _noise_like(mean, generator)
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

    Chapter 2, "Three samplers". The paper writes α for what is ᾱ here.

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
    alpha_bar = _alphas_cumprod(scheduler, timesteps)
    if not scheduler.config.get("set_alpha_to_one", True):
        alpha_bar[-1] = scheduler.alphas_cumprod[0]
    for i, t in enumerate(timesteps):
        residual = model(sample, t).sample
        x_0 = _clip(_predict_x_0(sample, residual, alpha_bar[i]), scheduler)
        if callback is not None:
            callback(Step(i, t, sample, residual, x_0))
        if use_clipped_model_output:  # Ho et al. 2020, equation 4, solved for ε
            residual = (sample - alpha_bar[i] ** 0.5 * x_0) / (1 - alpha_bar[i]) ** 0.5
        # Equation 16: added = η √((1 - ᾱ_{t-1}) / (1 - ᾱ_t)) √(1 - ᾱ_t / ᾱ_{t-1})
        removed = 1 - alpha_bar[i] / alpha_bar[i + 1]
        added = eta * ((1 - alpha_bar[i + 1]) / (1 - alpha_bar[i]) * removed) ** 0.5
        # Equation 12: x_{t-1} = √ᾱ_{t-1} x_0 + √(1 - ᾱ_{t-1} - added²) ε + fresh noise times added
        sample = alpha_bar[i + 1] ** 0.5 * x_0 + (1 - alpha_bar[i + 1] - added**2) ** 0.5 * residual
        if eta > 0:
            sample = sample + added * _noise_like(sample, generator)
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

    Chapter 2, "Three samplers". This is the paper's variant that predicts x_0. With √ᾱ for the
    paper's α, σ = √(1 - ᾱ) and λ = log(√ᾱ/σ), a step from s to t, with h = λ_t - λ_s, is

        x_t = σ_t/σ_s x_s + σ_t ∫ e^λ x_0(λ) dλ        (from λ_s to λ_t),

    and if the predicted x_0 stayed the same on the way, the integral would be known:

        x_t = σ_t/σ_s x_s - √ᾱ_t (e^-h - 1) x_0.

    UniP puts in an x_0 that goes on as it did in the step before. UniC, once the UNet has spoken at
    t, does the same step again with an x_0 that also knows the end. Neither calls the UNet. Both
    know x_0 at some more places, the part r_m of the step from s, and weigh by how much it differs
    there, D_m = x_0(r_m) - x_0(s):

        x_t = σ_t/σ_s x_s - √ᾱ_t (e^-h - 1) x_0(s) - √ᾱ_t B(h) Σ_m ρ_m D_m / r_m.

    With B(h) = e^-h - 1, all of it is the step above, from x_0(s) + Σ_m ρ_m D_m / r_m.

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
    alpha_bar = _alphas_cumprod(scheduler, timesteps)
    signal, sigma = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    lam = torch.log(signal / sigma)  # λ; infinite at the end, where no noise is left
    shrink = torch.expm1(lam[:-1] - lam[1:])  # e^-h - 1, with h = λ_t - λ_s

    def advance(sample: Tensor, i: int, x_0: Tensor) -> Tensor:
        """x_t = σ_t/σ_s x_s - √ᾱ_t (e^-h - 1) x_0, from level i to i + 1."""
        return sigma[i + 1] / sigma[i] * sample - signal[i + 1] * shrink[i] * x_0

    start = x_0_past = x_0_last = sample
    for i, t in enumerate(timesteps):
        residual = model(sample, t).sample
        x_0 = _predict_x_0(sample, residual, alpha_bar[i])
        if scheduler.config.get("thresholding", False):
            x_0 = _threshold(x_0, scheduler)
        if callback is not None:
            callback(Step(i, t, sample, residual, x_0))
        if i > 0:  # UniC: the step that led here, again
            # x_0(s) + ρ_1 D_1 / r_1 + ρ_2 D_2 / r_2: D_1 to the step before, D_2 to the end
            to_past, to_end = _corrector(lam[max(0, i - 2) : i + 1])
            bent = x_0_last + to_past * (x_0_past - x_0_last) + to_end * (x_0 - x_0_last)
            sample = advance(start, i - 1, bent)
        start, bent = sample, x_0
        if 0 < i < num_steps - 1:  # UniP: the first and the last step go straight
            # x_0(s) + ρ_1 D_1 / r_1; ρ_1 is 1/2 but for a part that vanishes with h, left out
            r_1 = (lam[i - 1] - lam[i]) / (lam[i + 1] - lam[i])
            bent = x_0 + 0.5 * (x_0_last - x_0) / r_1
        sample = advance(start, i, bent)
        x_0_past, x_0_last = x_0_last, x_0
    return sample


def _corrector(lam: Tensor) -> tuple[Any, Any]:
    """UniC's weights ρ_m / r_m of x_0 before a step and at its end, for λ of before, start and end.

    An x_0 that goes as r^n over the step, r from 0 to 1, adds to x_t

        √ᾱ_t h ∫ e^{-(1 - r) h} r^n dr = √ᾱ_t h n! φ_{n+1}(-h),

    where φ_1(z) = (e^z - 1) / z and φ_{n+1}(z) = (φ_n(z) - 1/n!) / z. The sum of differences adds
    the same for n = 1 and n = 2 if R ρ = b (so Diffusers' scheduler calls it), that is

        Σ_m ρ_m r_m^{n-1} = b_n = -h n! φ_{n+1}(-h) / B(h).

    The first step has no before: one weight is left, and ρ is 1/2 as in UniP.
    """
    if len(lam) == 2:
        return 0.0, 0.5
    h = lam[2] - lam[1]
    r_1 = (lam[0] - lam[1]) / h  # negative; r_2 = 1 is the end
    # B(h) = e^-h - 1, which is -h φ_1(-h)
    b_of_h = torch.expm1(-h)
    # -h φ_2(-h) = φ_1(-h) - 1 and -h φ_3(-h) = φ_2(-h) - 1/2
    h_phi_2 = b_of_h / -h - 1
    h_phi_3 = h_phi_2 / -h - 0.5
    # b_n = -h n! φ_{n+1}(-h) / B(h)
    b_1, b_2 = h_phi_2 / b_of_h, 2 * h_phi_3 / b_of_h
    # R ρ = b: ρ_1 + ρ_2 = b_1 and r_1 ρ_1 + ρ_2 = b_2
    rho_1 = (b_1 - b_2) / (1 - r_1)
    rho_2 = b_1 - rho_1
    return rho_1 / r_1, rho_2


def _predict_x_0(sample: Tensor, residual: Tensor, alpha_bar: Tensor) -> Tensor:
    """Ho et al. 2020, equation 15: the clean picture that the noise leaves.

    Chapter 2, "What that says about the clean picture".
    """
    return (sample - (1 - alpha_bar) ** 0.5 * residual) / alpha_bar**0.5


def _clip(x_0: Tensor, scheduler: Any) -> Tensor:
    """Keep x_0 where pictures are, if the configuration of DDPM or DDIM asks for it."""
    if scheduler.config.get("thresholding", False):
        return _threshold(x_0, scheduler)
    if scheduler.config.get("clip_sample", False):
        bound = scheduler.config.get("clip_sample_range", 1.0)
        return x_0.clamp(-bound, bound)
    return x_0


def _threshold(x_0: Tensor, scheduler: Any) -> Tensor:
    """Saharia et al. 2022, section 2.3: divide by what nearly all of a picture is within.

    With sample_max_value 1, as is the default, this only clips to -1..1.
    """
    ratio = scheduler.config.dynamic_thresholding_ratio
    bound = x_0.abs().flatten(1).float().quantile(ratio, dim=1)
    bound = bound.clamp(1, scheduler.config.sample_max_value).to(x_0.dtype).view(-1, 1, 1, 1)
    return x_0.clamp(-bound, bound) / bound


def _timesteps(scheduler: Any, num_steps: int, end: bool = False) -> list[int]:
    """Where the steps begin, from noisy to clean: Lin et al. 2024, table 2.

    Chapter 2, "The timesteps". With `end`, the end of the last step is one of the spaced points, as
    in Diffusers' multistep solvers: there are num_steps + 1 of them.
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
    """Check what a sampler was given; the noise on the model's device, and the number of steps.

    Args:
        model, noise, scheduler, num_steps, generator, callback: as for `ddpm`.
        spare: timesteps that the steps must leave over: 1 with `_timesteps(..., end=True)`.

    Raises:
        ValueError: one of them does not fit.
    """
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
