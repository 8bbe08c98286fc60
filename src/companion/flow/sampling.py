"""Euler's method along a velocity, from noise to a picture, and how straight the way was."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor

from companion.door.numbers import shown

from .path import picture_of


@dataclass(frozen=True)
class Step:
    """What a callback receives in every step, after the model's answer and before the update.

    Attributes:
        index: number of the step, from 0.
        t: the time, which falls from 1.
        sample: x_t, what the model was given, of the noise's shape.
        velocity: u, what it answered, of the same shape.
        predicted_x0: where a straight line along it would end, x_t - t u, of the same shape.
    """

    index: int
    t: float
    sample: Tensor
    velocity: Tensor
    predicted_x0: Tensor


Callback = Callable[[Step], None]


class Velocity(Protocol):
    """What `euler` follows: the velocity at a place x_t, (batch, ...), and a time t, 0..1."""

    def __call__(self, x_t: Tensor, t: Tensor, /) -> Tensor:
        """Answer with a tensor of the shape of `x_t`; `t` is a number."""


@torch.no_grad()
def euler(
    velocity: Velocity, noise: Tensor, times: Tensor, *, callback: Callback | None = None
) -> Tensor:
    """Follow a velocity down from noise: x_{t'} = x_t + (t' - t) u(x_t, t).

    Chapter 7, "Euler". Called as the samplers of k-diffusion are: the model as a function, the
    times written out, and a callback that sees every step.

    Args:
        velocity: what to follow, such as `text_velocity` or `ddpm_velocity` gives; it is asked
            once a step.
        noise: the start, (batch, ...), at the first of the times.
        times: (steps + 1,) falling, each 0..1, as `flow_times` gives them.
        callback: called with a `Step` in every step.

    Returns:
        What is there at the last of the times, of the shape of the noise.

    Raises:
        ValueError: times that do not fall from 1 or less to 0 or more, noise that is no tensor of
            fractions, or a velocity of another shape.
    """
    _check(velocity, noise, times, callback)
    x = noise
    for index, (t, t_next) in enumerate(pairwise(times)):
        u = velocity(x, t)
        if not isinstance(u, Tensor) or u.shape != x.shape:
            raise ValueError(
                f"The velocity at {tuple(x.shape)} numbers has to have as many, but "
                f"{tuple(u.shape) if isinstance(u, Tensor) else shown(u)} came back."
            )
        if callback is not None:
            callback(Step(index, t.item(), x, u, picture_of(x, u, t.item())))
        # The sum is taken in float32, as Diffusers' scheduler does: in half precision small steps
        # would be lost in it.
        x = (x.float() + (t_next - t).item() * u).to(u.dtype)
    return x


def straightness(velocities: Tensor, times: Tensor) -> Tensor:
    """How much a way from noise to picture bends: 0 is a straight line at a steady speed.

    Chapter 7, "How straight are they?". The measure S of Liu et al. 2023, section 2.2, divided by
    the squared length of the chord, so that it does not depend on the scale: the mean over t of

        |u_t - chord|² / |chord|²,    chord = mean over t of u_t.

    Args:
        velocities: (steps, batch, ...), the velocity at the beginning of each step.
        times: (steps + 1,), the times of those steps.

    Returns:
        (batch,), 0 or more.

    Raises:
        ValueError: not as many velocities as steps.
    """
    if len(velocities) != len(times) - 1 or len(velocities) < 1:
        raise ValueError(
            f"{len(times)} times make {len(times) - 1} steps, but {len(velocities)} velocities "
            f"were given."
        )
    flat = velocities.float().flatten(2)
    share = (times[:-1] - times[1:]).to(flat)[:, None] / (times[0] - times[-1]).to(flat)
    chord = (share[..., None] * flat).sum(0)
    bend = (share * (flat - chord).square().sum(-1)).sum(0)
    return bend / chord.square().sum(-1)


def _check(velocity: Any, noise: Any, times: Any, callback: Any) -> None:
    if not callable(velocity):
        raise ValueError(
            f"The velocity is {shown(velocity)}, but it is a function of x_t and t, as "
            f"text_velocity and ddpm_velocity give one."
        )
    if not (callback is None or callable(callback)):
        raise ValueError(f"The callback is {shown(callback)}, but it is a function of a Step.")
    if not isinstance(noise, Tensor) or not noise.is_floating_point():
        raise ValueError(f"The noise is {shown(noise)}, but it is a tensor of fractions.")
    if not isinstance(times, Tensor) or times.ndim != 1 or len(times) < 2:
        raise ValueError(
            f"The times are {shown(times)}, but they are a tensor of at least two, as flow_times "
            f"gives them."
        )
    if not (times[0] <= 1 and times[-1] >= 0 and bool((times.diff() < 0).all())):
        raise ValueError(
            "The times have to fall, from 1 for noise or less to 0 for a picture or more: "
            f"{shown(times.tolist())} do not."
        )
