"""A model that learned on DDPM's path, followed on the straight one.

DDPM's path √ᾱ x_0 + √(1 - ᾱ) ε has the same mixtures, only scaled: divided by √ᾱ + √(1 - ᾱ), the
two weights add up to 1. So every such model has a velocity on the straight path, and Euler's method
along it is DDIM. Salimans and Ho 2022 (arXiv:2202.00512), Lipman et al. 2023 (arXiv:2210.02747),
section 4.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from companion.door.numbers import shown

from .sampling import Velocity


def flow_scale(alpha_bar: Tensor) -> Tensor:
    """By what DDPM's mixture is divided to lie on the straight path: √ᾱ + √(1 - ᾱ), 1 to √2.

    Chapter 7, "The same curves as in chapter 2".
    """
    return alpha_bar**0.5 + (1 - alpha_bar) ** 0.5


def flow_time(alpha_bar: Tensor) -> Tensor:
    """The t of the straight path at which there is as much noise for the picture: √(1 - ᾱ) / (√ᾱ +
    √(1 - ᾱ)).

    Chapter 7, "The same curves as in chapter 2". Both have the signal-to-noise ratio
    ᾱ / (1 - ᾱ) = (1 - t)² / t².

    Args:
        alpha_bar: 0..1, of any shape, as a scheduler's `alphas_cumprod`.

    Returns:
        0..1, of the same shape; 0.94 at the noisy end of Stable Diffusion's table, not 1.
    """
    return (1 - alpha_bar) ** 0.5 / flow_scale(alpha_bar)


def ddpm_velocity(predict: Callable[[Tensor, int], Tensor], scheduler: Any) -> Velocity:
    """The velocity on the straight path of a model that predicts noise, v or pictures.

    Chapter 7, "The same curves as in chapter 2".

        predict = lambda x, t: unet(x, t, embeddings).sample
        velocity = ddpm_velocity(predict, scheduler)
        kept = torch.cat([scheduler.alphas_cumprod[timesteps], torch.ones(1)])
        picture = euler(velocity, noise / flow_scale(kept[0]), flow_time(kept))

    With the same timesteps this is DDIM, step for step.

    Args:
        predict: what the model says of a sample of DDPM's scale and a timestep.
        scheduler: a scheduler of Diffusers; its `alphas_cumprod` and `prediction_type` are read.
            A time between two of its timesteps is rounded to the nearer.

    Raises:
        ValueError: no function, or a scheduler without such a table or of another prediction_type.
    """
    if not callable(predict):
        raise ValueError(
            f"predict is {shown(predict)}, but it is a function of sample and timestep."
        )
    table = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(table, Tensor):
        raise ValueError(
            f"The scheduler is {shown(scheduler)}, but a table of ᾱ is needed, such as that of "
            f"DDIMScheduler."
        )
    kind = scheduler.config.get("prediction_type", "epsilon")
    if kind not in ("epsilon", "v_prediction", "sample"):
        raise ValueError(
            f"The scheduler's prediction_type is {shown(kind)}, but it is epsilon, v_prediction or "
            f"sample."
        )
    alphas = table.cpu()
    times = flow_time(alphas)

    def velocity(x_t: Tensor, t: Tensor) -> Tensor:
        timestep = int((times - t.cpu()).abs().argmin())
        signal, sigma = float(alphas[timestep]) ** 0.5, float(1 - alphas[timestep]) ** 0.5
        sample = x_t * (signal + sigma)
        answer = predict(sample, timestep)
        if kind == "v_prediction":  # Salimans and Ho 2022: v = √ᾱ ε - √(1 - ᾱ) x_0
            noise, x_0 = sigma * sample + signal * answer, signal * sample - sigma * answer
        elif kind == "sample":
            noise, x_0 = (sample - signal * answer) / sigma, answer
        else:  # Ho et al. 2020, equation 15
            noise, x_0 = answer, (sample - sigma * answer) / signal
        return noise - x_0

    return velocity
