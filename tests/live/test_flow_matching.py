"""The page's steps along a straight path are those of Diffusers' flow-matching scheduler."""

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from node_runner import Node

CENTRE, SPREAD = 0.8, 0.3  # of clean numbers


def velocity_of(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """What a perfect model says, where clean numbers are normal: E[noise - clean | latents]."""
    variance = (1 - sigma) ** 2 * SPREAD**2 + sigma**2
    off = latents - (1 - sigma) * CENTRE
    return (sigma - (1 - sigma) * SPREAD**2) / variance * off - CENTRE


def walked(scheduler: FlowMatchEulerDiscreteScheduler, seed: int) -> dict[str, torch.Tensor]:
    """All steps, as a pipeline takes them."""
    latents = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(seed))
    walk: dict[str, list[torch.Tensor]] = {"latents": [latents], "velocities": [], "x0": []}
    for t, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        velocity = velocity_of(latents, sigma)
        walk["velocities"].append(velocity)
        walk["x0"].append(latents - sigma * velocity)
        latents = scheduler.step(velocity, t, latents).prev_sample
        walk["latents"].append(latents)
    return {part: torch.cat(tensors) for part, tensors in walk.items()}


def test_steps_along_a_straight_path_are_those_of_diffusers(node: Node) -> None:
    cases: list[dict[str, Any]] = []
    for shift in (0.5, 1.0, 1.5, 3.0, 8.0):
        for total in (1000, 400):
            for steps in (1, 2, 3, 4, 7, 10, 15, 20, 28, 50):
                scheduler = FlowMatchEulerDiscreteScheduler(total, shift=shift)
                scheduler.set_timesteps(steps)
                for part, tensor in walked(scheduler, len(cases)).items():
                    node.write_array(f"{len(cases)}-{part}", tensor)
                cases.append(
                    {
                        "config": dict(scheduler.config),
                        "steps": steps,
                        "timesteps": scheduler.timesteps.tolist(),
                        "sigmas": scheduler.sigmas.tolist(),
                    }
                )
    node.write_json("cases", cases)
    node.run("flow_matching.test.js")
